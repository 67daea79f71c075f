"""Rows: the features of one moment packed into one run of bytes, and back. Layout: see mlstore.format.rows.

Slots are copied as they lie, so hosts are little-endian.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport Py_INCREF
from libc.stdint cimport UINT32_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uintptr_t
from libc.string cimport memcpy, memset

from mlstore._core.row_layout cimport (
    BOOL, FIXED, HEAD_SIZE, SOUND, VARLEN, Feature, Layout, RowLayout,
    check_row, fault_of, feature_at, has_bit, read_value, set_bit,
)

from mlstore._core.row_layout import CURE
from mlstore.errors import CorruptionError, InvalidDataError

cdef struct Source:   # IN   one Arrow column
    const uint8_t* values
    const uint8_t* valid        # bitmap, or NULL: all valid
    const uint8_t* offsets      # int32, variable features only
    int64_t values_size
    int64_t start               # Arrow's offset: the first row


cdef class Borrowed:
    """Buffers of Python objects, held until this is dropped."""

    cdef Py_buffer* views
    cdef Py_ssize_t count

    def __cinit__(self, Py_ssize_t capacity):
        self.views = <Py_buffer*> PyMem_Calloc(capacity + 1, sizeof(Py_buffer))
        if self.views == NULL:
            raise MemoryError()

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])
        PyMem_Free(self.views)

    cdef uint8_t* borrow(self, object owner, int64_t at_least, int flags) except NULL:
        cdef Py_buffer* view = &self.views[self.count]
        PyObject_GetBuffer(owner, view, flags)
        self.count += 1
        if view.len < at_least:
            raise ValueError(f"buffer of {view.len} bytes, need {at_least}")
        # An empty buffer may have no address; NULL means failure here, and nobody reads an empty one.
        return <uint8_t*> view.buf if view.buf != NULL else <uint8_t*> view

    cdef int64_t last_size(self) noexcept:
        return self.views[self.count - 1].len


cdef class Scratch:
    """Zeroed memory for the length of a call."""

    cdef void* start

    def __cinit__(self, Py_ssize_t count, Py_ssize_t item_size):
        self.start = PyMem_Calloc(count + 1, item_size)
        if self.start == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.start)


cdef inline int64_t int32_at(const uint8_t* base, int64_t index) noexcept nogil:
    cdef int32_t value
    memcpy(&value, base + 4 * index, 4)
    return value


cdef inline int64_t fixed_bytes(const Feature* feature, int64_t n) noexcept nogil:
    """Bytes of the Arrow values of n rows of a feature that is not variable."""
    return (n + 7) >> 3 if feature.kind == BOOL else n * feature.width


cdef inline void copy_slot(uint8_t* to, const uint8_t* source, int64_t width) noexcept nogil:
    if width == 8:
        memcpy(to, source, 8)
    elif width == 4:
        memcpy(to, source, 4)
    else:
        memcpy(to, source, width)


# ---- encode ----

def pack_rows(
    RowLayout compiled not None,
    const int64_t[::1] event_time,   # IN   [n]
    const int64_t[::1] created,      # IN   [n]
    const int64_t[::1] seq,          # IN   [n]
    list columns not None,           # IN   per feature (values, validity or None, offsets or None, first row)
    Py_ssize_t lead=0,               # IN   bytes of zero in front of each row
):
    """Pack n rows; the rows are new bytes objects, filled before anyone sees them."""
    cdef Layout* layout = &compiled.plan
    cdef Py_ssize_t n = event_time.shape[0], i
    cdef Borrowed held = Borrowed(3 * layout.count)
    cdef Scratch source_memory = Scratch(layout.count, sizeof(Source))
    cdef Scratch size_memory = Scratch(n, sizeof(int64_t)), target_memory = Scratch(n, sizeof(uint8_t*))
    cdef Source* sources = <Source*> source_memory.start
    cdef int64_t* sizes = <int64_t*> size_memory.start
    cdef uint8_t** targets = <uint8_t**> target_memory.start
    cdef int64_t fault
    cdef list rows = [None] * n
    if created.shape[0] != n or seq.shape[0] != n or len(columns) != layout.count or lead < 0:
        raise ValueError("times and columns do not fit the layout")
    for i in range(layout.count):
        borrow_source(&layout.features[i], &sources[i], n, columns[i], held)
    with nogil:
        fault = size_rows(layout, n, sources, sizes)
    if fault >= 0 and sizes[fault] < 0:
        raise ValueError(f"row {fault}: offsets of a column point outside its values")
    if fault >= 0:
        raise InvalidDataError(f"row {fault}: its strings, binaries and nested values take 4 GiB or more",
                               hint="keep large objects elsewhere and store a reference")
    for i in range(n):
        row = PyBytes_FromStringAndSize(NULL, lead + sizes[i])
        targets[i] = <uint8_t*> PyBytes_AS_STRING(row)
        rows[i] = row
    with nogil:
        for i in range(n):
            memset(targets[i], 0, lead)
            fill_row(layout, targets[i] + lead, i, event_time[i], created[i], seq[i], sources)
    return rows


cdef int borrow_source(const Feature* feature, Source* source, int64_t n, tuple column, Borrowed held) except -1:
    values, valid, offsets, start = column
    source.start = start
    if source.start < 0:
        raise ValueError("negative first row")
    cdef int64_t stop = source.start + n
    source.valid = NULL if valid is None else held.borrow(valid, (stop + 7) >> 3, PyBUF_SIMPLE)
    source.offsets = NULL if feature.kind != VARLEN else held.borrow(offsets, 4 * (stop + 1), PyBUF_SIMPLE)
    source.values = held.borrow(values, 0 if feature.kind == VARLEN else fixed_bytes(feature, stop), PyBUF_SIMPLE)
    source.values_size = held.last_size()
    return 0


cdef int64_t size_rows(const Layout* layout, Py_ssize_t n, const Source* sources, int64_t* sizes) noexcept nogil:
    """Sizes of the rows; returns the first row that cannot be, or -1. Its size is -1 if an offset is wrong."""
    cdef Py_ssize_t i, k
    cdef const Source* source
    cdef int64_t begin, end, total
    for i in range(n):
        total = 0
        for k in range(layout.varlen_count):
            source = &sources[layout.varlen[k]]
            if source.valid != NULL and not has_bit(source.valid, source.start + i):
                continue
            begin = int32_at(source.offsets, source.start + i)
            end = int32_at(source.offsets, source.start + i + 1)
            if begin < 0 or end < begin or end > source.values_size:
                sizes[i] = -1
                return i
            total += end - begin
        sizes[i] = layout.fixed_end + total
        if total > <int64_t> UINT32_MAX:
            return i
    return -1


cdef void fill_row(
    const Layout* layout, uint8_t* row, Py_ssize_t i, int64_t event_time, int64_t created, int64_t seq, const Source* sources
) noexcept nogil:
    cdef Py_ssize_t k
    cdef uint16_t revision = <uint16_t> layout.revision
    cdef uint32_t stored_end
    cdef int64_t begin, end, cursor = 0, at
    cdef const Source* source
    cdef const Feature* feature
    memcpy(row, &revision, 2)
    memcpy(row + 2, &event_time, 8)
    memcpy(row + 10, &created, 8)
    memcpy(row + 18, &seq, 8)
    memset(row + HEAD_SIZE, 0, layout.fixed_end - HEAD_SIZE)
    for k in range(layout.count):
        source = &sources[k]
        feature = &layout.features[k]
        at = source.start + i
        if source.valid != NULL and not has_bit(source.valid, at):
            continue
        set_bit(row + HEAD_SIZE, k)
        if feature.kind == FIXED:
            copy_slot(row + feature.slot, source.values + at * feature.width, feature.width)
        elif feature.kind == BOOL:
            row[feature.slot] = has_bit(source.values, at)
        else:
            begin = int32_at(source.offsets, at)
            end = int32_at(source.offsets, at + 1)
            memcpy(row + layout.fixed_end + cursor, source.values + begin, end - begin)
            cursor += end - begin
            stored_end = <uint32_t> cursor
            memcpy(row + feature.slot, &stored_end, 4)


# ---- decode ----

def unpack_row(RowLayout compiled not None, bytes row not None, object wanted=None):
    """The features of one row as Python objects, all of them or those at the wanted positions."""
    cdef Layout* layout = &compiled.plan
    cdef const uint8_t* start = <const uint8_t*> PyBytes_AS_STRING(row)
    cdef int64_t size = PyBytes_GET_SIZE(row), fault = check_row(layout, start, size)
    cdef Py_ssize_t i
    cdef list answer
    cdef object value
    if fault != SOUND:
        raise fault_of(layout, start, size, fault, "stored row")
    if wanted is not None:
        answer = []
        for i in wanted:
            feature_at(layout, i)
            answer.append(read_value(compiled, start, i))
        return answer
    answer = PyList_New(layout.count)
    for i in range(layout.count):
        value = read_value(compiled, start, i)
        Py_INCREF(value)
        PyList_SET_ITEM(answer, i, value)
    return answer


# ---- heads ----

def peek_rows(
    tuple rows not None,             # IN   [n] bytes or None
    uintptr_t[::1] address,          # OUT  [n] first byte of each row, valid while `rows` lives; 0 = no row
    int64_t[::1] size,               # OUT  [n]
    uint8_t[::1] found,              # OUT  [n] 0 or 1
    uint16_t[::1] revision,          # OUT  [n]
    int64_t[::1] event_time,         # OUT  [n]
    int64_t[::1] created,            # OUT  [n]
    int64_t[::1] seq,                # OUT  [n]
):
    """Addresses and heads of many rows; a row that is None has zeros."""
    cdef Py_ssize_t n = len(rows), i
    cdef const uint8_t* row
    if not n == address.shape[0] == size.shape[0] == found.shape[0] == revision.shape[0] == event_time.shape[0] \
            == created.shape[0] == seq.shape[0]:
        raise ValueError("rows and outputs differ in length")
    for i in range(n):
        item = rows[i]
        if item is None:
            address[i] = size[i] = found[i] = revision[i] = event_time[i] = created[i] = seq[i] = 0
            continue
        if type(item) is not bytes:
            raise TypeError(f"row {i}: expected bytes or None, got {type(item).__name__}")
        row = <const uint8_t*> PyBytes_AS_STRING(item)
        size[i] = PyBytes_GET_SIZE(item)
        if size[i] < HEAD_SIZE:
            raise CorruptionError(f"stored row {i} of the batch: cut off at byte {size[i]} of at least {HEAD_SIZE}", hint=CURE)
        address[i] = <uintptr_t> row
        found[i] = 1
        memcpy(&revision[i], row, 2)
        memcpy(&event_time[i], row + 2, 8)
        memcpy(&created[i], row + 10, 8)
        memcpy(&seq[i], row + 18, 8)

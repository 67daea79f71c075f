"""Rows: the features of one moment packed into one run of bytes, and back. Layout: see mlstore.format.rows.

Slots are copied as they lie, so hosts are little-endian.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport Py_INCREF
from libc.stdint cimport INT32_MAX, UINT32_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uintptr_t
from libc.string cimport memcpy, memset

from mlstore._core.row_layout cimport (
    BOOL, FIXED, HEAD_SIZE, SOUND, TOO_LARGE, VARLEN, Feature, Layout, RowLayout,
    begin_of, check_row, end_of, fault_of, feature_at, has_bit, read_value, set_bit,
)

from mlstore._core.row_layout import CURE
from mlstore.errors import CorruptionError, InvalidDataError

cdef struct Source:   # IN   one Arrow column
    const uint8_t* values
    const uint8_t* valid        # bitmap, or NULL: all valid
    const uint8_t* offsets      # int32, variable features only
    int64_t values_size
    int64_t start               # Arrow's offset: the first row

cdef struct Target:   # OUT  one Arrow column
    uint8_t* values
    uint8_t* valid
    uint8_t* offsets
    Py_ssize_t number           # the feature
    int64_t nulls


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


cdef inline void put_int32(uint8_t* base, int64_t index, int64_t value) noexcept nogil:
    cdef int32_t narrow = <int32_t> value
    memcpy(base + 4 * index, &narrow, 4)


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

def measure_rows(
    RowLayout compiled not None,
    const uintptr_t[::1] address,    # IN   [n] rows, kept alive by the caller; 0 = no row
    const int64_t[::1] size,         # IN   [n] bytes of each
    list wanted not None,            # IN   features
    list offsets not None,           # OUT  per wanted feature int32[n + 1], or None if it is not variable
):
    """Check every row, and compute the Arrow offsets of the wanted variable features; returns the values bytes of each wanted."""
    cdef Layout* layout = &compiled.plan
    cdef Py_ssize_t n = address.shape[0], m = len(wanted), i, j, used = 0
    cdef Borrowed held = Borrowed(m)
    cdef Scratch target_memory = Scratch(m, sizeof(Target))
    cdef Target* targets = <Target*> target_memory.start
    cdef int64_t fault = SOUND
    cdef const Feature* feature
    cdef list value_bytes = []
    if size.shape[0] != n or len(offsets) != m:
        raise ValueError("address, size, wanted and offsets differ in length")
    for j in range(m):
        if feature_at(layout, wanted[j]).kind == VARLEN:
            targets[used].number = wanted[j]
            targets[used].offsets = held.borrow(offsets[j], 4 * (n + 1), PyBUF_WRITABLE)
            put_int32(targets[used].offsets, 0, 0)
            used += 1
    with nogil:
        for i in range(n):
            fault = measure_row(layout, <const uint8_t*> address[i], size[i], i, targets, used)
            if fault != SOUND:
                break
    if fault == TOO_LARGE:
        raise InvalidDataError("one feature has more than 2 GiB in one batch of rows", hint="ask for fewer rows at once")
    if fault != SOUND:
        raise fault_of(layout, <const uint8_t*> address[i], size[i], fault, f"stored row {i} of the batch")
    used = 0
    for j in range(m):
        feature = feature_at(layout, wanted[j])
        value_bytes.append(int32_at(targets[used].offsets, n) if feature.kind == VARLEN else fixed_bytes(feature, n))
        used += feature.kind == VARLEN
    return value_bytes


cdef int64_t measure_row(
    const Layout* layout, const uint8_t* row, int64_t size, Py_ssize_t i, Target* targets, Py_ssize_t used
) noexcept nogil:
    """Check one row and append its ends to the offsets."""
    cdef Py_ssize_t j
    cdef int64_t fault, end
    if row != NULL:
        fault = check_row(layout, row, size)
        if fault != SOUND:
            return fault
    for j in range(used):
        end = int32_at(targets[j].offsets, i)
        if row != NULL and has_bit(row + HEAD_SIZE, targets[j].number):
            end += end_of(layout, row, targets[j].number) - begin_of(layout, row, targets[j].number)
            if end > INT32_MAX:
                return TOO_LARGE
        put_int32(targets[j].offsets, i + 1, end)
    return SOUND


def unpack_rows(
    RowLayout compiled not None,
    const uintptr_t[::1] address,    # IN   [n] rows that `measure_rows` has passed
    list wanted not None,            # IN   features
    list offsets not None,           # IN   what `measure_rows` computed
    list values not None,            # OUT  per wanted feature its Arrow values, as many bytes as `measure_rows` said
    list validity not None,          # OUT  per wanted feature its Arrow validity bitmap
):
    """Fill the Arrow buffers of the wanted features; returns the null count of each."""
    cdef Layout* layout = &compiled.plan
    cdef Py_ssize_t n = address.shape[0], m = len(wanted), i, j
    cdef Borrowed held = Borrowed(3 * m)
    cdef Scratch target_memory = Scratch(m, sizeof(Target))
    cdef Target* targets = <Target*> target_memory.start
    cdef const Feature* feature
    cdef int64_t need
    if not len(offsets) == len(values) == len(validity) == m:
        raise ValueError("wanted, offsets, values and validity differ in length")
    for j in range(m):
        feature = feature_at(layout, wanted[j])
        targets[j].number = wanted[j]
        targets[j].valid = held.borrow(validity[j], (n + 7) >> 3, PyBUF_WRITABLE)
        memset(targets[j].valid, 0, (n + 7) >> 3)
        if feature.kind == VARLEN:
            targets[j].offsets = held.borrow(offsets[j], 4 * (n + 1), PyBUF_SIMPLE)
            need = int32_at(targets[j].offsets, n)
        else:
            need = fixed_bytes(feature, n)
        targets[j].values = held.borrow(values[j], need, PyBUF_WRITABLE)
        if feature.kind == BOOL:
            memset(targets[j].values, 0, need)
    with nogil:
        for i in range(n):
            for j in range(m):
                take_value(layout, <const uint8_t*> address[i], i, &targets[j])
    return [targets[j].nulls for j in range(m)]


cdef inline void take_value(const Layout* layout, const uint8_t* row, Py_ssize_t i, Target* target) noexcept nogil:
    cdef const Feature* feature = &layout.features[target.number]
    cdef int64_t begin
    if row == NULL or not has_bit(row + HEAD_SIZE, target.number):
        target.nulls += 1
        if feature.kind == FIXED:
            memset(target.values + i * feature.width, 0, feature.width)
        return
    set_bit(target.valid, i)
    if feature.kind == FIXED:
        copy_slot(target.values + i * feature.width, row + feature.slot, feature.width)
    elif feature.kind == BOOL:
        if row[feature.slot]:
            set_bit(target.values, i)
    else:
        begin = int32_at(target.offsets, i)
        memcpy(target.values + begin, row + layout.fixed_end + begin_of(layout, row, target.number),
               int32_at(target.offsets, i + 1) - begin)


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

"""Values: one dict of Python values as an entry: the bytes of its key and of its row. Layouts: see mlstore.format.keys and mlstore.format.rows.

Takes only what means the same to every reader: plain Python values of the declared type, and numpy's scalars. Of anything else it says
that it does not fit, and the long way through Arrow decides what it means or how it is refused.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError, PyDict_Size
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_CheckExact
from libc.stdint cimport INT64_MAX, INT64_MIN, UINT32_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

from mlstore._core.row_layout cimport HEAD_SIZE, VARLEN, Feature, Layout, RowLayout, set_bit
from mlstore._core.slots cimport AS_BINARY, AS_CALL, AS_MICROS, AS_NANOS, AS_STRING, AS_UINT64, Reading, integer_of, put_slot

cdef enum:
    INTEGER_KEY_BYTES = 8

def can_pack(int reading):
    """Whether values that are read so can be packed here."""
    return reading != AS_CALL


cdef class ValueForm:
    """Which columns a row of one revision has, in the order keys, event time, created, features; and how each is packed."""

    cdef RowLayout layout
    cdef tuple names
    cdef Reading* key_readings
    cdef Py_ssize_t key_count
    cdef Py_ssize_t longest_key
    cdef Reading clock          # how event time and created are counted
    cdef bint has_time
    cdef bint has_created
    cdef int64_t delay          # ticks from event time to created, where no column says it; negative: the commit does

    def __cinit__(
        self, RowLayout layout not None, tuple names not None, list key_readings not None, Py_ssize_t longest_key,
        int clock, bint has_time, bint has_created, int64_t delay,
    ):
        cdef Py_ssize_t i
        self.layout = layout
        self.names = names
        self.key_count = len(key_readings)
        self.longest_key = longest_key
        self.clock, self.has_time, self.has_created, self.delay = <Reading> clock, has_time, has_created, delay
        if len(names) != self.key_count + has_time + has_created + layout.plan.count:
            raise ValueError("names do not fit keys, clocks and features")
        if clock not in (AS_MICROS, AS_NANOS):
            raise ValueError("a clock counts micro- or nanoseconds")
        for i in range(layout.plan.count):
            if layout.plan.features[i].reading == AS_CALL:
                raise ValueError(f"feature {i} cannot be packed here")
        self.key_readings = <Reading*> PyMem_Calloc(self.key_count + 1, sizeof(Reading))
        if self.key_readings == NULL:
            raise MemoryError()
        for i in range(self.key_count):
            self.key_readings[i] = <Reading> <int> key_readings[i]

    def __dealloc__(self):
        PyMem_Free(self.key_readings)

    def pack(self, object row):
        """The entry: u16 size of the key, key, row with seq 0, and 0 for every clock that the commit is to fill in; None: it does not fit."""
        cdef tuple values
        cdef int64_t event_time = 0, created = 0, key_size, row_size
        cdef Py_ssize_t at = self.key_count
        cdef uint16_t stored_size
        cdef uint8_t* out
        if type(row) is not dict or PyDict_Size(row) != len(self.names):
            return None
        values = take_values(self.names, <dict> row)
        if values is None:
            return None
        if self.has_time:
            if not integer_of(<object> PyTuple_GET_ITEM(values, at), self.clock, &event_time):
                return None
            at += 1
        if self.has_created:
            created = INT64_MIN  # not told: null
            if <object> PyTuple_GET_ITEM(values, at) is not None \
                    and not integer_of(<object> PyTuple_GET_ITEM(values, at), self.clock, &created):
                return None
            at += 1
        elif self.delay >= 0 and self.has_time:
            created = INT64_MAX if event_time > INT64_MAX - self.delay else event_time + self.delay
        key_size = size_key(self, values)
        row_size = size_features(&self.layout.plan, values, at)
        if key_size < 0 or key_size > self.longest_key or row_size < 0 or row_size > <int64_t> UINT32_MAX:
            return None
        entry = PyBytes_FromStringAndSize(NULL, 2 + key_size + row_size)
        out = <uint8_t*> PyBytes_AS_STRING(entry)
        stored_size = <uint16_t> key_size
        memcpy(out, &stored_size, 2)
        if not put_key(self, values, out + 2) \
                or not put_features(&self.layout.plan, values, at, event_time, created, out + 2 + key_size, row_size):
            return None
        return entry


cdef tuple take_values(tuple names, dict row):
    """The values of a row in the order of the names, held from now on; None if a column is missing."""
    cdef Py_ssize_t i
    cdef PyObject* found
    cdef tuple values = PyTuple_New(len(names))
    for i in range(len(names)):
        found = PyDict_GetItemWithError(row, <object> PyTuple_GET_ITEM(names, i))
        if found == NULL:
            return None
        Py_INCREF(<object> found)
        PyTuple_SET_ITEM(values, i, <object> found)
    return values


# ---- keys ----

cdef inline bint is_text(Reading reading) noexcept:
    return reading == AS_STRING or reading == AS_BINARY


cdef int64_t size_key(ValueForm form, tuple values) except -2:
    """Bytes of the key as it stands in the file; -1 if a text of it is none."""
    cdef Py_ssize_t i, length
    cdef int64_t size = INTEGER_KEY_BYTES if form.key_count == 0 else 0
    cdef const char* text
    for i in range(form.key_count):
        if is_text(form.key_readings[i]):
            text = text_of(<object> PyTuple_GET_ITEM(values, i), form.key_readings[i], &length)
            if text == NULL:
                return -1
            size += length + 2 + zeros_in(text, length)
        else:
            size += INTEGER_KEY_BYTES
    return size


cdef bint put_key(ValueForm form, tuple values, uint8_t* out) except -1:
    """Whether the parts of the key fit; then they are there."""
    cdef Py_ssize_t i, length
    cdef int64_t number
    cdef const char* text
    if form.key_count == 0:
        put_key_word(out, <uint64_t> 1 << 63)
    for i in range(form.key_count):
        if is_text(form.key_readings[i]):
            text = text_of(<object> PyTuple_GET_ITEM(values, i), form.key_readings[i], &length)
            out = put_escaped(out, text, length)
        else:
            if not integer_of(<object> PyTuple_GET_ITEM(values, i), form.key_readings[i], &number):
                return False
            put_key_word(out, <uint64_t> number if form.key_readings[i] == AS_UINT64 else <uint64_t> number ^ (<uint64_t> 1 << 63))
            out += INTEGER_KEY_BYTES
    return True


cdef inline void put_key_word(uint8_t* out, uint64_t word) noexcept:
    cdef int i
    for i in range(8):
        out[i] = <uint8_t> (word >> (56 - 8 * i))


cdef Py_ssize_t zeros_in(const char* text, Py_ssize_t length) noexcept:
    cdef Py_ssize_t i, count = 0
    if length == 0 or memchr(text, 0, length) == NULL:
        return 0
    for i in range(length):
        count += text[i] == 0
    return count


cdef uint8_t* put_escaped(uint8_t* out, const char* text, Py_ssize_t length) noexcept:
    """00 as 00 01, closed by 00 00; behind it."""
    cdef Py_ssize_t i
    if length == 0 or memchr(text, 0, length) == NULL:
        memcpy(out, text, length)
        out += length
    else:
        for i in range(length):
            out[0] = <uint8_t> text[i]
            out += 1
            if text[i] == 0:
                out[0] = 1
                out += 1
    out[0] = out[1] = 0
    return out + 2


# ---- features ----

cdef int64_t size_features(const Layout* layout, tuple values, Py_ssize_t first) except -2:
    """Bytes of the row; -1 if a text of it is none."""
    cdef Py_ssize_t k, length
    cdef int64_t total = layout.fixed_end
    for k in range(layout.varlen_count):
        value = <object> PyTuple_GET_ITEM(values, first + layout.varlen[k])
        if value is not None:
            if text_of(value, layout.features[layout.varlen[k]].reading, &length) == NULL:
                return -1
            total += length
    return total


cdef bint put_features(
    const Layout* layout, tuple values, Py_ssize_t first, int64_t event_time, int64_t created, uint8_t* out, int64_t total
) except -1:
    """Whether the values fit; then they are the row."""
    cdef Py_ssize_t k, length
    cdef uint16_t revision = <uint16_t> layout.revision
    cdef uint32_t stored_end
    cdef const Feature* feature
    cdef const char* text
    cdef uint8_t* behind = out + layout.fixed_end
    memset(out, 0, layout.fixed_end)
    memcpy(out, &revision, 2)
    memcpy(out + 2, &event_time, 8)
    memcpy(out + 10, &created, 8)
    for k in range(layout.count):
        value = <object> PyTuple_GET_ITEM(values, first + k)
        if value is None:
            continue
        feature = &layout.features[k]
        set_bit(out + HEAD_SIZE, k)
        if feature.kind == VARLEN:
            text = text_of(value, feature.reading, &length)
            if text == NULL or behind + length > out + total:
                return False
            memcpy(behind, text, length)
            behind += length
            stored_end = <uint32_t> (behind - out - layout.fixed_end)
            memcpy(out + feature.slot, &stored_end, 4)
        elif not put_slot(out + feature.slot, feature.width, feature.reading, value):
            return False
    return behind == out + total


cdef const char* text_of(object value, Reading reading, Py_ssize_t* length) except? NULL:
    """The bytes of a text or binary, as long as the value lives; NULL if it is neither."""
    if reading == AS_BINARY:
        if not PyBytes_CheckExact(value):
            return NULL
        length[0] = PyBytes_GET_SIZE(value)
        return PyBytes_AS_STRING(value)
    if not PyUnicode_CheckExact(value):
        return NULL
    try:
        return PyUnicode_AsUTF8AndSize(value, length)
    except UnicodeEncodeError:
        return NULL

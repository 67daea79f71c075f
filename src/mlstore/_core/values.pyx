"""Values: one dict of Python values as an entry: the bytes of its key and of its row. Layouts: see mlstore.format.keys and mlstore.format.rows.

Takes only what means the same to every reader: plain Python values of the declared type, and numpy's scalars. Of anything else it says
that it does not fit, and the long way through Arrow decides what it means or how it is refused.
"""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.datetime cimport (
    PyDate_CheckExact, PyDateTime_CheckExact, date_day, date_month, date_year, datetime_day, datetime_hour, datetime_microsecond,
    datetime_minute, datetime_month, datetime_second, datetime_tzinfo, datetime_year, import_datetime, timedelta_days,
    timedelta_microseconds, timedelta_seconds,
)
from cpython.dict cimport PyDict_GetItemWithError, PyDict_Size
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.list cimport PyList_CheckExact, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_AsUnsignedLongLong, PyLong_CheckExact
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_CheckExact
from libc.math cimport isinf
from libc.stdint cimport INT64_MAX, INT64_MIN, UINT32_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

from mlstore._core.row_layout cimport HEAD_SIZE, VARLEN, Feature, Layout, RowLayout, set_bit
from mlstore._core.slots cimport (
    AS_BINARY, AS_BOOL, AS_CALL, AS_DATE, AS_FLOAT32, AS_FLOAT64, AS_INT8, AS_INT16, AS_INT32, AS_INT64, AS_MICROS, AS_MILLIS, AS_NANOS,
    AS_SECONDS, AS_STRING, AS_UINT8, AS_UINT16, AS_UINT32, AS_UINT64, AS_VECTOR32, AS_VECTOR64, Reading,
)

from datetime import timezone

import numpy

import_datetime()

cdef object UTC = timezone.utc
cdef object NUMPY_INTEGER = numpy.integer
cdef object NUMPY_DELTA = numpy.timedelta64  # which numpy counts among the integers
cdef object NUMPY_FLOAT32 = numpy.float32
cdef object NUMPY_BOOL = numpy.bool_
cdef object NUMPY_ARRAY = numpy.ndarray

cdef enum:
    INTEGER_KEY_BYTES = 8

cdef int64_t EXACT_IN_FLOAT64 = <int64_t> 1 << 53
cdef int64_t EXACT_IN_FLOAT32 = <int64_t> 1 << 24


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
        elif not put_slot(out + feature.slot, feature, value):
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


cdef bint put_slot(uint8_t* slot, const Feature* feature, object value) except -1:
    """Whether the value fits the feature; then it is in its slot."""
    cdef int64_t number = 0
    cdef double wide
    cdef float narrow
    if feature.reading == AS_FLOAT64:
        if not float_of(value, EXACT_IN_FLOAT64, &wide):
            return False
        memcpy(slot, &wide, 8)
        return True
    if feature.reading == AS_FLOAT32:
        if not float_of(value, EXACT_IN_FLOAT32, &wide):
            return False
        narrow = <float> wide
        if isinf(narrow) and not isinf(wide):
            return False
        memcpy(slot, &narrow, 4)
        return True
    if feature.reading == AS_VECTOR32 or feature.reading == AS_VECTOR64:
        return put_vector(slot, feature, value)
    if not integer_of(value, feature.reading, &number):
        return False
    memcpy(slot, &number, feature.width)
    return True


cdef bint put_vector(uint8_t* slot, const Feature* feature, object value) except -1:
    cdef bint is_narrow = feature.reading == AS_VECTOR32
    cdef Py_ssize_t item = 4 if is_narrow else 8, count = feature.width // item, i
    cdef bint is_list = PyList_CheckExact(value)
    cdef double wide
    cdef float narrow
    if type(value) is NUMPY_ARRAY:
        return put_array(slot, feature, value)
    if not is_list and not PyTuple_CheckExact(value):
        return False
    if (PyList_GET_SIZE(value) if is_list else PyTuple_GET_SIZE(value)) != count:
        return False
    for i in range(count):
        if not float_of(<object> PyList_GET_ITEM(value, i) if is_list else <object> PyTuple_GET_ITEM(value, i),
                        EXACT_IN_FLOAT32 if is_narrow else EXACT_IN_FLOAT64, &wide):
            return False
        narrow = <float> wide
        if is_narrow and isinf(narrow) and not isinf(wide):
            return False
        memcpy(slot + i * item, <void*> &narrow if is_narrow else <void*> &wide, item)
    return True


cdef bint put_array(uint8_t* slot, const Feature* feature, object value) except -1:
    """A numpy array of the very floats that the vector has."""
    cdef Py_buffer view
    cdef bint fits = False
    if value.ndim != 1 or not value.flags.c_contiguous:
        return False
    PyObject_GetBuffer(value, &view, PyBUF_FORMAT | PyBUF_ND)
    try:
        if view.len == feature.width and view.format != NULL and view.format[1] == 0:
            fits = view.format[0] == (b"f" if feature.reading == AS_VECTOR32 else b"d")
        if fits:
            memcpy(slot, view.buf, feature.width)
    finally:
        PyBuffer_Release(&view)
    return fits


cdef bint float_of(object value, int64_t exact_in, double* found) except -1:
    """Whether a value is a float, or an integer that is one exactly."""
    cdef int64_t number = 0
    if PyFloat_Check(value):
        found[0] = PyFloat_AS_DOUBLE(value)
        return True
    if type(value) is NUMPY_FLOAT32:
        found[0] = <double> float(value)
        return True
    if not whole_of(value, &number) or number > exact_in or number < -exact_in:
        return False
    found[0] = <double> number
    return True


cdef bint whole_of(object value, int64_t* found) except -1:
    """Whether a value is an integer that 64 bits with a sign hold."""
    cdef int overflow = 0
    value = int_of(value)
    if value is None:
        return False
    found[0] = PyLong_AsLongLongAndOverflow(value, &overflow)
    return overflow == 0


cdef inline object int_of(object value):
    """An int, or one of numpy's integers as one; None if it is neither."""
    if PyLong_CheckExact(value):
        return value
    return value.__index__() if isinstance(value, NUMPY_INTEGER) and not isinstance(value, NUMPY_DELTA) else None


cdef bint integer_of(object value, Reading reading, int64_t* found) except -1:
    """Whether a value is one of those types that are integers inside, and within its range; a uint64 is given bit by bit."""
    cdef int64_t low, high
    if reading == AS_INT64:
        return whole_of(value, found)
    if reading >= AS_SECONDS and reading <= AS_NANOS:
        return instant_of(value, reading, found)
    if reading == AS_BOOL:
        if value is not True and value is not False and type(value) is not NUMPY_BOOL:
            return False
        found[0] = 1 if value else 0
        return True
    if reading == AS_DATE:
        if not PyDate_CheckExact(value):
            return False
        found[0] = days_of(date_year(value), date_month(value), date_day(value))
        return True
    if reading == AS_UINT64:
        return unsigned_of(value, found)
    if not whole_of(value, found):
        return False
    if reading == AS_INT8 or reading == AS_INT16 or reading == AS_INT32:
        high = 0x7F if reading == AS_INT8 else 0x7FFF if reading == AS_INT16 else 0x7FFFFFFF
        low = -high - 1
    elif reading == AS_UINT8 or reading == AS_UINT16 or reading == AS_UINT32:
        high = 0xFF if reading == AS_UINT8 else 0xFFFF if reading == AS_UINT16 else 0xFFFFFFFF
        low = 0
    else:
        return False
    return low <= found[0] <= high


cdef bint unsigned_of(object value, int64_t* found) except -1:
    value = int_of(value)
    if value is None:
        return False
    try:
        found[0] = <int64_t> PyLong_AsUnsignedLongLong(value)
    except OverflowError:
        return False
    return True


# ---- times ----

cdef bint instant_of(object value, Reading reading, int64_t* found) except -1:
    """Whether a value is a datetime that the unit holds exactly; without a zone it is UTC."""
    cdef int64_t micros
    if not PyDateTime_CheckExact(value):
        return False
    micros = days_of(datetime_year(value), datetime_month(value), datetime_day(value)) * 86400
    micros += datetime_hour(value) * 3600 + datetime_minute(value) * 60 + datetime_second(value)
    micros = micros * 1000000 + datetime_microsecond(value)
    zone = datetime_tzinfo(value)
    if zone is not None and zone is not UTC:
        try:
            offset = value.utcoffset()
        except Exception:
            return False
        if offset is None:
            return False
        micros -= (<int64_t> timedelta_days(offset) * 86400 + timedelta_seconds(offset)) * 1000000 + timedelta_microseconds(offset)
    if reading == AS_MICROS:
        found[0] = micros
        return True
    if reading == AS_NANOS:
        if micros > INT64_MAX // 1000 or micros < -(INT64_MAX // 1000):
            return False
        found[0] = micros * 1000
        return True
    if micros % (1000 if reading == AS_MILLIS else 1000000) != 0:
        return False
    found[0] = micros // (1000 if reading == AS_MILLIS else 1000000)
    return True


cdef int64_t days_of(int64_t year, int64_t month, int64_t day) noexcept:
    """Days since 1970 of a civil date (Hinnant, "chrono-compatible low-level date algorithms"); years 1 to 9999."""
    cdef int64_t shifted = year - (1 if month <= 2 else 0)
    cdef int64_t era = shifted // 400
    cdef int64_t yoe = shifted - era * 400
    cdef int64_t doy = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468

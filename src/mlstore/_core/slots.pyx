"""Slots: one stored value of fixed width as a Python object, and back. Hosts are little-endian: words are read as they lie."""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBuffer_Release, PyObject_GetBuffer
from cpython.datetime cimport (
    PyDate_CheckExact, PyDateTime_CheckExact, date_day, date_month, date_new, date_year, datetime_day, datetime_hour, datetime_microsecond,
    datetime_minute, datetime_month, datetime_new, datetime_second, datetime_tzinfo, datetime_year, import_datetime, timedelta_days,
    timedelta_microseconds, timedelta_seconds,
)
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.list cimport PyList_CheckExact, PyList_GET_ITEM, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_AsUnsignedLongLong, PyLong_CheckExact
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_CheckExact
from libc.math cimport isinf
from libc.stdint cimport INT64_MAX, int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from datetime import timezone

import numpy
from numpy import datetime64

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)

import_datetime()

cdef object UTC = timezone.utc
cdef object NUMPY_INTEGER = numpy.integer
cdef object NUMPY_DELTA = numpy.timedelta64  # which numpy counts among the integers
cdef object NUMPY_FLOAT32 = numpy.float32
cdef object NUMPY_BOOL = numpy.bool_
cdef object NUMPY_ARRAY = numpy.ndarray

cdef int64_t EXACT_IN_FLOAT64 = <int64_t> 1 << 53
cdef int64_t EXACT_IN_FLOAT32 = <int64_t> 1 << 24

READINGS = {
    "bool": <int> AS_BOOL, "int8": <int> AS_INT8, "int16": <int> AS_INT16, "int32": <int> AS_INT32, "int64": <int> AS_INT64,
    "uint8": <int> AS_UINT8, "uint16": <int> AS_UINT16, "uint32": <int> AS_UINT32, "uint64": <int> AS_UINT64,
    "float": <int> AS_FLOAT32, "double": <int> AS_FLOAT64, "string": <int> AS_STRING, "binary": <int> AS_BINARY,
    "date32[day]": <int> AS_DATE, "s": <int> AS_SECONDS, "ms": <int> AS_MILLIS, "us": <int> AS_MICROS, "ns": <int> AS_NANOS,
    "vector32": <int> AS_VECTOR32, "vector64": <int> AS_VECTOR64, "call": <int> AS_CALL,
}


cdef int64_t reading_width(Reading reading) noexcept:
    """Bytes that read_slot looks at, whatever the slot."""
    if reading in (AS_BOOL, AS_INT8, AS_UINT8, AS_VECTOR32, AS_VECTOR64, AS_CALL):
        return 1
    if reading in (AS_INT16, AS_UINT16):
        return 2
    if reading in (AS_INT32, AS_UINT32, AS_FLOAT32, AS_DATE):
        return 4
    return 8


cdef union Word:
    int8_t i8
    int16_t i16
    int32_t i32
    int64_t i64
    uint8_t u8
    uint16_t u16
    uint32_t u32
    uint64_t u64
    float f32
    double f64


cdef object read_slot(const uint8_t* slot, int64_t width, Reading reading):
    cdef Word word
    if reading == AS_FLOAT64:
        memcpy(&word, slot, 8)
        return word.f64
    elif reading == AS_INT64:
        memcpy(&word, slot, 8)
        return word.i64
    elif reading == AS_FLOAT32:
        memcpy(&word, slot, 4)
        return word.f32
    elif reading == AS_INT32:
        memcpy(&word, slot, 4)
        return word.i32
    elif reading == AS_BOOL:
        return slot[0] != 0
    elif reading == AS_INT8:
        return <int8_t> slot[0]
    elif reading == AS_UINT8:
        return slot[0]
    elif reading == AS_INT16:
        memcpy(&word, slot, 2)
        return word.i16
    elif reading == AS_UINT16:
        memcpy(&word, slot, 2)
        return word.u16
    elif reading == AS_UINT32:
        memcpy(&word, slot, 4)
        return word.u32
    elif reading == AS_UINT64:
        memcpy(&word, slot, 8)
        return word.u64
    elif reading == AS_DATE:
        memcpy(&word, slot, 4)
        return read_date(word.i32)
    elif reading == AS_VECTOR32 or reading == AS_VECTOR64:
        return read_vector(slot, width, reading)
    memcpy(&word, slot, 8)
    return read_instant(word.i64, reading)


cdef list read_vector(const uint8_t* slot, int64_t width, Reading reading):
    cdef Py_ssize_t item = 4 if reading == AS_VECTOR32 else 8, i
    cdef list answer = PyList_New(width // item)
    cdef Word word
    cdef object value  # an inferred C double would give SET_ITEM a reference that nobody owns
    for i in range(width // item):
        memcpy(&word, slot + i * item, item)
        value = <double> word.f32 if item == 4 else word.f64
        Py_INCREF(value)
        PyList_SET_ITEM(answer, i, value)
    return answer


# ---- times ----

cdef struct Day:
    int year
    int month
    int day

cdef enum:
    FIRST_DAY = -719162  # 0001-01-01
    LAST_DAY = 2932896   # 9999-12-31


cdef inline int64_t floor_divide(int64_t value, int64_t by) noexcept nogil:
    cdef int64_t quotient = value // by
    return quotient - 1 if value - quotient * by < 0 else quotient


cdef Day day_of(int64_t days) noexcept nogil:
    """Civil date of a day since 1970 (Hinnant, "chrono-compatible low-level date algorithms"); days within a datetime's years."""
    cdef Day answer
    cdef int64_t shifted = days + 719468
    cdef int64_t era = floor_divide(shifted, 146097)
    cdef int64_t doe = shifted - era * 146097
    cdef int64_t yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    cdef int64_t doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    cdef int64_t month = (5 * doy + 2) // 153
    answer.day = <int> (doy - (153 * month + 2) // 5 + 1)
    answer.month = <int> (month + 3 if month < 10 else month - 9)
    answer.year = <int> (yoe + era * 400 + (1 if answer.month <= 2 else 0))
    return answer


cpdef object read_date(int64_t days):
    """Days since 1970 as a date; outside the years 1 to 9999 as numpy.datetime64."""
    cdef Day day
    if not FIRST_DAY <= days <= LAST_DAY:
        return datetime64(days, "D")
    day = day_of(days)
    return date_new(day.year, day.month, day.day)


cpdef object read_instant(int64_t value, int reading):
    """A time since 1970 as an aware datetime; what a datetime cannot hold, as numpy.datetime64."""
    cdef int64_t per_second = (
        1 if reading == AS_SECONDS else 1000 if reading == AS_MILLIS else 1000000 if reading == AS_MICROS else 1000000000
    )
    cdef int64_t seconds = floor_divide(value, per_second)
    cdef int64_t fraction = value - seconds * per_second
    cdef int64_t days = floor_divide(seconds, 86400)
    cdef int rest = <int> (seconds - days * 86400)
    cdef Day day
    if not FIRST_DAY <= days <= LAST_DAY or (reading == AS_NANOS and fraction % 1000 != 0):
        return datetime64(value, "s" if reading == AS_SECONDS else "ms" if reading == AS_MILLIS else "us" if reading == AS_MICROS else "ns")
    fraction = fraction // 1000 if reading == AS_NANOS else fraction * (1000000 // per_second)
    day = day_of(days)
    return datetime_new(day.year, day.month, day.day, rest // 3600, rest // 60 % 60, rest % 60, <int> fraction, UTC, 0)


# ---- back: what means the same to every reader, and nothing else ----

cdef bint put_slot(uint8_t* slot, int64_t width, Reading reading, object value) except -1:
    """Whether the value is of this reading; then it is in its slot."""
    cdef int64_t number = 0
    cdef double wide
    cdef float narrow
    if reading == AS_FLOAT64:
        if not float_of(value, EXACT_IN_FLOAT64, &wide):
            return False
        memcpy(slot, &wide, 8)
        return True
    if reading == AS_FLOAT32:
        if not float_of(value, EXACT_IN_FLOAT32, &wide):
            return False
        narrow = <float> wide
        if isinf(narrow) and not isinf(wide):
            return False
        memcpy(slot, &narrow, 4)
        return True
    if reading == AS_VECTOR32 or reading == AS_VECTOR64:
        return put_vector(slot, width, reading, value)
    if not integer_of(value, reading, &number):
        return False
    memcpy(slot, &number, width)
    return True


cdef bint put_vector(uint8_t* slot, int64_t width, Reading reading, object value) except -1:
    cdef bint is_narrow = reading == AS_VECTOR32
    cdef Py_ssize_t item = 4 if is_narrow else 8, count = width // item, i
    cdef bint is_list = PyList_CheckExact(value)
    cdef double wide
    cdef float narrow
    if type(value) is NUMPY_ARRAY:
        return put_array(slot, width, reading, value)
    if not is_list and not PyTuple_CheckExact(value):
        return False
    if (PyList_GET_SIZE(value) if is_list else PyTuple_GET_SIZE(value)) != count:
        return False
    for i in range(count):
        number = <object> PyList_GET_ITEM(value, i) if is_list else <object> PyTuple_GET_ITEM(value, i)
        # Arrow has its own mind about numpy's scalars beside each other.
        if not PyFloat_Check(number) and not PyLong_CheckExact(number):
            return False
        if not float_of(number, EXACT_IN_FLOAT32 if is_narrow else EXACT_IN_FLOAT64, &wide):
            return False
        narrow = <float> wide
        if is_narrow and isinf(narrow) and not isinf(wide):
            return False
        memcpy(slot + i * item, <void*> &narrow if is_narrow else <void*> &wide, item)
    return True


cdef bint put_array(uint8_t* slot, int64_t width, Reading reading, object value) except -1:
    """A numpy array of the very floats that the vector has."""
    cdef Py_buffer view
    cdef bint fits = False
    if value.ndim != 1 or not value.flags.c_contiguous:
        return False
    PyObject_GetBuffer(value, &view, PyBUF_FORMAT | PyBUF_ND)
    try:
        if view.len == width and view.format != NULL and view.format[1] == 0:
            fits = view.format[0] == (b"f" if reading == AS_VECTOR32 else b"d")
        if fits:
            memcpy(slot, view.buf, width)
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


cdef bint instant_of(object value, Reading reading, int64_t* found) except -1:
    """Whether a value is a datetime, or ISO text, that the unit holds exactly; without a zone it is UTC."""
    cdef int64_t micros
    cdef Py_ssize_t size = 0
    cdef const char* text
    if PyUnicode_CheckExact(value):
        if not PyUnicode_IS_COMPACT_ASCII(value):
            return False
        text = PyUnicode_AsUTF8AndSize(value, &size)
        if not parse_instant(text, size, &micros):
            return False
    elif not PyDateTime_CheckExact(value) or not datetime_micros(value, &micros):
        return False
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


cdef bint datetime_micros(object value, int64_t* micros) except -1:
    """Whether the zone of a datetime can be told; then the microseconds since 1970 UTC."""
    micros[0] = days_of(datetime_year(value), datetime_month(value), datetime_day(value)) * 86400
    micros[0] += datetime_hour(value) * 3600 + datetime_minute(value) * 60 + datetime_second(value)
    micros[0] = micros[0] * 1000000 + datetime_microsecond(value)
    zone = datetime_tzinfo(value)
    if zone is None or zone is UTC:
        return True
    try:
        offset = value.utcoffset()
    except Exception:
        return False
    if offset is None:
        return False
    micros[0] -= (<int64_t> timedelta_days(offset) * 86400 + timedelta_seconds(offset)) * 1000000 + timedelta_microseconds(offset)
    return True


cdef bint parse_instant(const char* text, Py_ssize_t size, int64_t* micros) noexcept:
    """Whether text is YYYY-MM-DD, or that with T or a blank, HH:MM:SS, up to six digits of a fraction, and Z or +HH:MM."""
    cdef int64_t year, month, day, hour = 0, minute = 0, second = 0, fraction = 0, zone = 0, scale = 100000
    cdef Py_ssize_t at = 10
    if size < 10 or text[4] != c"-" or text[7] != c"-":
        return False
    year, month, day = digits_at(text, 0) * 100 + digits_at(text, 2), digits_at(text, 5), digits_at(text, 8)
    if digits_at(text, 0) < 0 or digits_at(text, 2) < 0 or year < 1 or not 1 <= month <= 12 or not 1 <= day <= days_in(year, month):
        return False
    if size > 10:
        if size < 19 or (text[10] != c"T" and text[10] != c" ") or text[13] != c":" or text[16] != c":":
            return False
        hour, minute, second = digits_at(text, 11), digits_at(text, 14), digits_at(text, 17)
        if not 0 <= hour <= 23 or not 0 <= minute <= 59 or not 0 <= second <= 59:
            return False
        at = 19
        if at < size and text[at] == c".":
            at += 1
            if at == size or not c"0" <= text[at] <= c"9":
                return False
            while at < size and c"0" <= text[at] <= c"9":
                if scale == 0:
                    return False
                fraction += (text[at] - c"0") * scale
                scale //= 10
                at += 1
        if at < size and text[at] == c"Z":
            at += 1
        elif size == at + 6 and (text[at] == c"+" or text[at] == c"-") and text[at + 3] == c":":
            if not 0 <= digits_at(text, at + 1) <= 23 or not 0 <= digits_at(text, at + 4) <= 59:
                return False
            zone = (digits_at(text, at + 1) * 60 + digits_at(text, at + 4)) * (60 if text[at] == c"+" else -60)
            at += 6
    micros[0] = (((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 + second - zone) * 1000000 + fraction
    return at == size


cdef inline int64_t digits_at(const char* text, Py_ssize_t at) noexcept:
    """The number that two digits are; negative if they are none."""
    if not c"0" <= text[at] <= c"9" or not c"0" <= text[at + 1] <= c"9":
        return -1
    return (text[at] - c"0") * 10 + text[at + 1] - c"0"


cdef inline int64_t days_in(int64_t year, int64_t month) noexcept:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef int64_t days_of(int64_t year, int64_t month, int64_t day) noexcept:
    """Days since 1970 of a civil date (Hinnant, "chrono-compatible low-level date algorithms"); years 1 to 9999."""
    cdef int64_t shifted = year - (1 if month <= 2 else 0)
    cdef int64_t era = shifted // 400
    cdef int64_t yoe = shifted - era * 400
    cdef int64_t doy = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468

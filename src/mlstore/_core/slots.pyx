"""Slots: one stored value of fixed width as a Python object. Hosts are little-endian: words are read as they lie."""

from cpython.datetime cimport date_new, datetime_new, import_datetime
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from datetime import timezone

from numpy import datetime64

import_datetime()

cdef object UTC = timezone.utc

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

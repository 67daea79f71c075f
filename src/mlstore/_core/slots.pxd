"""What other kernels may know of slots: how a value is read and put, the readers and those that put."""

from libc.stdint cimport int64_t, uint8_t


cdef enum Reading:  # how one value becomes a Python object
    AS_BOOL = 0
    AS_INT8
    AS_INT16
    AS_INT32
    AS_INT64
    AS_UINT8
    AS_UINT16
    AS_UINT32
    AS_UINT64
    AS_FLOAT32
    AS_FLOAT64
    AS_STRING
    AS_BINARY
    AS_DATE
    AS_SECONDS
    AS_MILLIS
    AS_MICROS
    AS_NANOS
    AS_VECTOR32
    AS_VECTOR64
    AS_CALL  # the layout's converter of the feature, given the bytes


cdef int64_t reading_width(Reading reading) noexcept
cdef object read_slot(const uint8_t* slot, int64_t width, Reading reading)
cpdef object read_date(int64_t days)
cpdef object read_instant(int64_t value, int reading)
cdef bint put_slot(uint8_t* slot, int64_t width, Reading reading, object value) except -1
cdef bint integer_of(object value, Reading reading, int64_t* found) except -1

"""Words: 64-bit integers whose number is not known beforehand."""

from libc.stdint cimport int64_t


cdef class Words:
    cdef int64_t* words
    cdef int64_t count
    cdef int64_t capacity

    cdef int append(self, const int64_t* more, int64_t count) except -1 nogil
    cdef copy(self)

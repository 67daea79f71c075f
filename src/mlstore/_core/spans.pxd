"""Spans: first and last tick of each of some windows at a moment."""

from libc.stdint cimport int64_t


cdef struct Window:
    int64_t kind
    int64_t length              # 0: as long as there are events
    int64_t hop
    int64_t shift               # taken off the moment


cdef class Spans:
    cdef readonly Py_ssize_t count
    cdef Window* windows

    cdef void fill(self, int64_t moment, int64_t* low, int64_t* high) noexcept nogil

"""Finishes: the states of one key, finished into the values of outputs."""

from libc.stdint cimport int64_t


cdef struct Output:
    int64_t function
    int64_t kind                # of the column
    int64_t window
    int64_t place               # of the state's first word in a record
    int64_t at                  # of the word that is read, in the state
    double seconds              # how long the window is


cdef class Finisher:
    cdef Py_ssize_t count
    cdef Output* outputs
    cdef tuple names
    cdef tuple converters       # of words, where what comes out is no number; or None
    cdef int64_t windows        # at least so many there must be
    cdef int64_t words

    cdef bint fits(self, int64_t windows, int64_t words) noexcept
    cdef int fill(self, const int64_t* states, int64_t words, dict answer) except -1

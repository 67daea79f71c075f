"""Benches: room to put windows together, from runs of records and events gathered from leaves."""

from libc.stdint cimport int64_t

from mlstore._core.nodes cimport Node
from mlstore._core.tiles cimport Layout, Tiles


cdef struct Piece:
    const int64_t* records      # NULL: events
    const Node* leaf            # whose events; NULL: those gathered
    int64_t begin
    int64_t end


cdef class Bench:
    cdef Layout layout          # its measures point into the gathered events
    cdef Tiles tiles            # built of them
    cdef int64_t* time
    cdef int64_t events
    cdef int64_t capacity
    cdef Piece* pieces
    cdef int64_t piece_count
    cdef int64_t piece_capacity
    cdef int64_t* states        # of one key

    cdef int reserve(self, int64_t events) except -1 nogil
    cdef int put(self, const int64_t* records, const Node* leaf, int64_t begin, int64_t end) except -1 nogil

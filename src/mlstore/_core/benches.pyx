"""Benches: room to put windows together, from runs of records and events gathered from leaves."""

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc, realloc

import numpy as np

from mlstore._core.nodes cimport Node
from mlstore._core.states cimport ROWS
from mlstore._core.tiles cimport Layout, Tiles

_NO_WORDS = np.empty(0, np.int64)
_NO_FLAGS = np.empty(0, np.uint8)


cdef class Bench:
    """Room to work in, one walk at a time."""

    def __cinit__(self, list asked not None, tile_widths, int64_t windows):
        self.layout = Layout([(kind, mask, _NO_WORDS, _NO_FLAGS) for kind, mask in asked], -1)
        self.tiles = Tiles(tile_widths, self.layout.words)
        self.time, self.pieces = NULL, NULL
        self.events = self.capacity = self.piece_count = self.piece_capacity = 0
        self.states = <int64_t*> malloc(max(1, windows * self.layout.words) * 8)
        if self.states == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.time)
        free(self.pieces)
        free(self.states)

    cdef int reserve(self, int64_t events) except -1 nogil:
        """Room for so many gathered events: their times, then words, then flags, column after column."""
        cdef int64_t capacity, at = 1
        cdef Py_ssize_t m
        cdef void* grown
        self.events = 0
        if events <= self.capacity:
            return 0
        capacity = max(64, 2 * events)
        grown = realloc(self.time, capacity * (8 + 9 * self.layout.count))
        if grown == NULL:
            raise MemoryError
        self.time, self.capacity = <int64_t*> grown, capacity
        for m in range(self.layout.count):
            if self.layout.measures[m].kind != ROWS:
                self.layout.measures[m].values = self.time + at * capacity
                at += 1
        for m in range(self.layout.count):
            self.layout.measures[m].counted = <uint8_t*> (self.time + at * capacity) + m * capacity
        return 0

    cdef int put(self, const int64_t* records, const Node* leaf, int64_t begin, int64_t end) except -1 nogil:
        """One piece more of a window."""
        cdef void* grown
        cdef int64_t capacity
        if self.piece_count == self.piece_capacity:
            capacity = max(64, 2 * self.piece_capacity)
            grown = realloc(self.pieces, capacity * sizeof(Piece))
            if grown == NULL:
                raise MemoryError
            self.pieces, self.piece_capacity = <Piece*> grown, capacity
        self.pieces[self.piece_count] = Piece(records, leaf, begin, end)
        self.piece_count += 1
        return 0

"""Tiles: the states of a key's events in stretches of time of a level's width, aligned to the epoch, and how an interval is cut into them."""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t

from mlstore._core.states cimport Measure

cdef enum:
    MOST_LEVELS = 16
    MOST_PARTS = 33             # two edges for each level, and what is between them


cdef struct Level:
    int64_t width
    int64_t count               # tiles
    int64_t capacity
    int64_t* start              # [count] the first tick; those below the least tick start there
    int64_t* first              # [count + 1] the first part below: a tile of the level before, or an event
    int64_t* records            # [count, words]
    int64_t parents             # capacity of parent
    int64_t* parent             # the tile that holds each part below


cdef struct Part:
    int64_t level               # -1: events
    int64_t begin
    int64_t end
    bint is_short               # its last tile holds events behind the end; see trim


cdef inline int64_t tile_start(int64_t time, int64_t width) noexcept nogil:
    """First tick of the tile of a time; the least tick if it lies before it."""
    cdef int64_t into = time % width
    into += width if into < 0 else 0
    return time - into if time >= INT64_MIN + into else INT64_MIN


cdef inline int64_t tile_last(int64_t time, int64_t width) noexcept nogil:
    """Last tick of the tile of a time; the greatest tick if it lies after it."""
    cdef int64_t left = time % width
    left = width - 1 - (left + width if left < 0 else left)
    return time + left if time <= INT64_MAX - left else INT64_MAX


cdef class Layout:
    cdef readonly Py_ssize_t count
    cdef readonly int64_t words
    cdef Measure* measures
    cdef list kept              # arrays that the measures point into

    cdef void clear(self, int64_t* record) noexcept nogil
    cdef void add(self, int64_t begin, int64_t end, int64_t* record) noexcept nogil
    cdef void take(self, int64_t row, int64_t* record) noexcept nogil
    cdef void merge(self, const int64_t* records, int64_t begin, int64_t end, int64_t* record) noexcept nogil


cdef class Tiles:
    cdef int depth              # levels that are built; who lowers it has only those
    cdef int64_t words
    cdef Level levels[MOST_LEVELS]
    cdef int64_t* trimmed       # two records

    cdef int reserve(self, Level* level, int64_t parts) except -1 nogil
    cdef int build(self, Layout layout, const int64_t* time, int64_t begin, int64_t end) except -1 nogil
    cdef const int64_t* trim(self, Layout layout, int64_t base, int64_t end, int64_t level) noexcept nogil
    cdef int cut(self, int64_t base, int64_t begin, int64_t end, int64_t low, int64_t high, Part* parts) noexcept nogil

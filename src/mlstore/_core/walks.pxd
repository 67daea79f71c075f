"""Walks: what windows hold of the events of keys at one moment, put together from few nodes of their trees of tiles."""

from libc.stdint cimport int64_t, uint8_t

from mlstore._core.spans cimport Spans
from mlstore._core.tiles cimport MOST_LEVELS, Layout, Tiles


cdef struct Node:
    const uint8_t* data         # NULL: there is none
    int64_t key
    int64_t level
    int64_t first               # tick of the stretch that it stands for
    int64_t last
    int64_t count               # events or children
    int64_t child               # those of its children that are read: nodes, ascending
    int64_t children
    int64_t begin               # of a leaf above the finest level: its events [begin, end) are gathered, from this place on
    int64_t end
    int64_t place
    bint is_leaf


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


cdef class Trees:
    cdef Layout layout          # of records; it points to no events
    cdef Spans spans
    cdef object tile_widths
    cdef int64_t widths[MOST_LEVELS + 1]
    cdef int64_t root
    cdef int64_t valued         # columns whose words are kept
    cdef uint8_t* wanted        # [windows, columns]
    cdef list spare             # benches that nobody uses now
    cdef str place              # what errors name

    cdef Bench bench(self)


cdef class Walk:
    cdef Trees trees
    cdef list heads
    cdef list packed            # what nodes point into
    cdef Node* nodes
    cdef int64_t count
    cdef int64_t capacity
    cdef int64_t fresh          # the first node of the last round
    cdef int64_t roots
    cdef bint is_begun
    cdef int64_t* low           # [windows], and behind it high, and room for edges
    cdef int64_t* high
    cdef int64_t* edges
    cdef int64_t first          # tick that any window looks at
    cdef int64_t last

    cdef int64_t add(self, int64_t key, int64_t level, int64_t first, int64_t last) except -1
    cdef int open(self, int64_t place, bytes packed) except -1
    cdef object fault(self, str why)
    cdef bytes name(self, int64_t place)
    cdef int want_children(self, int64_t place, list keys) except -1
    cdef int64_t choose(self, int64_t place, int64_t* level) noexcept nogil
    cdef void gather(self, Bench bench, int64_t place) noexcept nogil
    cdef int cut(self, Bench bench, int64_t place, int64_t low, int64_t high) except -1 nogil
    cdef int cut_leaf(self, Bench bench, const Node* node, int64_t low, int64_t high) except -1 nogil
    cdef int cut_child(self, Bench bench, const Node* node, int64_t first, int64_t low, int64_t high) except -1 nogil
    cdef int fold(self, Bench bench, int64_t begin, int64_t end, int64_t* states) except -1 nogil
    cdef void fold_column(self, Bench bench, Py_ssize_t column, int64_t* states) noexcept nogil

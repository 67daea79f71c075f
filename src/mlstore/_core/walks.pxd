"""Walks: what windows hold of the events of keys at one moment, put together from few nodes of their trees of tiles."""

from libc.stdint cimport int64_t, uint8_t

from mlstore._core.benches cimport Bench
from mlstore._core.nodes cimport Node
from mlstore._core.spans cimport Spans
from mlstore._core.tiles cimport MOST_LEVELS, Layout


cdef class Trees:
    cdef Layout layout          # of records; it points to no events
    cdef Spans spans
    cdef list asked             # (kind, mask) of each column
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

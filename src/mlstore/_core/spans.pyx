"""Spans: first and last tick of each of some windows at a moment. What would leave the clock at its beginning stays at the first tick."""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t
from libc.stdlib cimport free, malloc

cdef enum Kind:
    SLIDING = 0
    TUMBLING = 1
    HOPPING = 2

KINDS = {"sliding": <int> SLIDING, "tumbling": <int> TUMBLING, "hopping": <int> HOPPING}


cdef inline int64_t less(int64_t time, int64_t ticks) noexcept nogil:
    """time - ticks, where ticks are not below 0; not before the first tick."""
    return time - ticks if time >= INT64_MIN + ticks else INT64_MIN


cdef inline int64_t behind(int64_t time, int64_t width) noexcept nogil:
    """How far a time is behind the last multiple of the width."""
    cdef int64_t into = time % width
    return into + width if into < 0 else into


cdef class Spans:
    """Some windows."""

    def __cinit__(self, windows):
        cdef Py_ssize_t place
        self.count = len(windows)
        self.windows = <Window*> malloc(max(1, self.count) * sizeof(Window))
        if self.windows == NULL:
            raise MemoryError
        for place, (kind, length, hop, shift) in enumerate(windows):
            if kind not in (SLIDING, TUMBLING, HOPPING) or length < 0 or hop < 0 or shift < 0:
                raise ValueError("a window of no known kind")
            if (kind == TUMBLING and not length) or (kind == HOPPING and not hop):
                raise ValueError("a window without a length")
            self.windows[place] = Window(kind, length, hop, shift)

    def __dealloc__(self):
        free(self.windows)

    cdef void fill(self, int64_t moment, int64_t* low, int64_t* high) noexcept nogil:
        cdef Py_ssize_t w
        cdef Window* window
        cdef int64_t last
        for w in range(self.count):
            if moment == INT64_MIN:
                low[w], high[w] = INT64_MAX, INT64_MIN
                continue
            window = &self.windows[w]
            last = less(moment, window.shift)
            if window.kind == HOPPING:
                last = less(last, behind(last, window.hop))
            if window.kind == TUMBLING:
                low[w] = less(last, behind(last, window.length))
            elif window.length:
                low[w] = less(last, window.length - 1)
            else:
                low[w] = INT64_MIN
            high[w] = last

    def at(self, int64_t moment):
        """(first, last) of each window."""
        cdef Py_ssize_t w
        cdef int64_t* bounds = <int64_t*> malloc(max(1, 2 * self.count) * sizeof(int64_t))
        if bounds == NULL:
            raise MemoryError
        try:
            self.fill(moment, bounds, bounds + self.count)
            return [(bounds[w], bounds[self.count + w]) for w in range(self.count)]
        finally:
            free(bounds)

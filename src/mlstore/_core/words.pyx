"""Words: 64-bit integers whose number is not known beforehand."""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

import numpy as np


cdef class Words:
    """Words that are still growing in number."""

    def __dealloc__(self):
        free(self.words)

    cdef int append(self, const int64_t* more, int64_t count) except -1 nogil:
        cdef void* grown
        cdef int64_t capacity
        if self.count + count > self.capacity:
            capacity = max(2 * self.capacity, self.count + count, 64)
            grown = realloc(self.words, capacity * 8)
            if grown == NULL:
                raise MemoryError
            self.words, self.capacity = <int64_t*> grown, capacity
        if count:
            memcpy(self.words + self.count, more, count * 8)
        self.count += count
        return 0

    cdef copy(self):
        array = np.empty(self.count, np.int64)
        cdef int64_t[::1] view = array
        if self.count:
            memcpy(&view[0], self.words, self.count * 8)
        return array

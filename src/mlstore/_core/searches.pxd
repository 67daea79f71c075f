"""Searches: places in ascending times."""

from libc.stdint cimport INT64_MAX, int64_t


cdef inline int64_t first_from(const int64_t* sorted_times, int64_t low, int64_t high, int64_t bound) noexcept nogil:
    """First of [low, high) at or after the bound."""
    cdef int64_t half, left = high - low
    while left > 0:
        half = (left + 1) >> 1
        low += half if sorted_times[low + half - 1] < bound else 0
        left -= half
    return low


cdef inline int64_t first_after(const int64_t* sorted_times, int64_t low, int64_t high, int64_t bound) noexcept nogil:
    """First of [low, high) after the bound."""
    return high if bound == INT64_MAX else first_from(sorted_times, low, high, bound + 1)

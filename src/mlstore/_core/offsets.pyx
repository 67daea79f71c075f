"""Offsets: whether numbers that cut a buffer into pieces can be followed without leaving it."""

from libc.stdint cimport int32_t, int64_t

ctypedef fused offset_t:
    int32_t
    int64_t


def are_offsets(
    const offset_t[::1] offsets,   # IN   [n + 1]
    int64_t end,                   # IN   where the buffer ends
) -> bool:
    """Whether there is a first one, none lies below 0 or the one before it, and the last not behind the end."""
    cdef Py_ssize_t i
    cdef bint falls = False
    if offsets.shape[0] == 0 or offsets[0] < 0 or offsets[offsets.shape[0] - 1] > end:
        return False
    with nogil:
        for i in range(1, offsets.shape[0]):
            falls |= offsets[i] < offsets[i - 1]
    return not falls

"""Zone maps: what min and max cannot tell of a column of floats."""

from cython cimport floating


def has_nan(
    const floating[::1] values,  # IN   [n]
):
    """Whether any value is NaN."""
    cdef Py_ssize_t i
    cdef bint found = False
    with nogil:
        for i in range(values.shape[0]):
            found |= values[i] != values[i]
    return found

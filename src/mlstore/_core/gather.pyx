"""Gather: copy chosen rows of a column to chosen slots of the answer."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


ctypedef fused word_t:
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef void gather_words(
    const word_t* source, const int64_t[::1] rows, const int64_t[::1] slots, word_t* answer
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(rows.shape[0]):
        answer[slots[i]] = source[rows[i]]


cdef void gather_blobs(
    const uint8_t* source, Py_ssize_t width, const int64_t[::1] rows, const int64_t[::1] slots, uint8_t* answer
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(rows.shape[0]):
        memcpy(answer + slots[i] * width, source + rows[i] * width, width)


def gather_fixed(
    const uint8_t[::1] source,   # IN   [rows * width]
    Py_ssize_t width,            # IN   bytes of one value
    const int64_t[::1] rows,     # IN   [n]
    const int64_t[::1] slots,    # IN   [n]
    uint8_t[::1] answer,         # OUT  [slots * width]
):
    """answer[slots[i]] = source[rows[i]], values of `width` bytes."""
    if rows.shape[0] != slots.shape[0]:
        raise ValueError("rows and slots differ in length")
    if rows.shape[0] == 0:
        return
    with nogil:
        if width == 8:
            gather_words[uint64_t](<const uint64_t*> &source[0], rows, slots, <uint64_t*> &answer[0])
        elif width == 4:
            gather_words[uint32_t](<const uint32_t*> &source[0], rows, slots, <uint32_t*> &answer[0])
        elif width == 2:
            gather_words[uint16_t](<const uint16_t*> &source[0], rows, slots, <uint16_t*> &answer[0])
        elif width == 1:
            gather_words[uint8_t](&source[0], rows, slots, &answer[0])
        else:
            gather_blobs(&source[0], width, rows, slots, &answer[0])


def gather_bits(
    const uint8_t[::1] bitmap,   # IN   least significant bit first
    int64_t bit_offset,          # IN   bit of row 0
    const int64_t[::1] rows,     # IN   [n]
    const int64_t[::1] slots,    # IN   [n]
    uint8_t[::1] answer,         # OUT  [slots] 0 or 1
):
    """answer[slots[i]] = bit of rows[i]."""
    cdef Py_ssize_t i
    cdef int64_t bit
    if rows.shape[0] != slots.shape[0]:
        raise ValueError("rows and slots differ in length")
    with nogil:
        for i in range(rows.shape[0]):
            bit = rows[i] + bit_offset
            answer[slots[i]] = (bitmap[bit >> 3] >> (bit & 7)) & 1

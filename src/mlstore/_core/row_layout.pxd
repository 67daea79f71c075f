"""What other kernels may know of row layouts: the struct, and the inline checks and look-ups of the hot loops."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from mlstore._core.slots cimport Reading


cdef enum:
    HEAD_SIZE = 26  # "<Hqqq"

cdef enum Kind:  # how a slot is stored
    FIXED = 0
    BOOL = 1
    VARLEN = 2

cdef enum Fault:  # what is wrong with a row; a number >= 0 is the feature whose end is wrong
    SOUND = -1
    TRUNCATED = -2
    OTHER_REVISION = -3
    OTHER_LENGTH = -4
    TOO_LARGE = -5  # for Arrow's 32-bit offsets

cdef struct Feature:
    int64_t slot      # byte of the row where the slot begins
    int64_t width     # bytes of the slot
    int32_t before    # the variable feature before this one, or -1
    Kind kind
    Reading reading

cdef struct Layout:
    int revision
    Py_ssize_t count
    int64_t fixed_end           # where the variable area begins
    Feature* features           # [count]
    int32_t* varlen             # [varlen_count] the variable features, in order
    Py_ssize_t varlen_count


cdef class RowLayout:
    cdef Layout plan
    cdef tuple converters


cdef const Feature* feature_at(const Layout* layout, Py_ssize_t i) except NULL
cdef object read_value(RowLayout compiled, const uint8_t* row, Py_ssize_t i)
cdef object fault_of(const Layout* layout, const uint8_t* row, int64_t size, int64_t fault, str place)


cdef inline bint has_bit(const uint8_t* bitmap, int64_t bit) noexcept nogil:
    return (bitmap[bit >> 3] >> (bit & 7)) & 1


cdef inline void set_bit(uint8_t* bitmap, int64_t bit) noexcept nogil:
    bitmap[bit >> 3] |= <uint8_t> (1 << (bit & 7))


cdef inline int64_t end_of(const Layout* layout, const uint8_t* row, Py_ssize_t feature) noexcept nogil:
    """Where a variable value that is not null ends, in the variable area."""
    cdef uint32_t end
    memcpy(&end, row + layout.features[feature].slot, 4)
    return end


cdef inline int64_t begin_of(const Layout* layout, const uint8_t* row, Py_ssize_t feature) noexcept nogil:
    """Where a variable value begins: at the end of the nearest valid one before it. Null slots hold zero and say nothing."""
    cdef int32_t before = layout.features[feature].before
    while before >= 0 and not has_bit(row + HEAD_SIZE, before):
        before = layout.features[before].before
    return end_of(layout, row, before) if before >= 0 else 0


cdef inline int64_t check_row(const Layout* layout, const uint8_t* row, int64_t size) noexcept nogil:
    """SOUND, or what is wrong. After SOUND every slot and every variable value lies inside the row."""
    cdef uint16_t revision
    cdef int64_t cursor = 0, end
    cdef Py_ssize_t k
    if size < HEAD_SIZE:
        return TRUNCATED
    memcpy(&revision, row, 2)
    if revision != layout.revision:
        return OTHER_REVISION
    if size < layout.fixed_end:
        return TRUNCATED
    for k in range(layout.varlen_count):
        if has_bit(row + HEAD_SIZE, layout.varlen[k]):
            end = end_of(layout, row, layout.varlen[k])
            if end < cursor or end > size - layout.fixed_end:
                return layout.varlen[k]
            cursor = end
    return SOUND if cursor == size - layout.fixed_end else OTHER_LENGTH

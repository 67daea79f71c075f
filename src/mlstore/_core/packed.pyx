"""Packed values: whether bytes are one whole value of msgpack, before anything is made of them.

A reader of msgpack takes memory for as many items as an array claims; here each claim is held against the bytes that are left.
"""

from libc.stdint cimport int64_t, uint8_t

cdef enum:
    DEEPEST = 64                # values within values


def is_packed(
    const uint8_t[::1] data,    # IN
) -> bool:
    """Whether the bytes are one value, none missing and none left over, no deeper than 64, and without extension types."""
    cdef Py_ssize_t end
    with nogil:
        end = end_of_value(data)
    return end >= 0 and end == data.shape[0]


cdef Py_ssize_t end_of_value(const uint8_t[::1] data) noexcept nogil:
    """Where the value at the start ends, or -1."""
    cdef int64_t waiting[DEEPEST]
    cdef int64_t size = data.shape[0], place = 0, depth = 0, items, width
    cdef uint8_t code
    waiting[0] = 1
    while True:
        while waiting[depth] == 0:
            if depth == 0:
                return place
            depth -= 1
        waiting[depth] -= 1
        if place >= size:
            return -1
        code = data[place]
        place += 1
        items = 0
        width = 0
        if code <= 0x7F or code >= 0xE0 or code == 0xC0 or code == 0xC2 or code == 0xC3:
            continue
        elif code <= 0x8F:
            items = 2 * (code & 0x0F)
        elif code <= 0x9F:
            items = code & 0x0F
        elif code <= 0xBF:
            width = code & 0x1F
        elif 0xC4 <= code <= 0xC6:
            width = read_length(data, &place, 1 << (code - 0xC4))
        elif 0xCA <= code <= 0xCB:
            width = 4 << (code - 0xCA)
        elif 0xCC <= code <= 0xCF:
            width = 1 << (code - 0xCC)
        elif 0xD0 <= code <= 0xD3:
            width = 1 << (code - 0xD0)
        elif 0xD9 <= code <= 0xDB:
            width = read_length(data, &place, 1 << (code - 0xD9))
        elif 0xDC <= code <= 0xDD:
            items = read_length(data, &place, 2 << (code - 0xDC))
        elif 0xDE <= code <= 0xDF:
            items = 2 * read_length(data, &place, 2 << (code - 0xDE))
        else:
            return -1
        # Every item has one byte at least.
        if width < 0 or items < 0 or width > size - place or items > size - place:
            return -1
        place += width
        if items:
            if depth + 1 == DEEPEST:
                return -1
            depth += 1
            waiting[depth] = items


cdef int64_t read_length(const uint8_t[::1] data, int64_t* place, int width) noexcept nogil:
    """The number of `width` bytes at the place, which moves behind it; -1 if there are not so many."""
    cdef int64_t length = 0
    cdef int i
    if width > data.shape[0] - place[0]:
        return -1
    for i in range(width):
        length = (length << 8) | data[place[0] + i]
    place[0] += width
    return length

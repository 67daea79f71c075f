"""Layout of a packed node of a tree of tiles; docs/format.md tells it in words."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    LEAF = 1
    INNER = 2
    HEAD = 8                    # leaf or not u8, level u8, columns of a leaf u16, how many events or children u32
    NAME_TAIL = 9               # of a node's name, behind the head of a key's nodes: level u8, first tick


cdef inline int64_t leaf_size(int64_t events, int64_t valued, int64_t columns) noexcept nogil:
    """Bytes of a leaf; valued: how many of its columns have values."""
    return HEAD + events * (16 + 8 * valued + columns)


cdef inline int64_t inner_size(int64_t children, int64_t words) noexcept nogil:
    return HEAD + 8 * children * (1 + words)


cdef inline int64_t size_of(const uint8_t* node, int64_t words, int64_t valued, int64_t columns) noexcept nogil:
    """How many bytes a node has by its head; -1: it is of no known form."""
    cdef uint32_t count
    memcpy(&count, node + 4, 4)
    if node[0] == INNER:
        return inner_size(count, words)
    if node[0] != LEAF or node[2] + 256 * node[3] != columns:
        return -1
    return leaf_size(count, valued, columns)


cdef inline bytes name_of(bytes head, int64_t level, int64_t start):
    """What a node is called in the file: behind the head the level, and the first tick so that names are ordered as ticks are."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(head), i
    cdef uint64_t word = <uint64_t> start ^ (<uint64_t> 1 << 63)
    cdef bytes name = PyBytes_FromStringAndSize(NULL, size + NAME_TAIL)
    cdef uint8_t* place = <uint8_t*> PyBytes_AS_STRING(name)
    memcpy(place, PyBytes_AS_STRING(head), size)
    place[size] = <uint8_t> level
    for i in range(8):
        place[size + 1 + i] = <uint8_t> (word >> (56 - 8 * i))
    return name

"""Nodes: the packed nodes of trees of tiles as they stand in the file, and their names. docs/format.md tells their bytes."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from mlstore._core.tiles cimport tile_last

cdef enum:
    LEAF = 1
    INNER = 2
    HEAD = 8                    # leaf or not u8, level u8, columns u16, count u32
    NAME_TAIL = 9               # behind the head of a key's names: level u8, first tick


cdef struct Node:
    const uint8_t* data         # NULL: there is none
    int64_t key
    int64_t level
    int64_t first               # tick of the stretch that it stands for
    int64_t last
    int64_t count               # events or children
    int64_t child               # those of its children that are read: nodes, ascending
    int64_t children
    int64_t begin               # of a leaf above the finest level: its events [begin, end) are gathered, from this place on
    int64_t end
    int64_t place
    bint is_leaf


cdef inline const int64_t* words_behind(const Node* node, int64_t words) noexcept nogil:
    """The words of a node that begin so many words behind its head: bytes objects and the head leave them aligned."""
    return <const int64_t*> (node.data + HEAD) + words


cdef inline int64_t first_ending_from(const int64_t* start, int64_t count, int64_t width, int64_t bound) noexcept nogil:
    """First tile whose last tick is at or after the bound."""
    cdef int64_t low = 0, half, left = count
    while left > 0:
        half = (left + 1) >> 1
        low += half if tile_last(start[low + half - 1], width) < bound else 0
        left -= half
    return low


cdef inline int64_t leaf_size(int64_t events, int64_t valued, int64_t columns) noexcept nogil:
    """Bytes of a leaf; valued: how many of its columns have values."""
    return HEAD + events * (16 + 8 * valued + columns)


cdef inline int64_t inner_size(int64_t children, int64_t words) noexcept nogil:
    return HEAD + 8 * children * (1 + words)


cdef inline bint open_node(Node* node, const uint8_t* data, int64_t size, int64_t words, int64_t valued, int64_t columns) noexcept nogil:
    """Understand bytes: records of so many words, leaves of so many columns, of which some have values; False: they are no node."""
    cdef uint32_t count = 0
    cdef int64_t expected = -1
    if size <= HEAD:
        return False
    memcpy(&count, data + 4, 4)
    if data[0] == INNER:
        expected = inner_size(count, words)
    elif data[0] == LEAF and data[2] + 256 * data[3] == columns:
        expected = leaf_size(count, valued, columns)
    if size != expected or not count:
        return False
    node.data, node.count, node.is_leaf = data, count, data[0] == LEAF
    return True


cdef inline bytes named(bytes head, int64_t level, int64_t first):
    """The name of a node."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(head), i
    cdef bytes name = PyBytes_FromStringAndSize(NULL, size + NAME_TAIL)
    cdef uint8_t* data = <uint8_t*> PyBytes_AS_STRING(name)
    cdef uint64_t word = <uint64_t> first ^ (<uint64_t> 1 << 63)
    memcpy(data, PyBytes_AS_STRING(head), size)
    data[size] = <uint8_t> level
    for i in range(8):
        data[size + 1 + i] = <uint8_t> (word >> (56 - 8 * i))
    return name

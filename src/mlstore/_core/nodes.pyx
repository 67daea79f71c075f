"""Nodes: packed nodes of a key's tree of tiles, laid out as `fold_stored` takes tiles and events."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

import numpy as np

from mlstore._core.node_layout cimport HEAD, LEAF, size_of
from mlstore._core.states cimport ROWS
from mlstore._core.tiles cimport Layout, Tiles


cdef inline int64_t word_at(const uint8_t* place) noexcept nogil:
    cdef int64_t word
    memcpy(&word, place, 8)
    return word


def lay_nodes(
    packed,                     # IN   nodes of one key, none twice
    asked,                      # IN   (kind, mask) of each column
    const int64_t[::1] widths,  # IN   [levels] finest first
):
    """Tiles and events of nodes of one key: offsets [levels, 2], starts [tiles], records [tiles, words], times [events], measures."""
    cdef Py_ssize_t depth = widths.shape[0], level, column, columns = len(asked), place = 0, tile = 0
    cdef int64_t words = 0, valued = 0, events = 0, tiles = 0, count, into
    cdef const uint8_t* node
    cdef uint32_t rows
    cdef bytes one, starts, records
    cdef Layout shape = Layout([(kind, mask, _NO_WORDS, _NO_FLAGS) for kind, mask in asked], -1)
    cdef Layout layout
    cdef Tiles built
    cdef list leaves = [], found = [[] for level in range(depth)], bounds = []
    words = shape.words
    for kind, _ in asked:
        valued += kind != ROWS
    for one in packed:
        node = <const uint8_t*> <const char*> one
        if len(one) <= HEAD or size_of(node, words, valued, columns) != len(one):
            raise ValueError("a node of no known form")
        memcpy(&rows, node + 4, 4)
        if node[0] == LEAF:
            if node[1] > depth:
                raise ValueError("a node of no known level")
            leaves.append((word_at(node + HEAD), one))
            events += rows
        else:
            if not 0 < node[1] <= depth:
                raise ValueError("a node of no known level")
            found[node[1] - 1].append((word_at(node + HEAD), one[HEAD : HEAD + 8 * rows], one[HEAD + 8 * rows :]))
            tiles += rows
    leaves.sort()
    time = np.empty(events, np.int64)
    values = [np.empty(events if kind != ROWS else 0, np.int64) for kind, _ in asked]
    flags = [np.empty(events, np.uint8) for _ in asked]
    cdef int64_t[::1] times = time
    cdef int64_t[::1] numbers
    cdef uint8_t[::1] counted
    for _, one in leaves:
        node = <const uint8_t*> <const char*> one
        memcpy(&rows, node + 4, 4)
        memcpy(&times[place], node + HEAD, 8 * rows)
        into = HEAD + 16 * <int64_t> rows
        for column in range(columns):
            numbers = values[column]
            if numbers.shape[0]:
                memcpy(&numbers[place], node + into, 8 * rows)
                into += 8 * <int64_t> rows
        for column in range(columns):
            counted = flags[column]
            memcpy(&counted[place], node + into, rows)
            into += rows
        bounds.append((node[1], place, place + rows))
        place += rows
    measures = [(kind, mask, values[column], flags[column]) for column, (kind, mask) in enumerate(asked)]
    layout = Layout(measures, events)
    for lower, first, last in bounds:
        if not lower:
            continue
        built = Tiles(widths[:lower], words)
        built.build(layout, &times[0], first, last)
        for level in range(<Py_ssize_t> lower):
            count = built.levels[level].count
            starts = PyBytes_FromStringAndSize(<const char*> built.levels[level].start, 8 * count)
            records = PyBytes_FromStringAndSize(<const char*> built.levels[level].records, 8 * count * words)
            found[level].append((built.levels[level].start[0], starts, records))
            tiles += count
    offsets = np.zeros((depth, 2), np.int64)
    all_starts, all_records = np.empty(tiles, np.int64), np.empty((tiles, words), np.int64)
    cdef int64_t[:, ::1] offset = offsets
    cdef int64_t[::1] start = all_starts
    cdef int64_t[:, ::1] record = all_records
    for level in range(depth):
        offset[level, 0] = tile
        for _, starts, records in sorted(found[level]):
            count = len(starts) // 8
            memcpy(&start[tile], <const char*> starts, 8 * count)
            memcpy(&record[tile, 0], <const char*> records, 8 * count * words)
            tile += count
        offset[level, 1] = tile
    return offsets, all_starts, all_records, time, measures


_NO_WORDS = np.empty(0, np.int64)
_NO_FLAGS = np.empty(0, np.uint8)

"""Tiles: the states of a key's events in stretches of time of a level's width, aligned to the epoch, and how an interval is cut into them.

A tile of the finest level is its events added one by one; one of the next its children merged from left to right. There are no empty ones.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

import numpy as np

from mlstore._core.states cimport (
    FLOATS, GREATEST, INTS, LEAST, ROWS, SHAPE, SPREAD, SUM, UINTS, Measure, add_events, merge_tiles, set_event, set_nothing, settle, words_of
)
from mlstore._core.words cimport Words


cdef class Layout:
    """The columns of a record: kind and mask of each, with or without values."""

    def __cinit__(self, measures, int64_t rows):
        cdef const int64_t[::1] values
        cdef const uint8_t[::1] counted
        self.count, self.words, self.kept = len(measures), 0, []
        self.measures = <Measure*> malloc(max(1, self.count) * sizeof(Measure))
        if self.measures == NULL:
            raise MemoryError
        for place, (kind, mask, given_values, given_counted) in enumerate(measures):
            values, counted = given_values, given_counted
            if kind not in (ROWS, INTS, UINTS, FLOATS) or (kind == ROWS and mask) or (mask & SHAPE and not mask & SPREAD):
                raise ValueError("a measure of no known kind")
            if rows >= 0 and (values.shape[0] != (0 if kind == ROWS else rows) or counted.shape[0] not in (0, rows)):
                raise ValueError("values do not fit the events")
            self.measures[place].kind, self.measures[place].mask, self.measures[place].place = kind, mask, self.words
            self.measures[place].values = &values[0] if values.shape[0] else NULL
            self.measures[place].counted = &counted[0] if counted.shape[0] else NULL
            self.words += words_of(kind, mask)
            self.kept.append((values, counted))

    def __dealloc__(self):
        free(self.measures)

    cdef void clear(self, int64_t* record) noexcept nogil:
        cdef Py_ssize_t m
        for m in range(self.count):
            set_nothing(&self.measures[m], record + self.measures[m].place)

    cdef void add(self, int64_t begin, int64_t end, int64_t* record) noexcept nogil:
        cdef Py_ssize_t m
        for m in range(self.count):
            add_events(&self.measures[m], begin, end, record + self.measures[m].place)
            settle(&self.measures[m], record + self.measures[m].place)

    cdef void take(self, int64_t row, int64_t* record) noexcept nogil:
        cdef Py_ssize_t m
        for m in range(self.count):
            set_event(&self.measures[m], row, record + self.measures[m].place)
            settle(&self.measures[m], record + self.measures[m].place)

    cdef void merge(self, const int64_t* records, int64_t begin, int64_t end, int64_t* record) noexcept nogil:
        cdef Py_ssize_t m
        for m in range(self.count):
            merge_tiles(&self.measures[m], records, self.words, begin, end, record + self.measures[m].place)
            settle(&self.measures[m], record + self.measures[m].place)


cdef class Tiles:
    """The tiles of one key at a time, at all levels, in memory that is used again for the next key."""

    def __cinit__(self, const int64_t[::1] widths, int64_t words):
        cdef int i
        if widths.shape[0] > MOST_LEVELS:
            raise ValueError(f"more than {MOST_LEVELS} levels")
        for i in range(widths.shape[0]):
            if widths[i] < 1 or (i and (widths[i] <= widths[i - 1] or widths[i] % widths[i - 1])):
                raise ValueError("a level is no multiple of the one before")
            self.levels[i].width = widths[i]
            self.levels[i].count = self.levels[i].capacity = self.levels[i].parents = 0
            self.levels[i].start = self.levels[i].first = self.levels[i].records = self.levels[i].parent = NULL
        self.depth = <int> widths.shape[0]
        self.words = words
        self.trimmed = <int64_t*> malloc(max(1, 2 * words) * 8)
        if self.trimmed == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef int i
        for i in range(MOST_LEVELS):
            free(self.levels[i].start)
            free(self.levels[i].first)
            free(self.levels[i].records)
            free(self.levels[i].parent)
        free(self.trimmed)

    cdef int reserve(self, Level* level, int64_t parts) except -1 nogil:
        """Room for the parents of so many parts, and at least one tile more."""
        cdef void* grown
        cdef int64_t capacity
        if parts > level.parents:
            grown = realloc(level.parent, parts * 8)
            if grown == NULL:
                raise MemoryError
            level.parent, level.parents = <int64_t*> grown, parts
        if level.count + 2 > level.capacity:
            capacity = max(64, 2 * level.capacity)
            grown = realloc(level.start, capacity * 8)
            if grown == NULL:
                raise MemoryError
            level.start = <int64_t*> grown
            grown = realloc(level.first, capacity * 8)
            if grown == NULL:
                raise MemoryError
            level.first = <int64_t*> grown
            grown = realloc(level.records, capacity * self.words * 8)
            if grown == NULL:
                raise MemoryError
            level.records, level.capacity = <int64_t*> grown, capacity
        return 0

    cdef int build(self, Layout layout, const int64_t* time, int64_t begin, int64_t end) except -1 nogil:
        """The tiles of the events [begin, end) of a key."""
        cdef int i
        cdef Level* level
        cdef const int64_t* below = time + begin
        cdef int64_t parts = end - begin, part, stop, last
        cdef int64_t* record
        for i in range(self.depth):
            level = &self.levels[i]
            level.count = 0
            self.reserve(level, parts)
            part = 0
            while part < parts:
                if level.count + 2 > level.capacity:
                    self.reserve(level, parts)
                last = tile_last(below[part], level.width)
                level.start[level.count] = tile_start(below[part], level.width)
                level.first[level.count] = part
                level.parent[part] = level.count
                stop = part + 1
                while stop < parts and below[stop] <= last:
                    level.parent[stop] = level.count
                    stop += 1
                record = level.records + level.count * self.words
                if i == 0 and stop == part + 1:
                    layout.take(begin + part, record)
                elif i == 0:
                    layout.clear(record)
                    layout.add(begin + part, begin + stop, record)
                elif stop == part + 1:
                    memcpy(record, self.levels[i - 1].records + part * self.words, self.words * 8)
                else:
                    layout.clear(record)
                    layout.merge(self.levels[i - 1].records, part, stop, record)
                level.count += 1
                part = stop
            level.first[level.count] = parts
            below, parts = level.start, level.count
        return 0

    cdef const int64_t* trim(self, Layout layout, int64_t base, int64_t end, int64_t level) noexcept nogil:
        """The record that the tile of a level which holds the event before the end would have without those from the end on."""
        cdef int64_t i, child, tile = self.levels[0].parent[end - 1 - base]
        cdef int64_t* record = self.trimmed
        cdef int64_t* merged = self.trimmed + self.words
        layout.clear(record)
        layout.add(base + self.levels[0].first[tile], end, record)
        for i in range(1, level + 1):
            child, tile = tile, self.levels[i].parent[tile]
            layout.clear(merged)
            layout.merge(self.levels[i - 1].records, self.levels[i].first[tile], child, merged)
            layout.merge(record, 0, 1, merged)
            record, merged = merged, record
        return record

    cdef int cut(self, int64_t base, int64_t begin, int64_t end, int64_t low, int64_t high, Part* parts) noexcept nogil:
        """The parts of an interval of which the events [begin, end) count, from left to right; the tiles were built from event base on."""
        cdef int i, count = 0, edges = 0
        cdef int64_t left, right
        cdef bint is_short = False, goes_on
        cdef Part after[MOST_LEVELS]
        cdef Level* level
        begin -= base
        end -= base
        for i in range(self.depth):
            if begin >= end:
                break
            level = &self.levels[i]
            left, right = level.parent[begin], level.parent[end - 1]
            goes_on = is_short or level.first[right + 1] > end
            if level.start[left] < low:
                left += 1
            if tile_last(level.start[right], level.width) <= high:
                right += 1
            if left >= right:
                break
            if begin < level.first[left]:
                parts[count] = Part(i - 1, begin, level.first[left], False)
                count += 1
            if level.first[right] < end:
                after[edges] = Part(i - 1, level.first[right], end, is_short)
                edges += 1
                is_short = False
            else:
                is_short = goes_on
            begin, end = left, right
        else:
            i = self.depth
        if begin < end:
            parts[count] = Part(i - 1, begin, end, is_short)
            count += 1
        while edges > 0:
            edges -= 1
            parts[count] = after[edges]
            count += 1
        return count


def build_tiles(
    const int64_t[::1] event_offsets,   # IN   [keys + 1]
    const int64_t[::1] time,            # IN   [events] ascending within a key
    measures,                           # IN   (kind, mask, values, counted) of each column
    const int64_t[::1] widths,          # IN   [levels]
):
    """The tiles of all keys that hold an event, level after level: offsets [levels, keys + 1], starts [tiles], records [tiles, words]."""
    cdef Py_ssize_t keys = event_offsets.shape[0] - 1, key
    cdef Layout layout = Layout(measures, time.shape[0])
    cdef Tiles tiles = Tiles(widths, layout.words)
    cdef int i
    cdef Words starts, records, all_starts = Words(), all_records = Words()
    cdef list found_starts = [Words() for i in range(tiles.depth)], found_records = [Words() for i in range(tiles.depth)]
    if keys < 0 or event_offsets[keys] > time.shape[0]:
        raise ValueError("offsets do not fit the events")
    counts = np.zeros((tiles.depth, keys + 1), np.int64)
    cdef int64_t[:, ::1] count = counts
    for key in range(keys):
        if event_offsets[key] >= event_offsets[key + 1]:
            continue
        with nogil:
            tiles.build(layout, &time[0], event_offsets[key], event_offsets[key + 1])
        for i in range(tiles.depth):
            count[i, key + 1] = tiles.levels[i].count
            starts, records = found_starts[i], found_records[i]
            starts.append(tiles.levels[i].start, tiles.levels[i].count)
            records.append(tiles.levels[i].records, tiles.levels[i].count * layout.words)
    for i in range(tiles.depth):
        starts, records = found_starts[i], found_records[i]
        count[i, 0] = all_starts.count
        all_starts.append(starts.words, starts.count)
        all_records.append(records.words, records.count)
        found_starts[i] = found_records[i] = None
    return np.cumsum(counts, axis=1), all_starts.copy(), all_records.copy().reshape(all_starts.count, layout.words)


def add_to_record(
    measures,                           # IN   (kind, mask, values, counted) of each column
    int64_t begin,
    int64_t end,
    int64_t[::1] record,                # INOUT [words]
):
    """Add the events [begin, end), which come after all that the record holds."""
    cdef Layout layout = Layout(measures, end)
    if not 0 <= begin <= end or record.shape[0] != layout.words:
        raise ValueError("the record does not fit the measures")
    layout.add(begin, end, &record[0])


def merge_records(
    measures,                           # IN   (kind, mask, values, counted) of each column
    const int64_t[:, ::1] records,      # IN   [tiles, words] neighbours in time, in order
    int64_t[::1] record,                # OUT  [words]
):
    """The record of a tile from those of its children; of none: nothing."""
    cdef Layout layout = Layout(measures, -1)
    if record.shape[0] != layout.words or records.shape[1] != layout.words:
        raise ValueError("the records do not fit the measures")
    layout.clear(&record[0])
    if records.shape[0]:
        layout.merge(&records[0, 0], 0, records.shape[0], &record[0])


def count_words(int64_t kind, int64_t mask):
    """Words of the state of one column."""
    return words_of(kind, mask)


KINDS = {"rows": ROWS, "ints": INTS, "uints": UINTS, "floats": FLOATS}
ASKED = {"sum": SUM, "spread": SPREAD, "shape": SHAPE, "least": LEAST, "greatest": GREATEST}

"""Growing: new events put into packed nodes of the trees of tiles of many keys."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

import numpy as np

from mlstore._core.nodes cimport HEAD, INNER, LEAF, Node, inner_size, leaf_size, named, open_node
from mlstore._core.states cimport ROWS
from mlstore._core.tiles cimport MOST_LEVELS, Layout, Tiles, tile_last, tile_start
from mlstore._core.words cimport Words


cdef struct Groups:
    int64_t count               # groups of events that lie in one stretch of a level, in a tree or below a node that has children
    int64_t capacity
    int64_t at                  # the next one that may be looked at
    int64_t* first              # [capacity] the first event
    int64_t* last               # [capacity] behind its last
    int64_t* start              # [capacity] the first tick
    int64_t* owner              # [capacity] the key
    const uint8_t** node        # [capacity] the packed node; NULL: there is none


cdef struct Room:
    int64_t capacity
    int64_t* start              # [capacity]
    int64_t* record             # [capacity, words]


cdef class Bytes:
    """Bytes whose number is not known beforehand."""
    cdef uint8_t* place
    cdef int64_t count
    cdef int64_t capacity

    def __dealloc__(self):
        free(self.place)

    cdef uint8_t* more(self, int64_t count) except NULL nogil:
        """Room for so many bytes more, which count from now on."""
        cdef void* grown
        cdef int64_t capacity
        if self.count + count > self.capacity:
            capacity = max(2 * self.capacity, self.count + count, 4096)
            grown = realloc(self.place, capacity)
            if grown == NULL:
                with gil:
                    raise MemoryError
            self.place, self.capacity = <uint8_t*> grown, capacity
        self.count += count
        return self.place + self.count - count


cdef class Growth:
    """Events on their way into trees: first the nodes that they meet are asked for, level after level; then all that change are made."""
    cdef Layout given           # the new events
    cdef Layout layout          # the events of one leaf: those that it had and new ones, in total order
    cdef Tiles tiles
    cdef list heads
    cdef list kept              # what is pointed into
    cdef int root, level        # level: whose nodes are asked for; -1: none any more
    cdef int64_t leaf, words, valued, owner
    cdef int64_t widths[MOST_LEVELS + 1]
    cdef Groups groups[MOST_LEVELS + 1]
    cdef Room rooms[MOST_LEVELS + 1]
    cdef const int64_t* time
    cdef const int64_t* created
    cdef int64_t capacity
    cdef int64_t* leaf_time
    cdef int64_t* leaf_created
    cdef int64_t* leaf_values   # [columns, capacity]
    cdef uint8_t* leaf_counted  # [columns, capacity]
    cdef Bytes packed
    cdef Words told             # of each node: key, level, first tick, bytes

    def __cinit__(
        self,
        measures,                       # IN   (kind, mask, values, counted) of each column
        const int64_t[::1] offsets,     # IN   [keys + 1]
        const int64_t[::1] time,        # IN   [events] ascending within a key
        const int64_t[::1] created,     # IN   [events]
        const int64_t[::1] widths,      # IN   [levels + 1] finest first, the root's behind them
        int64_t leaf,
        list heads,                     # IN   [keys] what the names of a key's nodes begin with
    ):
        cdef Py_ssize_t m, key, keys = offsets.shape[0] - 1
        cdef int level
        if not 1 < widths.shape[0] <= MOST_LEVELS + 1 or leaf < 1:
            raise ValueError("a tree has a root, levels below it, and leaves that hold an event")
        if created.shape[0] != time.shape[0] or not time.shape[0] or len(heads) != keys:
            raise ValueError("arrays differ in length")
        if keys < 1 or offsets[0] != 0 or offsets[keys] != time.shape[0]:
            raise ValueError("offsets do not fit the events")
        self.given = Layout(measures, time.shape[0])
        self.layout = Layout([(kind, mask, _NO_WORDS, _NO_FLAGS) for kind, mask, _, _ in measures], -1)
        self.words, self.leaf, self.root = self.layout.words, leaf, <int> widths.shape[0] - 1
        for m in range(self.given.count):
            self.valued += self.given.measures[m].kind != ROWS
            if self.given.measures[m].counted == NULL:
                raise ValueError("a column that does not tell what counts")
        self.tiles = Tiles(widths[: self.root], self.words)
        self.packed, self.told = Bytes(), Words()
        self.time, self.created, self.heads, self.level = &time[0], &created[0], heads, self.root
        self.kept = [time, created]
        for level in range(self.root + 1):
            self.widths[level] = widths[level]
        for key in range(keys):
            if offsets[key] >= offsets[key + 1]:
                raise ValueError("a key without events")
            self.group(self.root, key, offsets[key], offsets[key + 1])

    def __dealloc__(self):
        cdef int level
        for level in range(MOST_LEVELS + 1):
            free(self.rooms[level].start)
            free(self.rooms[level].record)
            free(self.groups[level].first)
            free(self.groups[level].last)
            free(self.groups[level].start)
            free(self.groups[level].owner)
            free(self.groups[level].node)
        free(self.leaf_time)
        free(self.leaf_created)
        free(self.leaf_values)
        free(self.leaf_counted)

    def wanted(self):
        """The names of the nodes that are needed next; none: nothing is missing."""
        cdef int64_t group
        cdef Groups* groups
        if self.level < 0:
            return []
        groups = &self.groups[self.level]
        return [named(self.heads[groups.owner[group]], self.level, groups.start[group]) for group in range(groups.count)]

    def take(self, values):
        """The nodes of these names; None: there is none."""
        cdef int64_t group
        cdef Groups* groups
        if self.level < 0 or len(values) != self.groups[self.level].count:
            raise ValueError("nodes that nobody asked for")
        groups = &self.groups[self.level]
        self.kept.append(values)
        for group in range(groups.count):
            groups.node[group] = self.checked(values[group], self.level)
            if groups.node[group] != NULL and groups.node[group][0] == INNER:
                self.group(self.level - 1, groups.owner[group], groups.first[group], groups.last[group])
        self.level -= 1
        if self.level >= 0 and not self.groups[self.level].count:
            self.level = -1

    def nodes(self):
        """The nodes that change, by name, children before parents: once nothing is missing, or as if there were no trees yet."""
        cdef int level
        if 0 <= self.level < self.root:
            raise ValueError("nodes are missing")
        self.told.count = self.packed.count = 0
        for level in range(self.root + 1):
            self.groups[level].at = 0
        with nogil:
            self.grow_all()
        return self.tell()

    cdef int group(self, int level, int64_t owner, int64_t first, int64_t last) except -1:
        """Cut the events [first, last) of a key into groups of a level."""
        cdef Groups* groups = &self.groups[level]
        cdef int64_t last_tick
        while first < last:
            if groups.count == groups.capacity:
                groups.capacity = max(64, 2 * groups.capacity)
                groups.first = <int64_t*> grown(groups.first, 8 * groups.capacity)
                groups.last = <int64_t*> grown(groups.last, 8 * groups.capacity)
                groups.start = <int64_t*> grown(groups.start, 8 * groups.capacity)
                groups.owner = <int64_t*> grown(groups.owner, 8 * groups.capacity)
                groups.node = <const uint8_t**> grown(groups.node, sizeof(uint8_t*) * groups.capacity)
            groups.first[groups.count], groups.owner[groups.count], groups.node[groups.count] = first, owner, NULL
            groups.start[groups.count] = tile_start(self.time[first], self.widths[level])
            last_tick = tile_last(self.time[first], self.widths[level])
            first += 1
            while first < last and self.time[first] <= last_tick:
                first += 1
            groups.last[groups.count] = first
            groups.count += 1
        return 0

    cdef const uint8_t* checked(self, bytes packed, int level) except? NULL:
        """The node as it lies there, if its head fits its place and its size."""
        cdef Node node
        cdef const uint8_t* data
        if packed is None:
            return NULL
        data = <const uint8_t*> PyBytes_AS_STRING(packed)
        if not open_node(&node, data, PyBytes_GET_SIZE(packed), self.words, self.valued, self.layout.count):
            raise ValueError("a node of no known form")
        if data[1] != level or (not node.is_leaf and not level):
            raise ValueError("a node of another level")
        return data

    cdef int grow_all(self) except -1 nogil:
        cdef int64_t group
        for group in range(self.groups[self.root].count):
            self.owner = self.groups[self.root].owner[group]
            self.grow(self.root, group, NULL)
        return 0

    cdef int grow(self, int level, int64_t group, int64_t* record) except -1 nogil:
        """Add events to a node or make it; record: OUT of the tile that it then stands for, of a root none."""
        cdef Groups* below
        cdef const uint8_t* node = self.groups[level].node[group]
        cdef int64_t first = self.groups[level].first[group], last = self.groups[level].last[group]
        cdef int64_t start = self.groups[level].start[group], old = 0, count = 0
        cdef uint32_t children
        cdef const int64_t* starts
        cdef const int64_t* records
        if node == NULL or node[0] == LEAF:
            return self.plant(level, start, 0, self.gather(node, first, last), record)
        memcpy(&children, node + 4, 4)
        starts = <const int64_t*> (node + HEAD)
        records = starts + children
        below = &self.groups[level - 1]
        while below.first[below.at] < first:
            below.at += 1
        while below.at < below.count and below.first[below.at] < last:
            while old < children and starts[old] < below.start[below.at]:
                self.keep(level, count, starts[old], records + old * self.words)
                old += 1
                count += 1
            old += old < children and starts[old] == below.start[below.at]
            self.reserve(level, count)
            self.rooms[level].start[count] = below.start[below.at]
            self.grow(level - 1, below.at, self.rooms[level].record + count * self.words)
            below.at += 1
            count += 1
        while old < children:
            self.keep(level, count, starts[old], records + old * self.words)
            old += 1
            count += 1
        return self.put_inner(level, start, count, record)

    cdef int plant(self, int level, int64_t start, int64_t begin, int64_t end, int64_t* record) except -1 nogil:
        """Make a node of the gathered events [begin, end), all of its stretch."""
        cdef int64_t count = 0, stop, last
        if end - begin <= self.leaf or not level:
            self.put_leaf(level, start, begin, end)
            if level < self.root:
                self.tiles.depth = level + 1
                self.tiles.build(self.layout, self.leaf_time, begin, end)
                self.tiles.depth = self.root
                memcpy(record, self.tiles.levels[level].records, self.words * 8)
            return 0
        while begin < end:
            last = tile_last(self.leaf_time[begin], self.widths[level - 1])
            stop = begin + 1
            while stop < end and self.leaf_time[stop] <= last:
                stop += 1
            self.reserve(level, count)
            self.rooms[level].start[count] = tile_start(self.leaf_time[begin], self.widths[level - 1])
            self.plant(level - 1, self.rooms[level].start[count], begin, stop, self.rooms[level].record + count * self.words)
            count += 1
            begin = stop
        return self.put_inner(level, start, count, record)

    cdef int64_t gather(self, const uint8_t* node, int64_t first, int64_t last) except -1 nogil:
        """The events of a leaf and the new ones [first, last), which were written after them, in total order; how many."""
        cdef int64_t old = 0, new = first, count, place, run, m, into = HEAD, flags
        cdef uint32_t held = 0
        cdef const int64_t* time = NULL
        cdef const int64_t* created = NULL
        if node != NULL:
            memcpy(&held, node + 4, 4)
            time = <const int64_t*> (node + HEAD)
            created = time + held
        count = held + last - first
        self.fit_leaf(count)
        place = 0
        while place < count:
            # As many as lie side by side are copied at once; of ties, those that were there come first.
            run = place
            if new == last or (old < held and not comes_before(self.time[new], self.created[new], time[old], created[old])):
                while old < held and (new == last or not comes_before(self.time[new], self.created[new], time[old], created[old])):
                    old += 1
                    place += 1
                self.copy_kept(node, held, old - (place - run), run, place - run)
            else:
                while new < last and (old == held or comes_before(self.time[new], self.created[new], time[old], created[old])):
                    new += 1
                    place += 1
                self.copy_given(new - (place - run), run, place - run)
        return count

    cdef void copy_kept(self, const uint8_t* node, int64_t held, int64_t row, int64_t place, int64_t count) noexcept nogil:
        """Events of a leaf [row, row + count)."""
        cdef Py_ssize_t m
        cdef const int64_t* column = <const int64_t*> (node + HEAD)
        cdef const uint8_t* flags = node + HEAD + held * (16 + 8 * self.valued)
        memcpy(self.leaf_time + place, column + row, count * 8)
        memcpy(self.leaf_created + place, column + held + row, count * 8)
        column += 2 * held
        for m in range(self.layout.count):
            if self.layout.measures[m].kind != ROWS:
                memcpy(self.leaf_values + m * self.capacity + place, column + row, count * 8)
                column += held
            memcpy(self.leaf_counted + m * self.capacity + place, flags + m * held + row, count)

    cdef void copy_given(self, int64_t row, int64_t place, int64_t count) noexcept nogil:
        """New events [row, row + count)."""
        cdef Py_ssize_t m
        memcpy(self.leaf_time + place, self.time + row, count * 8)
        memcpy(self.leaf_created + place, self.created + row, count * 8)
        for m in range(self.layout.count):
            if self.layout.measures[m].kind != ROWS:
                memcpy(self.leaf_values + m * self.capacity + place, self.given.measures[m].values + row, count * 8)
            memcpy(self.leaf_counted + m * self.capacity + place, self.given.measures[m].counted + row, count)

    cdef int fit_leaf(self, int64_t count) except -1 nogil:
        """Room for so many events of a leaf; what it held is lost."""
        cdef Py_ssize_t m
        if count <= self.capacity:
            return 0
        free(self.leaf_time)
        free(self.leaf_created)
        free(self.leaf_values)
        free(self.leaf_counted)
        self.capacity = max(64, 2 * count)
        self.leaf_time = <int64_t*> malloc(self.capacity * 8)
        self.leaf_created = <int64_t*> malloc(self.capacity * 8)
        self.leaf_values = <int64_t*> malloc(max(1, self.layout.count * self.capacity * 8))
        self.leaf_counted = <uint8_t*> malloc(max(1, self.layout.count * self.capacity))
        if self.leaf_time == NULL or self.leaf_created == NULL or self.leaf_values == NULL or self.leaf_counted == NULL:
            raise MemoryError
        for m in range(self.layout.count):
            self.layout.measures[m].values = self.leaf_values + m * self.capacity
            self.layout.measures[m].counted = self.leaf_counted + m * self.capacity
        return 0

    cdef int reserve(self, int level, int64_t place) except -1 nogil:
        """Room for a child at a place."""
        cdef void* grown
        cdef int64_t capacity
        cdef Room* room = &self.rooms[level]
        if place < room.capacity:
            return 0
        capacity = max(64, 2 * room.capacity)
        grown = realloc(room.start, capacity * 8)
        if grown == NULL:
            raise MemoryError
        room.start = <int64_t*> grown
        grown = realloc(room.record, capacity * self.words * 8)
        if grown == NULL:
            raise MemoryError
        room.record, room.capacity = <int64_t*> grown, capacity
        return 0

    cdef int keep(self, int level, int64_t place, int64_t start, const int64_t* record) except -1 nogil:
        """A child that stays as it is."""
        self.reserve(level, place)
        self.rooms[level].start[place] = start
        memcpy(self.rooms[level].record + place * self.words, record, self.words * 8)
        return 0

    cdef uint8_t* put_head(self, uint8_t kind, int level, int64_t start, int64_t size, uint16_t columns, uint32_t count) except NULL nogil:
        cdef int64_t told[4]
        cdef uint8_t* node
        told[0], told[1], told[2], told[3] = self.owner, level, start, size
        self.told.append(told, 4)
        node = self.packed.more(size)
        node[0], node[1] = kind, <uint8_t> level
        memcpy(node + 2, &columns, 2)
        memcpy(node + 4, &count, 4)
        return node + HEAD

    cdef int put_inner(self, int level, int64_t start, int64_t count, int64_t* record) except -1 nogil:
        cdef uint8_t* place = self.put_head(INNER, level, start, inner_size(count, self.words), 0, <uint32_t> count)
        memcpy(place, self.rooms[level].start, 8 * count)
        memcpy(place + 8 * count, self.rooms[level].record, 8 * count * self.words)
        if level < self.root:
            self.layout.clear(record)
            self.layout.merge(self.rooms[level].record, 0, count, record)
        return 0

    cdef int put_leaf(self, int level, int64_t start, int64_t begin, int64_t end) except -1 nogil:
        cdef int64_t count = end - begin
        cdef Py_ssize_t m, columns = self.layout.count
        cdef uint8_t* place = self.put_head(LEAF, level, start, leaf_size(count, self.valued, columns), <uint16_t> columns, <uint32_t> count)
        memcpy(place, self.leaf_time + begin, 8 * count)
        memcpy(place + 8 * count, self.leaf_created + begin, 8 * count)
        place += 16 * count
        for m in range(columns):
            if self.layout.measures[m].kind != ROWS:
                memcpy(place, self.leaf_values + m * self.capacity + begin, 8 * count)
                place += 8 * count
        for m in range(columns):
            memcpy(place, self.leaf_counted + m * self.capacity + begin, count)
            place += count
        return 0

    cdef list tell(self):
        cdef int64_t node, place = 0
        cdef const int64_t* told
        cdef list nodes = []
        for node in range(self.told.count // 4):
            told = self.told.words + 4 * node
            packed = PyBytes_FromStringAndSize(<const char*> self.packed.place + place, told[3])
            nodes.append((named(self.heads[told[0]], told[1], told[2]), packed))
            place += told[3]
        return nodes


cdef void* grown(void* place, size_t size) except NULL:
    place = realloc(place, size)
    if place == NULL:
        raise MemoryError
    return place


cdef inline bint comes_before(int64_t time, int64_t created, int64_t other_time, int64_t other_created) noexcept nogil:
    return time < other_time or (time == other_time and created < other_created)


_NO_WORDS = np.empty(0, np.int64)
_NO_FLAGS = np.empty(0, np.uint8)

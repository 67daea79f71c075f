"""Walks: what windows hold of the events of keys at one moment, put together from few nodes of their trees of tiles.

From the roots down, a walk asks for the nodes that a window begins or ends within, level by level; the caller fetches them. The records of
what lies between are in the nodes above. The parts of a window come from left to right, each the widest tile that lies in it: the one
canonical order. docs/format.md tells the bytes of nodes; what is none is refused.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

import numpy as np

from mlstore._core.benches cimport Bench, Piece
from mlstore._core.finishes cimport Finisher
from mlstore._core.nodes cimport HEAD, Node, first_ending_from, named, open_node, words_behind
from mlstore._core.searches cimport first_after, first_from
from mlstore._core.spans cimport Spans
from mlstore._core.states cimport ROWS, Measure, add_events, merge_tiles, set_nothing, settle, words_of
from mlstore._core.tiles cimport MOST_LEVELS, MOST_PARTS, Layout, Part, Tiles, tile_last, tile_start

from mlstore._core.row_layout import CURE
from mlstore.errors import CorruptionError

cdef enum:
    FEW_ROOTS = 16              # up to this many are looked up one by one

_NO_WORDS = np.empty(0, np.int64)
_NO_FLAGS = np.empty(0, np.uint8)


cdef class Trees:
    """What trees of a view keep, and the windows that are asked of them."""

    def __cinit__(self, asked, const int64_t[::1] widths, Spans spans not None, const uint8_t[:, ::1] wanted, str place not None):
        cdef Py_ssize_t i
        self.asked = list(asked)
        self.layout = Layout([(kind, mask, _NO_WORDS, _NO_FLAGS) for kind, mask in asked], -1)
        self.spans, self.root, self.spare, self.place = spans, widths.shape[0] - 1, [], place
        if not 0 < self.root <= MOST_LEVELS:
            raise ValueError(f"a root above 1 to {MOST_LEVELS} levels")
        self.tile_widths = np.array(widths[: self.root])
        Tiles(self.tile_widths, self.layout.words)
        if widths[self.root] % widths[self.root - 1] or widths[self.root] <= widths[self.root - 1]:
            raise ValueError("a level is no multiple of the one before")
        for i in range(self.root + 1):
            self.widths[i] = widths[i]
        self.valued = sum(kind != ROWS for kind, _ in asked)
        if wanted.shape[0] != spans.count or wanted.shape[1] != self.layout.count:
            raise ValueError("wanted does not fit the windows and columns")
        self.wanted = <uint8_t*> malloc(max(1, wanted.size))
        if self.wanted == NULL:
            raise MemoryError
        if wanted.size:
            memcpy(self.wanted, &wanted[0, 0], wanted.size)

    def __dealloc__(self):
        free(self.wanted)

    def walk(self, list heads not None, moment):
        """A walk for keys, each the bytes that its nodes' names begin with; None: a key without events."""
        cdef int overflow
        cdef int64_t tick = PyLong_AsLongLongAndOverflow(moment, &overflow)
        cdef Walk walk = Walk.__new__(Walk)
        cdef Py_ssize_t w, windows = self.spans.count
        walk.trees, walk.heads, walk.packed = self, heads, []
        walk.low = <int64_t*> malloc(max(1, 4 * windows) * 8)
        if walk.low == NULL:
            raise MemoryError
        walk.high, walk.edges = walk.low + windows, walk.low + 2 * windows
        self.spans.fill(tick if not overflow else INT64_MAX if overflow > 0 else INT64_MIN + 1, walk.low, walk.high)
        walk.first, walk.last = INT64_MAX, INT64_MIN
        for w in range(windows):
            if walk.low[w] <= walk.high[w]:
                walk.first = min(walk.first, walk.low[w])
                walk.last = max(walk.last, walk.high[w])
        return walk

    cdef Bench bench(self):
        return self.spare.pop() if self.spare else Bench(self.asked, self.tile_widths, self.spans.count)


cdef class Walk:
    """A walk under way; see the .pyi."""

    def __dealloc__(self):
        free(self.nodes)
        free(self.low)

    def ranges(self):
        """Where the roots lie, if they are to be read one after the other: [first name, behind the last) of each key."""
        cdef int64_t width = self.trees.widths[self.trees.root], first, key
        cdef list found = []
        if self.is_begun or self.first > self.last:
            return found
        first = tile_start(self.first, width)
        if first != INT64_MIN and (<uint64_t> self.last - <uint64_t> first) // <uint64_t> width < FEW_ROOTS:
            return found
        for key in range(len(self.heads)):
            if self.heads[key] is not None:
                found.append((named(self.heads[key], self.trees.root, first), named(self.heads[key], self.trees.root, self.last) + b"\0"))
        return found

    def take_ranges(self, list found not None):
        """The nodes of each range, in order."""
        cdef int64_t width = self.trees.widths[self.trees.root], key, place, tick
        cdef bytes packed
        ranges = iter(found)
        self.is_begun = True
        for key in range(len(self.heads)):
            if self.heads[key] is None:
                continue
            for packed in next(ranges):
                if PyBytes_GET_SIZE(packed) < HEAD + 8:
                    raise self.fault("a node of no known form")
                memcpy(&tick, PyBytes_AS_STRING(packed) + HEAD, 8)
                place = self.add(key, self.trees.root, tile_start(tick, width), tile_last(tick, width))
                self.open(place, packed)
        self.roots = self.count

    def wanted(self):
        """The names of the nodes that are needed next; none: the walk is over."""
        cdef int64_t first = self.fresh, last = self.count, key, tick, width, place
        cdef list keys = []
        self.fresh = self.count
        if self.is_begun:
            for place in range(first, last):
                if self.nodes[place].data != NULL and not self.nodes[place].is_leaf:
                    self.want_children(place, keys)
            return keys
        self.is_begun = True
        width = self.trees.widths[self.trees.root]
        if self.first <= self.last:
            for key in range(len(self.heads)):
                if self.heads[key] is None:
                    continue
                tick = self.first
                while True:
                    place = self.add(key, self.trees.root, tile_start(tick, width), tile_last(tick, width))
                    keys.append(self.name(place))
                    if self.nodes[place].last >= self.last:
                        break
                    tick = self.nodes[place].last + 1
        self.roots = self.count
        return keys

    def take(self, list values not None):
        """The nodes of these names; a root that is None holds no events."""
        cdef int64_t place = self.fresh
        if len(values) != self.count - self.fresh:
            raise ValueError("not as many nodes as were wanted")
        for value in values:
            if value is not None:
                self.open(place, value)
            elif self.nodes[place].level < self.trees.root:
                raise self.fault("a node that the one above it tells of is not there")
            place += 1

    def states(self):
        """The states [keys, windows, words] of what the windows hold; words that no window wants are anything."""
        cdef int64_t keys = len(self.heads), key, begin = 0, end
        cdef int64_t each = self.trees.spans.count * self.trees.layout.words
        states = np.empty((keys, self.trees.spans.count, self.trees.layout.words), np.int64)
        cdef int64_t[:, :, ::1] view = states
        cdef Bench bench
        if not keys or not each:
            return states
        bench = self.trees.bench()
        with nogil:
            for key in range(keys):
                end = begin
                while end < self.roots and self.nodes[end].key == key:
                    end += 1
                self.fold(bench, begin, end, &view[key, 0, 0])
                begin = end
        self.trees.spare.append(bench)
        return states

    def finish(self, Finisher finisher not None, dict answer not None):
        """Put the outputs of the only key that are not null into the answer."""
        cdef Bench bench
        if len(self.heads) != 1 or not finisher.fits(self.trees.spans.count, self.trees.layout.words):
            raise ValueError("outputs of one key, of the windows and words asked for")
        bench = self.trees.bench()
        # Too short to let others have the lock of the interpreter meanwhile.
        self.fold(bench, 0, self.roots, bench.states)
        finisher.fill(bench.states, self.trees.layout.words, answer)
        self.trees.spare.append(bench)

    cdef int64_t add(self, int64_t key, int64_t level, int64_t first, int64_t last) except -1:
        """A node that is to be read."""
        cdef void* grown
        cdef int64_t capacity
        cdef Node* node
        if self.count == self.capacity:
            capacity = max(24, 2 * self.capacity)
            grown = realloc(self.nodes, capacity * sizeof(Node))
            if grown == NULL:
                raise MemoryError
            self.nodes, self.capacity = <Node*> grown, capacity
        node = &self.nodes[self.count]
        node.data, node.key, node.level, node.first, node.last = NULL, key, level, first, last
        node.count = node.child = node.children = node.begin = node.end = node.place = 0
        node.is_leaf = False
        self.count += 1
        return self.count - 1

    cdef int open(self, int64_t place, bytes packed) except -1:
        """Understand the bytes of a node."""
        cdef Node* node = &self.nodes[place]
        cdef const uint8_t* data = <const uint8_t*> PyBytes_AS_STRING(packed)
        cdef Layout layout = self.trees.layout
        cdef const int64_t* ticks
        if not open_node(node, data, PyBytes_GET_SIZE(packed), layout.words, self.trees.valued, layout.count):
            raise self.fault("a node of no known form")
        if data[1] != node.level or not (node.is_leaf or node.level):
            raise self.fault("a node of no known level")
        ticks = words_behind(node, 0)
        if ticks[0] < node.first or ticks[node.count - 1] > node.last:
            raise self.fault("a node that stands for another stretch")
        # Events of the finest level are only searched; what is cut and built from must be in order, for places to stay within it.
        if node.level and not is_ascending(ticks, node.count):
            raise self.fault("a node out of order")
        self.packed.append(packed)
        return 0

    cdef object fault(self, str why):
        return CorruptionError(f"a tile of {self.trees.place} makes no sense: {why}", hint=CURE)

    cdef bytes name(self, int64_t place):
        return named(self.heads[self.nodes[place].key], self.nodes[place].level, self.nodes[place].first)

    cdef int want_children(self, int64_t place, list keys) except -1:
        """Ask for the children that a window begins or ends within."""
        cdef Node* node = &self.nodes[place]
        cdef const int64_t* starts = words_behind(node, 0)
        cdef int64_t width = self.trees.widths[node.level - 1], edges = 0, child, i, first, last, key = node.key, level = node.level - 1
        cdef Py_ssize_t w
        for w in range(self.trees.spans.count):
            first, last = self.low[w], self.high[w]
            if first > last:
                continue
            if node.first < first <= node.last:
                child = first_ending_from(starts, node.count, width, first)
                if child < node.count and starts[child] < first:
                    edges = insert_edge(self.edges, edges, child)
            if node.first <= last < node.last and (not w or last != self.high[w - 1]):
                child = first_ending_from(starts, node.count, width, last)
                if child < node.count and starts[child] <= last < tile_last(starts[child], width):
                    edges = insert_edge(self.edges, edges, child)
        node.child, node.children = self.count, edges
        for i in range(edges):
            first = starts[self.edges[i]]
            # Whoever adds a node may move them all.
            keys.append(self.name(self.add(key, level, first, tile_last(first, width))))
        return 0

    cdef int64_t choose(self, int64_t place, int64_t* level) noexcept nogil:
        """Of the leaves that tiles must be built of, the events that any window holds: how many, and the highest level of a leaf."""
        cdef Node* node = &self.nodes[place]
        cdef const int64_t* time
        cdef int64_t found = 0, i, first = INT64_MAX, last = INT64_MIN
        cdef Py_ssize_t w
        for i in range(node.child, node.child + node.children):
            found += self.choose(i, level)
        if not node.is_leaf or not node.level:
            return found
        for w in range(self.trees.spans.count):
            if self.low[w] <= node.last and self.high[w] >= node.first:
                first, last = min(first, self.low[w]), max(last, self.high[w])
        time = words_behind(node, 0)
        node.begin = first_from(time, 0, node.count, first)
        node.end = first_after(time, node.begin, node.count, last)
        level[0] = max(level[0], node.level)
        return node.end - node.begin

    cdef void gather(self, Bench bench, int64_t place) noexcept nogil:
        """Put those events side by side, in order."""
        cdef Node* node = &self.nodes[place]
        cdef int64_t i, count, at = 2 * node.count
        cdef Py_ssize_t m
        cdef Measure* measure
        for i in range(node.child, node.child + node.children):
            self.gather(bench, i)
        count, node.place = node.end - node.begin, bench.events
        if not count:
            return
        memcpy(bench.time + node.place, words_behind(node, node.begin), 8 * count)
        for m in range(bench.layout.count):
            measure = &bench.layout.measures[m]
            if measure.kind != ROWS:
                memcpy(<int64_t*> measure.values + node.place, words_behind(node, at + node.begin), 8 * count)
                at += node.count
        for m in range(bench.layout.count):
            measure = &bench.layout.measures[m]
            memcpy(<uint8_t*> measure.counted + node.place, <const uint8_t*> words_behind(node, at) + m * node.count + node.begin, count)
        bench.events += count

    cdef int cut(self, Bench bench, int64_t place, int64_t low, int64_t high) except -1 nogil:
        """The pieces of an interval that lie in the stretch of a node, from left to right."""
        cdef const Node* node = &self.nodes[place]
        cdef const int64_t* starts
        cdef int64_t width, begin, end
        cdef bint is_cut_left, is_cut_right
        if node.data == NULL or low > node.last or high < node.first:
            return 0
        if node.is_leaf:
            return self.cut_leaf(bench, node, low, high)
        starts, width = words_behind(node, 0), self.trees.widths[node.level - 1]
        begin = first_ending_from(starts, node.count, width, low)
        end = first_after(starts, begin, node.count, high)
        if begin >= end:
            return 0
        is_cut_left, is_cut_right = starts[begin] < low, tile_last(starts[end - 1], width) > high
        if is_cut_left:
            self.cut_child(bench, node, starts[begin], low, high)
            begin += 1
        if is_cut_right and begin < end:
            end -= 1
        else:
            is_cut_right = False
        if begin < end:
            bench.put(words_behind(node, node.count), NULL, begin, end)
        if is_cut_right:
            self.cut_child(bench, node, starts[end], low, high)
        return 0

    cdef int cut_child(self, Bench bench, const Node* node, int64_t first, int64_t low, int64_t high) except -1 nogil:
        cdef int64_t i
        for i in range(node.child, node.child + node.children):
            if self.nodes[i].first == first:
                return self.cut(bench, i, low, high)
        # Of children side by side, this one was asked for: these overlap.
        with gil:
            raise self.fault("children that overlap")

    cdef int cut_leaf(self, Bench bench, const Node* node, int64_t low, int64_t high) except -1 nogil:
        cdef const int64_t* time = words_behind(node, 0)
        cdef int64_t begin = first_from(time, 0, node.count, low), end
        cdef Part parts[MOST_PARTS]
        cdef int count, i
        end = first_after(time, begin, node.count, high)
        if begin >= end:
            return 0
        if not node.level:
            return bench.put(NULL, node, begin, end)
        # Of tiles as wide as the leaf or wider, which hold events of others too, none may lie in the interval.
        low, high = max(low, node.first), min(high, node.last)
        begin, end = begin - node.begin + node.place, end - node.begin + node.place
        count = bench.tiles.cut(0, begin, end, low, high, parts)
        for i in range(count):
            if parts[i].level < 0:
                bench.put(NULL, NULL, parts[i].begin, parts[i].end)
            else:
                bench.put(bench.tiles.levels[parts[i].level].records, NULL, parts[i].begin, parts[i].end)
        return 0

    cdef int fold(self, Bench bench, int64_t begin, int64_t end, int64_t* states) except -1 nogil:
        """The states [windows, words] of one key, whose roots are the nodes [begin, end)."""
        cdef int64_t events = 0, level = 0, i
        cdef Py_ssize_t w, m
        for i in range(begin, end):
            events += self.choose(i, &level)
        bench.reserve(events)
        if events:
            for i in range(begin, end):
                self.gather(bench, i)
            bench.tiles.depth = <int> level
            bench.tiles.build(bench.layout, bench.time, 0, events)
        for w in range(self.trees.spans.count):
            bench.piece_count = 0
            if self.low[w] <= self.high[w]:
                for i in range(begin, end):
                    self.cut(bench, i, self.low[w], self.high[w])
            for m in range(self.trees.layout.count):
                if self.trees.wanted[w * self.trees.layout.count + m]:
                    self.fold_column(bench, m, states + w * self.trees.layout.words + self.trees.layout.measures[m].place)
        return 0

    cdef void fold_column(self, Bench bench, Py_ssize_t column, int64_t* state) noexcept nogil:
        """The state of one column from the pieces of a window."""
        cdef Measure own = bench.layout.measures[column]
        cdef const Piece* piece
        cdef int64_t i, words = bench.layout.words, valued = self.trees.valued, before = 2
        cdef Py_ssize_t m
        for m in range(column):
            before += bench.layout.measures[m].kind != ROWS
        set_nothing(&own, state)
        for i in range(bench.piece_count):
            piece = &bench.pieces[i]
            if piece.records != NULL:
                merge_tiles(&own, piece.records, words, piece.begin, piece.end, state)
            elif piece.leaf == NULL:
                add_events(&bench.layout.measures[column], piece.begin, piece.end, state)
            else:
                own.values = words_behind(piece.leaf, before * piece.leaf.count)
                own.counted = <const uint8_t*> words_behind(piece.leaf, (2 + valued) * piece.leaf.count) + column * piece.leaf.count
                add_events(&own, piece.begin, piece.end, state)
        settle(&own, state)


cdef inline int64_t insert_edge(int64_t* edges, int64_t count, int64_t edge) noexcept nogil:
    """Into ascending numbers, none twice; how many there are then."""
    cdef int64_t place = count
    while place > 0 and edges[place - 1] > edge:
        place -= 1
    if place > 0 and edges[place - 1] == edge:
        return count
    cdef int64_t i = count
    while i > place:
        edges[i] = edges[i - 1]
        i -= 1
    edges[place] = edge
    return count + 1


cdef inline bint is_ascending(const int64_t* ticks, int64_t count) noexcept nogil:
    cdef int64_t i
    cdef bint falls = False
    for i in range(1, count):
        falls |= ticks[i] < ticks[i - 1]
    return not falls

"""Tiles in the file: for each key of a window view a tree of nodes along the widths of its tiles; what lies where, as bytes.

A node stands for a stretch of time as long as a tile of its level, or, at the root, as `ROOT_TILES` of the widest. With few events it is a
leaf, and holds what the view reads of them; else it has children, and holds the record of the tile that each stands for. So a tree is a
function of the events: however they came in, and in whatever order, its bytes are the same. A memory, never another truth: see `marks`.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mlstore._core.tiles import KINDS, build_tiles, merge_records
from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Int64
from mlstore.engine.windows.answering import plan_of, source_of
from mlstore.engine.windows.events import Events, Source
from mlstore.engine.windows.measures import Layout, is_kept, lay_out, read_measures
from mlstore.engine.windows.plan import FIRST_TICK, LAST_TICK, WindowPlan
from mlstore.errors import CorruptionError
from mlstore.format.keyvector import encode_int
from mlstore.storage.keyspace import declare

TILES = declare("tiles")  # table of the window view | line | entity key | level u8 | first tick -> node

ROOT_TILES = 64
CURE = "run verify(), restore a backup"
Flags = NDArray[np.uint8]
Measure = tuple[int, int, Int64, Flags]

_OWNER = struct.Struct(">II")
_HEAD = struct.Struct("<BBHI")  # leaf or not, level, columns kept, how many events or children
_LEAF, _INNER = 1, 2
_NONE: Int64 = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a node keeps of events, in total order: clocks, and of each column its words (none: rows are counted) and what counts."""

    time: Int64
    created: Int64
    values: tuple[Int64, ...]
    counted: tuple[Flags, ...]

    def __len__(self) -> int:
        return len(self.time)

    def slice(self, first: int, last: int) -> "Kept":
        """Events first to last."""
        return Kept(
            self.time[first:last],
            self.created[first:last],
            tuple(words[first:last] for words in self.values),
            tuple(flags[first:last] for flags in self.counted),
        )

    def followed_by(self, later: "Kept") -> "Kept":
        """These and others that were written after them, in total order."""
        joined = join_kept([self, later])
        if not len(self) or not len(later) or (self.time[-1], self.created[-1]) <= (later.time[0], later.created[0]):
            return joined
        order = np.lexsort((joined.created, joined.time))
        return Kept(
            joined.time[order],
            joined.created[order],
            tuple(words[order] if words.size else words for words in joined.values),
            tuple(flags[order] for flags in joined.counted),
        )


@dataclass(frozen=True, slots=True)
class Node:
    """A node: a leaf with its events, or the first tick and the record of each child that holds events."""

    level: int
    events: Kept | None
    starts: Int64
    records: Int64


@dataclass(frozen=True, slots=True)
class TilePlan:
    """What the tiles of a window view keep: `plan` of the outputs that can be put together from tiles, the records, and the widths.

    widths: of the levels, finest first, the root behind them. root: its level. words: of a record. has_values: of each column, whether its
    words are kept. asked: its kind and mask. form: what records and widths are, in few bytes; tiles of another form are none.
    """

    relation: Relation
    source: Source
    plan: WindowPlan
    layout: Layout
    widths: tuple[int, ...]
    root: int
    words: int
    has_values: tuple[bool, ...]
    asked: tuple[tuple[int, int], ...]
    form: bytes
    nothing: Kept

    def prefix(self, line: int) -> bytes:
        """Where its nodes on a line begin."""
        return _OWNER.pack(self.relation.table, line)

    def start_of(self, level: int, tick: int) -> int:
        """The first tick of the stretch that a tick lies in."""
        return max(FIRST_TICK, tick // self.widths[level] * self.widths[level])

    def measures(self, events: Kept) -> list[Measure]:
        """What the kernels take."""
        asked = self.layout.asked
        return [(one.kind, one.mask, words, flags) for one, words, flags in zip(asked, events.values, events.counted, strict=True)]

    def keep(self, events: Events, created: Int64) -> Kept:
        """What is kept of events."""
        measures, _ = read_measures(self.layout.asked, events.columns, events.count)
        counted = tuple(flags if flags.size else np.ones(events.count, np.uint8) for _, _, _, flags in measures)
        return Kept(events.time, created, tuple(words for _, _, words, _ in measures), counted)


def tile_plan(relation: Relation) -> TilePlan | None:
    """What the tiles of a window view keep; None: nothing of it can be put together from tiles."""
    return relation.remember("tiles", lambda: (_tile_plan(relation),))[0]


def _tile_plan(relation: Relation) -> TilePlan | None:
    assert relation.window is not None
    plan = plan_of(relation, range(len(relation.layout.features)))
    kept = tuple(output for output in plan.outputs if is_kept(plan, output))
    if not kept or not len(plan.widths):
        return None
    widths = tuple(plan.widths.tolist())
    root = widths[-1] * ROOT_TILES
    if root > LAST_TICK // 4:
        return None
    plan = replace(plan, outputs=kept)
    layout, widths = lay_out(plan, kept, filtered=False), (*widths, root)
    asked = layout.asked
    told = [(one.column, one.form, one.kind, one.mask, "" if one.where is None else repr(one.where.to_record())) for one in asked]
    return TilePlan(
        relation,
        source_of(relation),
        plan,
        layout,
        widths,
        root=len(widths) - 1,
        words=layout.words,
        asked=tuple((one.kind, one.mask) for one in asked),
        has_values=tuple(one.kind != KINDS["rows"] for one in asked),
        form=blake2b(repr((told, widths, limits.TILE_LEAF)).encode(), digest_size=16).digest(),
        nothing=Kept(_NONE, _NONE, tuple(_NONE for _ in asked), tuple(np.empty(0, np.uint8) for _ in asked)),
    )


def node_key(prefix: bytes, key: bytes, level: int, start: int) -> bytes:
    return prefix + key + bytes([level]) + encode_int(start)


def join_kept(parts: Sequence[Kept]) -> Kept:
    """Events one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Kept(
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.created for part in parts]),
        tuple(np.concatenate(words) for words in zip(*(part.values for part in parts), strict=True)),
        tuple(np.concatenate(flags) for flags in zip(*(part.counted for part in parts), strict=True)),
    )


def encode_node(node: Node) -> bytes:
    if node.events is None:
        return _HEAD.pack(_INNER, node.level, 0, len(node.starts)) + node.starts.tobytes() + node.records.tobytes()
    events = node.events
    parts: list[Int64 | Flags] = [events.time, events.created, *(words for words in events.values if words.size), *events.counted]
    return _HEAD.pack(_LEAF, node.level, len(events.counted), len(events)) + b"".join(part.tobytes() for part in parts)


def decode_node(plan: TilePlan, packed: bytes) -> Node:
    kind, level, columns, count = _HEAD.unpack_from(packed)
    place, words = _HEAD.size, plan.words
    if kind == _INNER:
        size = place + 8 * count * (1 + words)
        if len(packed) == size:
            starts = np.frombuffer(packed, np.int64, count, place)
            return Node(level, None, starts, np.frombuffer(packed, np.int64, count * words, place + 8 * count).reshape(count, words))
    has_values = plan.has_values
    size = place + count * (16 + 8 * sum(has_values) + len(has_values))
    if kind != _LEAF or columns != len(has_values) or len(packed) != size:
        raise CorruptionError(f"a tile of {plan.relation.label} makes no sense", hint=CURE)
    numbers = np.frombuffer(packed, np.int64, count * (2 + sum(has_values)), place)
    flags = np.frombuffer(packed, np.uint8, count * columns, place + numbers.nbytes)
    values, at = [], 2 * count
    for has in has_values:
        values.append(numbers[at : at + count] if has else _NONE)
        at += count if has else 0
    counted = tuple(flags[column * count : (column + 1) * count] for column in range(columns))
    return Node(level, Kept(numbers[:count], numbers[count : 2 * count], tuple(values), counted), _NONE, _NONE)


PutNode = Callable[[int, int, Node], None]  # level, first tick, the node
GetNode = Callable[[int, int], Node | None]


def grow_tree(plan: TilePlan, events: Kept, get: GetNode, put: PutNode) -> None:
    """Add events of one key, all written after those that its tree holds."""
    for first, last, start in _groups(plan, plan.root, events):
        _grow(plan, plan.root, start, events.slice(first, last), get, put)


def _grow(plan: TilePlan, level: int, start: int, events: Kept, get: GetNode, put: PutNode) -> Int64:
    """Add events to a node; the record of the tile that it then stands for."""
    node = get(level, start)
    if node is None or node.events is not None:
        whole = events if node is None or node.events is None else node.events.followed_by(events)
        return _plant(plan, level, start, whole, put)
    starts, records = list(node.starts.tolist()), list(node.records)
    for first, last, child in _groups(plan, level - 1, events):
        record = _grow(plan, level - 1, child, events.slice(first, last), get, put)
        place = int(np.searchsorted(starts, child))
        if place < len(starts) and starts[place] == child:
            records[place] = record
        else:
            starts.insert(place, child)
            records.insert(place, record)
    return _put_inner(plan, level, start, np.array(starts, np.int64), np.array(records, np.int64), put)


def _plant(plan: TilePlan, level: int, start: int, events: Kept, put: PutNode) -> Int64:
    """Make a node of all events of its stretch; the record of the tile that it stands for."""
    if len(events) <= limits.TILE_LEAF or not level:
        put(level, start, Node(level, events, _NONE, _NONE))
        return _record(plan, level, events)
    starts, records = [], []
    for first, last, child in _groups(plan, level - 1, events):
        records.append(_plant(plan, level - 1, child, events.slice(first, last), put))
        starts.append(child)
    return _put_inner(plan, level, start, np.array(starts, np.int64), np.array(records, np.int64), put)


def _put_inner(plan: TilePlan, level: int, start: int, starts: Int64, records: Int64, put: PutNode) -> Int64:
    put(level, start, Node(level, None, starts, records))
    record = np.empty(plan.words, np.int64)
    if level < plan.root:
        merge_records(plan.measures(plan.nothing), records, record)
    return record


def _record(plan: TilePlan, level: int, events: Kept) -> Int64:
    """The record of the tile whose events these are; of a root, which is no tile, anything."""
    if level == plan.root:
        return np.empty(plan.words, np.int64)
    widths = np.array(plan.widths[: level + 1], np.int64)
    _, _, records = build_tiles(np.array([0, len(events)]), np.ascontiguousarray(events.time), contiguous(plan.measures(events)), widths)
    record: Int64 = records[-1]
    return record


def contiguous(measures: list[Measure]) -> list[Measure]:
    """The same, each array in one piece."""
    return [(kind, mask, np.ascontiguousarray(words), np.ascontiguousarray(flags)) for kind, mask, words, flags in measures]


def _groups(plan: TilePlan, level: int, events: Kept) -> list[tuple[int, int, int]]:
    """(first event, behind the last, first tick) of each stretch of a level that holds events."""
    width = plan.widths[level]
    stretch = events.time // width
    cuts = [0, *(np.flatnonzero(stretch[1:] != stretch[:-1]) + 1).tolist(), len(events)]
    return [(first, last, plan.start_of(level, int(events.time[first]))) for first, last in pairwise(cuts)]

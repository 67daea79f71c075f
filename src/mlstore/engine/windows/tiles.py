"""Tiles in the file: for each key of a window view a tree of nodes along the widths of its tiles; what lies where, as bytes.

A node stands for a stretch of time as long as a tile of its level, or, at the root, as `ROOT_TILES` of the widest. With few events it is a
leaf, and holds what the view reads of them; else it has children, and holds the record of the tile that each stands for. So a tree is a
function of the events: however they came in, and in whatever order, its bytes are the same. A memory, never another truth: see `marks`.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlstore._core.growing import Growth
from mlstore._core.tiles import KINDS
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
FORM = 2  # of nodes and marks: 1 had nothing wait
CURE = "run verify(), restore a backup"
Flags = NDArray[np.uint8]
Measure = tuple[int, int, Int64, Flags]

_OWNER = struct.Struct(">II")
PREFIX_BYTES = _OWNER.size
_TICK = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a node keeps of events, in total order: clocks, and of each column its words (none: rows are counted) and what counts."""

    time: Int64
    created: Int64
    values: tuple[Int64, ...]
    counted: tuple[Flags, ...]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, chosen: NDArray[Any]) -> "Kept":
        """Some of them: a mask, or their places."""
        return Kept(
            self.time[chosen],
            self.created[chosen],
            tuple(words[chosen] if words.size else words for words in self.values),
            tuple(flags[chosen] for flags in self.counted),
        )


@dataclass(frozen=True, slots=True)
class KeptByKey:
    """Kept events of keys, as they stand in the file: those of key i are offsets[i] to offsets[i + 1]."""

    keys: Sequence[bytes]
    offsets: Int64
    events: Kept

    def below(self, until: bytes | None) -> "KeptByKey":
        """Those of named keys that have events and lie below a key; None: of all."""
        counts = np.diff(self.offsets)
        chosen = np.array([bool(key) and (until is None or key < until) for key in self.keys], np.bool_) & (counts > 0)
        if chosen.all():
            return self
        keys = [key for key, is_chosen in zip(self.keys, chosen.tolist(), strict=True) if is_chosen]
        return KeptByKey(keys, np.append(0, np.cumsum(counts[chosen])), self.events.take(np.repeat(chosen, counts)))


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

    def prefix(self, line: int) -> bytes:
        """Where its nodes on a line begin."""
        return _OWNER.pack(self.relation.table, line)

    def start_of(self, level: int, tick: int) -> int:
        """The first tick of the stretch that a tick lies in."""
        return max(FIRST_TICK, tick // self.widths[level] * self.widths[level])

    def root_name(self, head: bytes, packed: bytes) -> bytes:
        """What a root is called in the file, by the first tick that it holds. head: what the names of its key's nodes begin with."""
        [tick] = _TICK.unpack_from(packed, 8)
        return head + bytes([self.root]) + encode_int(self.start_of(self.root, tick))

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
        form=blake2b(repr((FORM, told, widths, limits.TILE_LEAF)).encode(), digest_size=16).digest(),
    )


GetNodes = Callable[[list[bytes]], Sequence[bytes | None]]


def grow(plan: TilePlan, prefix: bytes, kept: KeptByKey, get: GetNodes | None) -> list[tuple[bytes, bytes]]:
    """The nodes that change when events are added, all written after those that the trees hold: keys in the file, and bytes.

    Every key has events. get: of nodes in the file; None: there are none.
    """
    if not kept.keys:
        return []
    heads, events, widths = [prefix + key for key in kept.keys], kept.events, np.array(plan.widths, np.int64)
    time, created = map(np.ascontiguousarray, (events.time, events.created))
    growth = Growth(contiguous(plan.measures(events)), kept.offsets, time, created, widths, limits.TILE_LEAF, heads)
    try:
        while get is not None and (names := growth.wanted()):
            growth.take(get(names))
    except ValueError as error:
        raise CorruptionError(f"a tile of {plan.relation.label} makes no sense: {error}", hint=CURE) from error
    return growth.nodes()


def contiguous(measures: list[Measure]) -> list[Measure]:
    """The same, each array in one piece."""
    return [(kind, mask, np.ascontiguousarray(words), np.ascontiguousarray(flags)) for kind, mask, words, flags in measures]

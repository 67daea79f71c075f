"""Trees of tiles grown event by event, in Python: what `grow_trees` must make of the same events, byte for byte."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from mlstore._core.tiles import build_tiles, merge_records
from mlstore.engine import limits
from mlstore.engine.windows.plan import FIRST_TICK
from mlstore.engine.windows.tiles import Int64, Kept, Measure, TilePlan
from mlstore.format.keyvector import encode_int

HEAD = struct.Struct("<BBHI")  # leaf (1) or not (2), level, columns kept, how many events or children


@dataclass(frozen=True, slots=True)
class NaiveTree:
    """The nodes of one key, all made anew from its events: (level, first tick) -> bytes."""

    plan: TilePlan
    nodes: dict[tuple[int, int], bytes]

    def plant(self, level: int, start: int, events: Kept) -> Int64:
        """Make a node of all events of its stretch; the record of the tile that it stands for."""
        if len(events) <= limits.TILE_LEAF or not level:
            self.nodes[level, start] = leaf(level, events)
            return record_of(self.plan, level, events)
        starts, records = [], []
        for child, part in stretches(self.plan, level - 1, events):
            records.append(self.plant(level - 1, child, part))
            starts.append(child)
        packed = HEAD.pack(2, level, 0, len(starts)) + np.array(starts, np.int64).tobytes() + np.array(records, np.int64).tobytes()
        self.nodes[level, start] = packed
        record = np.empty(self.plan.words, np.int64)
        if level < self.plan.root:
            merge_records(measures(self.plan, events), np.array(records, np.int64), record)
        return record


def plant_naively(plan: TilePlan, prefix: bytes, key: bytes, events: Kept) -> dict[bytes, bytes]:
    """All nodes of a key, as they lie in the file. Events in the order of writing."""
    tree = NaiveTree(plan, {})
    order = np.lexsort((events.created, events.time))
    for start, part in stretches(plan, plan.root, chosen(events, order)):
        tree.plant(plan.root, start, part)
    return {prefix + key + bytes([level]) + encode_int(start): packed for (level, start), packed in tree.nodes.items()}


def leaf(level: int, events: Kept) -> bytes:
    parts = [events.time, events.created, *(words for words in events.values if words.size), *events.counted]
    return HEAD.pack(1, level, len(events.counted), len(events)) + b"".join(part.tobytes() for part in parts)


def record_of(plan: TilePlan, level: int, events: Kept) -> Int64:
    if level == plan.root:
        return np.empty(plan.words, np.int64)
    widths = np.array(plan.widths[: level + 1], np.int64)
    _, _, records = build_tiles(np.array([0, len(events)]), np.ascontiguousarray(events.time), measures(plan, events), widths)
    record: Int64 = records[-1]
    return record


def measures(plan: TilePlan, events: Kept) -> list[Measure]:
    return [(kind, mask, np.ascontiguousarray(words), np.ascontiguousarray(flags)) for kind, mask, words, flags in plan.measures(events)]


def stretches(plan: TilePlan, level: int, events: Kept) -> Iterator[tuple[int, Kept]]:
    """(first tick, events) of each stretch of a level that holds any."""
    width = plan.widths[level]
    for stretch, rows in groupby(range(len(events)), lambda row: int(events.time[row]) // width):
        yield max(FIRST_TICK, stretch * width), chosen(events, np.array(list(rows)))


def chosen(events: Kept, rows: Int64) -> Kept:
    """Some events."""
    return Kept(
        events.time[rows],
        events.created[rows],
        tuple(words[rows] if words.size else words for words in events.values),
        tuple(flags[rows] for flags in events.counted),
    )

"""Trees of tiles in memory: planted from events as the keeper does, walked as a reader does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from mlstore._core.tiles import KINDS, count_words
from mlstore._core.walks import Walk
from mlstore.engine.windows.events import Events
from mlstore.engine.windows.measures import is_kept, lay_out
from mlstore.engine.windows.plan import Int64, WindowPlan
from mlstore.engine.windows.tilereading import KeptPlan
from mlstore.engine.windows.tiles import ROOT_TILES, TILES, Kept, KeptByKey, Measure, TilePlan, grow
from mlstore.storage.walking import walk_through

PREFIX = b"p"


@dataclass(frozen=True)
class Label:
    """The view, in errors."""

    label: str = "w"


@dataclass(frozen=True)
class RawAsked:
    kind: int
    mask: int


@dataclass(frozen=True)
class RawLayout:
    """The columns of a record, without a definition behind them."""

    asked: tuple[RawAsked, ...]


@dataclass
class Drawer:
    """Nodes in memory, with the face of a reader."""

    nodes: dict[bytes, bytes] = field(default_factory=dict)
    looked_up: list[bytes] = field(default_factory=list)

    def get_many(self, _: object, keys: Sequence[bytes]) -> list[bytes | None]:
        self.looked_up += keys
        return [self.nodes.get(key) for key in keys]

    def scan(self, _: object, *, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        return ((key, self.nodes[key]) for key in sorted(self.nodes) if start <= key < stop)

    def plant(self, plan: TilePlan, key: bytes, events: Kept) -> None:
        """Add events of a key, written after those that are there."""
        batch = KeptByKey([key], np.array([0, len(events)]), events).below(None)
        self.nodes.update(grow(plan, PREFIX, batch, lambda names: [self.nodes.get(name) for name in names]))

    def through(self, walk: Walk) -> Walk:
        """The walk, at its end."""
        walk_through(self, TILES, walk)
        return walk


def kept_plan(plan: WindowPlan) -> WindowPlan:
    """The outputs of a plan that tiles can answer."""
    return plan.of(output for output in plan.outputs if is_kept(plan, output))


def trees_of(plan: WindowPlan) -> TilePlan:
    """What trees keep of a plan, all of whose outputs tiles can answer."""
    layout = lay_out(plan, plan.outputs, filtered=False)
    return _tile_plan(plan, layout, [(one.kind, one.mask) for one in layout.asked], plan.widths)


def raw_trees(measures: Sequence[Measure], widths: Int64) -> TilePlan:
    """What trees keep of columns as kernels take them."""
    asked = [(kind, mask) for kind, mask, _, _ in measures]
    return _tile_plan(None, RawLayout(tuple(RawAsked(*one) for one in asked)), asked, widths)


def raw_kept(measures: Sequence[Measure], time: Int64, rows: slice) -> Kept:
    """Some events of columns as kernels take them."""
    counted = tuple(flags[rows] if flags.size else np.ones(len(time[rows]), np.uint8) for _, _, _, flags in measures)
    return Kept(time[rows], np.zeros(len(time[rows]), np.int64), tuple(words[rows] for _, _, words, _ in measures), counted)


def events_of(time: Int64, columns: Mapping[str, pa.Array], rows: slice) -> Events:
    """Some rows as the events of one key."""
    return Events(np.array([0, len(time[rows])]), time[rows], np.empty(0, np.int64), {n: column[rows] for n, column in columns.items()})


def answer_one(kept: KeptPlan, drawer: Drawer, key: bytes, moment: int) -> list[Any]:
    """The outputs of one key, as Python values."""
    answer: dict[str, Any] = dict.fromkeys(output.name for output in kept.outputs)
    kept.fill(drawer.through(kept.begin([PREFIX + key], moment)), answer)
    return list(answer.values())


def _tile_plan(plan: Any, layout: Any, asked: Sequence[tuple[int, int]], widths: Int64) -> TilePlan:
    levels = (*widths.tolist(), int(widths[-1]) * ROOT_TILES)
    return TilePlan(
        Label(),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        plan,
        layout,
        levels,
        root=len(widths),
        words=sum(count_words(kind, mask) for kind, mask in asked),
        has_values=tuple(kind != KINDS["rows"] for kind, _ in asked),
        asked=tuple(asked),
        form=b"",
    )

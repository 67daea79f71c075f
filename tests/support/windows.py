"""Events, moments and plans for window tests, drawn or made by hand."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

import mlstore as ml
from mlstore._core.tiles import ASKED, KINDS
from mlstore.engine.windows.plan import FIRST_TICK, LAST_TICK, Int64, Moments, WindowPlan, compile_plan
from mlstore.schema.layout import view_layout
from mlstore.schema.window import Window
from tests.support.data import microseconds

USER = ml.Entity("user", keys={"user": ml.int64})
FIELDS = {
    "f": ml.float64, "g": ml.float32, "i": ml.int64, "h": ml.int16, "u": ml.uint64, "b": ml.bool_, "s": ml.string, "t": ml.timestamp("us"),
}  # fmt: skip
SOURCE = ml.FeatureView("facts", entity=USER, schema=FIELDS)
ALL = sum(ASKED.values())
MERGING = ("count", "sum", "mean", "min", "max", "std", "var", "skew", "kurtosis")
NUMBERS = ("f", "g", "i", "h", "u", "b")

floats = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 0.1, -2.5, 1e16, float("nan"), float("inf"), 1e308]), st.floats(-100, 100, allow_nan=False)
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "f": floats,
    "g": st.one_of(st.sampled_from([0.0, -0.0, float("nan"), 0.5]), st.floats(-100, 100, width=32)),
    "i": st.one_of(st.integers(-5, 5), st.integers(-(2**60), 2**60)),
    "h": st.integers(-3, 3),
    "u": st.one_of(st.integers(0, 3), st.just(2**58)),
    "b": st.booleans(),
    "s": st.sampled_from(["", "a", "b", "ä", "aa"]),
    "t": st.integers(-3, 3),
}


@dataclass(frozen=True)
class Rows:
    """Events of groups, sorted."""

    offsets: Int64
    time: Int64
    created: Int64
    columns: Mapping[str, Any]

    @classmethod
    def of(cls, groups: Sequence[Sequence[dict[str, Any]]]) -> Rows:
        """From lists of events, each in total order."""
        rows = [event for events in groups for event in events]
        return cls(
            np.append(0, np.cumsum([len(events) for events in groups])).astype(np.int64),
            np.array([row["time"] for row in rows], np.int64),
            np.array([row["created"] for row in rows], np.int64),
            {name: pa.array([row[name] for row in rows], dtype.arrow) for name, dtype in FIELDS.items()},
        )


@dataclass(frozen=True)
class IsAbove:
    """A condition on a column, in place of an expression."""

    column: str
    bound: int

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def evaluate(self, columns: Mapping[str, Any], *, rows: int | None = None) -> pa.Array:
        values = columns[self.column].to_pylist()
        return pa.array([None if value is None else value > self.bound for value in values], pa.bool_())

    def to_record(self) -> list[object]:
        return ["above", self.column, self.bound]

    def rows(self, events: Sequence[dict[str, Any]]) -> list[bool]:
        return [event[self.column] is not None and event[self.column] > self.bound for event in events]


def plan_of(aggregations: Sequence[ml.Aggregation], *, tiles: Sequence[str] = (), where: IsAbove | None = None, **rules: Any) -> WindowPlan:
    """A plan over FIELDS, whose ticks are microseconds."""
    view = ml.WindowView("windows", entity=USER, source=SOURCE, aggregations=aggregations, tiles=tiles, **rules)
    plan = compile_plan(view, view_layout(SOURCE, USER))
    return plan if where is None else plan.of(replace(output, where=where) for output in plan.outputs)


def moments_of(groups: Sequence[Sequence[int | None]], known: Sequence[int] = ()) -> Moments:
    """From lists of times; None is null."""
    time = [FIRST_TICK if moment is None else moment for moments in groups for moment in moments]
    offsets = np.append(0, np.cumsum([len(moments) for moments in groups])).astype(np.int64)
    return Moments(offsets, np.array(time, np.int64), np.array(known, np.int64))


def bits(value: Any) -> Any:
    """Equal where bits are; one NaN; times as ticks."""
    if isinstance(value, float):
        return "nan" if value != value else struct.pack("<d", value)
    if isinstance(value, list):
        return [bits(part) for part in value]
    if isinstance(value, dict):
        return [(key, bits(part)) for key, part in value.items()]
    if isinstance(value, datetime):
        return microseconds(value)
    return int(value) if isinstance(value, bool) else value


def shown(column: pa.Array) -> list[Any]:
    """Python values; maps as dicts."""
    values = column.to_pylist()
    return [dict(value) for value in values] if pa.types.is_map(column.type) else values


@st.composite
def event_groups(draw: st.DrawFn, *, groups: int = 3, most: int = 25, low: int = -30, high: int = 30) -> list[list[dict[str, Any]]]:
    """Events of some groups in total order, with ties and nulls."""
    event = st.fixed_dictionaries(
        {"time": st.integers(low, high), "created": st.integers(0, 4)}
        | {name: st.one_of(st.none(), values) if name != "u" else values for name, values in VALUES.items()}
    )
    found = [draw(st.lists(event, max_size=most)) for _ in range(draw(st.integers(1, groups)))]
    return [sorted(events, key=lambda row: (row["time"], row["created"])) for events in found]


@st.composite
def raw_events(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Offsets, times and measures of all kinds: some values null."""
    counts = draw(st.lists(st.integers(0, 30), min_size=1, max_size=3))
    rows = sum(counts)
    extremes = st.sampled_from([FIRST_TICK, FIRST_TICK + 1, LAST_TICK, LAST_TICK - 1])
    times = st.integers(-60, 60) if draw(st.booleans()) else st.one_of(st.integers(-60, 60), extremes)
    time = np.concatenate([np.sort(np.array(draw(st.lists(times, min_size=n, max_size=n)), np.int64)) for n in counts])
    floats = np.array(draw(st.lists(VALUES["f"], min_size=rows, max_size=rows)), np.float64)
    ints = np.array(draw(st.lists(VALUES["i"], min_size=rows, max_size=rows)), np.int64)
    uints = np.array(draw(st.lists(VALUES["u"], min_size=rows, max_size=rows)), np.uint64)
    flags = np.array(draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)), np.uint8)
    none = np.empty(0, np.uint8)
    return (
        np.append(0, np.cumsum(counts)).astype(np.int64),
        time,
        [
            (KINDS["floats"], ALL, floats.view(np.int64), flags),
            (KINDS["rows"], 0, np.empty(0, np.int64), none),
            (KINDS["ints"], ASKED["sum"] | ASKED["greatest"], ints, none),
            (KINDS["uints"], ALL, uints.view(np.int64), flags),
            (KINDS["floats"], ASKED["spread"], floats.view(np.int64), none),
        ],
    )


@st.composite
def windows(draw: st.DrawFn) -> Window | str:
    length = f"{draw(st.sampled_from([1, 2, 5, 7, 12, 30, 65]))}us"
    window = draw(
        st.sampled_from(
            [length, length, "lifetime", ml.tumbling(length), ml.hopping(length, hop="4us"), ml.session(length), ml.last_rows(3)]
        )
    )
    if draw(st.integers(0, 4)) == 0 and not isinstance(window, str):
        return window.shifted(3000)
    return window


TILES = ((), ("5us",), ("2us", "6us"), ("3us", "12us", "24us"), ("1us", "10us"), ("100us",))

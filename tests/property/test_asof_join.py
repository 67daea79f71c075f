"""asof_join agrees with a loop over all pairs of rows, whatever the switches, types, order and cutting of the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import mlstore as ml
from mlstore.engine import limits
from tests.support.naive_join import Row, Switches, match_naively


def mostly(values: st.SearchStrategy[Any], others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | values | values | values | values | others


TICKS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
INT64, UINT64 = (-(2**63), 2**63 - 1), (0, 2**64 - 1)


@dataclass(frozen=True)
class Axis:
    """A type of the time column: how its values are made, and what one count is worth in the unit both sides share."""

    arrow: pa.DataType
    low: int
    high: int
    scale: int = 1

    @property
    def is_float(self) -> bool:
        return bool(pa.types.is_floating(self.arrow))

    def values(self) -> st.SearchStrategy[float]:
        if self.is_float:
            return mostly(st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0, 3.0]), st.floats(width=32))
        far = st.integers(self.low, self.high) | st.sampled_from([self.low, self.low + 1, self.high - 1, self.high])
        return mostly(st.integers(max(self.low, -4), 6), far)

    def column(self, values: Sequence[float | None]) -> pa.Array:
        if self.is_float or pa.types.is_integer(self.arrow):
            return pa.array(values, self.arrow)
        width = pa.int32() if self.arrow.bit_width == 32 else pa.int64()
        return pa.array(values, width).view(self.arrow)

    def worth(self, value: float | None) -> float | None:
        return None if value is None else value * self.scale


def instants(unit: str, zone: str | None = None) -> Axis:
    return Axis(pa.timestamp(unit, zone), *INT64, TICKS[unit])


DATES = Axis(pa.date32(), -(2**31), 2**31 - 1, 86_400 * 10**9)
AXES: list[list[Axis]] = [
    [instants("s"), instants("ms", "UTC"), instants("us", "America/New_York"), instants("ns"), DATES],
    [Axis(pa.int8(), -128, 127), Axis(pa.int64(), *INT64), Axis(pa.uint64(), *UINT64), Axis(pa.uint16(), 0, 2**16 - 1)],
    [Axis(pa.duration("s"), *INT64, TICKS["s"]), Axis(pa.duration("us"), *INT64, TICKS["us"])],
    [Axis(pa.time32("s"), 0, 86_399, TICKS["s"]), Axis(pa.time64("ns"), 0, 86_400 * 10**9 - 1, 1)],
    [Axis(pa.float64(), 0, 0), Axis(pa.float32(), 0, 0)],
]


@dataclass(frozen=True)
class KeyType:
    """A type of a key column: its values, and what they are equal by."""

    arrow: pa.DataType
    values: st.SearchStrategy[Any]
    same: Callable[[Any], Any] = lambda value: value

    def column(self, values: Sequence[Any]) -> pa.Array:
        if pa.types.is_temporal(self.arrow):
            return pa.array(values, pa.int32() if self.arrow.bit_width == 32 else pa.int64()).view(self.arrow)
        if pa.types.is_dictionary(self.arrow):
            return pa.array(values, self.arrow.value_type).dictionary_encode()
        return pa.array(values, self.arrow)


def whole(arrow: pa.DataType, low: int, high: int, scale: int = 1) -> KeyType:
    return KeyType(arrow, mostly(st.integers(0, 1), st.sampled_from([low, high, high - 1])), lambda value: value * scale)


def texts(arrow: pa.DataType) -> KeyType:
    return KeyType(arrow, mostly(st.sampled_from(["a", "ab"]), st.sampled_from(["", "a\0", "ä", "a" * 20])))


def blobs(arrow: pa.DataType) -> KeyType:
    return KeyType(arrow, st.sampled_from([b"a\0", b"b\xff", b"\0\0"]))


def decimals(precision: int, scale: int) -> KeyType:
    return KeyType(pa.decimal128(precision, scale), st.sampled_from([Decimal("0"), Decimal("1"), Decimal("-1"), Decimal("12")]))


KEYS: list[list[KeyType]] = [
    [whole(pa.int8(), -128, 127), whole(pa.int64(), *INT64), whole(pa.uint64(), *UINT64), whole(pa.uint32(), 0, 2**32 - 1)],
    [texts(kind) for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()))],
    [blobs(kind) for kind in (pa.binary(), pa.large_binary(), pa.binary(2), pa.binary_view())],
    [whole(pa.timestamp("ns"), *INT64), whole(pa.timestamp("s"), *INT64, 10**9), whole(pa.date32(), -(2**31), 2**31 - 1, DATES.scale)],
    [KeyType(pa.bool_(), st.booleans())],
    [decimals(4, 0), decimals(30, 2), decimals(38, 20)],
    [KeyType(kind, st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf")])) for kind in (pa.float32(), pa.float64())],
    [
        KeyType(
            pa.struct({"x": pa.int64(), "y": pa.string()}),
            st.fixed_dictionaries({"x": st.integers(0, 1), "y": st.sampled_from("ab")}),
            lambda value: (value["x"], value["y"]),
        )
    ],
]


@dataclass(frozen=True)
class World:
    left: pa.Table
    right: pa.Table
    asks: list[Row]
    facts: list[Row]
    switches: Switches
    arguments: dict[str, Any]


few_keys = st.lists(st.sampled_from(KEYS), max_size=1)
key_lists = few_keys | few_keys | st.lists(st.sampled_from(KEYS), min_size=2, max_size=3)


@st.composite
def worlds(draw: st.DrawFn, *, last_valid: bool = False) -> World:
    family = draw(st.sampled_from(AXES))
    axes = draw(st.sampled_from(family)), draw(st.sampled_from(family))
    key_types = [(draw(st.sampled_from(kinds)), draw(st.sampled_from(kinds))) for kinds in draw(key_lists)]
    is_temporal = family is AXES[0]
    has_created = is_temporal and draw(st.booleans())
    created_axis = draw(st.sampled_from(AXES[0]))
    switches = Switches(
        direction=draw(st.sampled_from(["backward", "forward", "nearest"])),
        tolerance=draw(st.none() | (st.sampled_from([0.0, 0.5, 2.0, 1e30]) if axes[0].is_float else tolerances(axes))),
        allow_exact_matches=draw(st.booleans()),
        nulls_equal=draw(st.booleans()),
        has_created=has_created,
        known_at=draw(st.sampled_from([None, "left", 0, 2 * 10**9 + 1])) if has_created else None,
    )
    nulls = st.lists(st.sampled_from("ab"), unique=True).map(frozenset) if last_valid else st.just(frozenset())
    sides = []
    for side in (0, 1):
        made = st.tuples(
            st.tuples(*(mostly(pair[side].values, st.none()) for pair in key_types)),
            mostly(axes[side].values(), st.none()),
            mostly(created_axis.values(), st.none()) if has_created else st.none(),
            nulls,
        )
        fewest = draw(st.sampled_from([0, 4, 8, 8]))
        rows = draw(st.lists(made, min_size=fewest, max_size=14))
        if draw(st.booleans()):
            rows.sort(key=lambda row: (row[1] is None or row[1] != row[1], row[1] or 0))
        sides.append(rows)
    tables, naive = [], []
    for side, rows in enumerate(sides):
        columns = {f"k{place}": pair[side].column([row[0][place] for row in rows]) for place, pair in enumerate(key_types)}
        columns["t"] = axes[side].column([row[1] for row in rows])
        if side:
            columns["row"] = pa.array(range(len(rows)), pa.int64())
            for name in "ab" if last_valid else "":
                columns[name] = pa.array([None if name in row[3] else place for place, row in enumerate(rows)], pa.int64())
            if has_created:
                columns["known"] = created_axis.column([row[2] for row in rows])
        table = pa.table(columns)
        cut = draw(st.integers(0, len(rows)))
        tables.append(pa.concat_tables([table[:cut], table[cut:]]))
        naive.append(
            [
                Row(
                    tuple(None if value is None else pair[side].same(value) for value, pair in zip(row[0], key_types, strict=True)),
                    axes[side].worth(row[1]),
                    None if row[2] is None else int(row[2]) * created_axis.scale,
                    row[3],
                )
                for row in rows
            ]
        )
    known_at = switches.known_at if switches.known_at in (None, "left") else pa.scalar(switches.known_at, pa.timestamp("ns"))
    has_unit = not axes[0].is_float and not pa.types.is_integer(axes[0].arrow)
    arguments = {
        "on": "t",
        "by": [f"k{place}" for place in range(len(key_types))],
        "direction": switches.direction,
        "tolerance": f"{switches.tolerance}ns" if has_unit and switches.tolerance is not None else switches.tolerance,
        "allow_exact_matches": switches.allow_exact_matches,
        "nulls_equal": switches.nulls_equal,
        "created": "known" if has_created else None,
        "known_at": known_at,
    }
    return World(*tables, *naive, switches, arguments)


def tolerances(axes: tuple[Axis, Axis]) -> st.SearchStrategy[int]:
    unit = max(axis.scale for axis in axes)
    return st.sampled_from([0, 1, 2, unit, 2 * unit, 3 * unit - 1])


@pytest.fixture(params=["one thread", "three threads"], scope="module", autouse=True)
def threads(request: pytest.FixtureRequest) -> Any:
    if request.param == "one thread":
        yield
        return
    with patch.object(limits, "PARALLEL_ROWS", 2), patch.object(limits, "READ_THREADS", 3):
        yield


@given(worlds())
def test_each_left_row_gets_the_row_that_a_loop_over_all_pairs_finds(world: World) -> None:
    expected = match_naively(world.asks, world.facts, world.switches)
    event(f"matches: {min(3, sum(match is not None for match in expected))}")

    answer = ml.asof_join(world.left, world.right, **world.arguments)

    assert answer["row"].to_pylist() == expected
    assert answer.select(world.left.column_names).equals(world.left) or has_nan(world.left)


def has_nan(table: pa.Table) -> bool:
    return any(pc.any(pc.is_nan(column)).as_py() for column in table.columns if pa.types.is_floating(column.type))


@given(worlds(last_valid=True))
def test_with_last_valid_each_column_gets_its_own_nearest_value(world: World) -> None:
    expected = [match_naively(world.asks, world.facts, world.switches, name) for name in "ab"]

    answer = ml.asof_join(world.left, world.right, **world.arguments, nulls="last_valid")

    assert [answer[name].to_pylist() for name in "ab"] == expected

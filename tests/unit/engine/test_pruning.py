"""Pruning: a block that holds a match is never left out, and one that cannot hold any is."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlstore as ml
from mlstore.engine.asking.reading import full_schema
from mlstore.engine.history.block import Block, Content
from mlstore.engine.history.pruning import keep_promising
from mlstore.engine.versions import LIVE
from mlstore.format.columns import value_range
from mlstore.format.keys import KeySpec, factorize
from mlstore.schema.layout import Layout, view_layout

INT64, UINT64 = st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1)

SCHEMA = {
    "small": ml.int8,
    "count": ml.int64,
    "amount": ml.uint64,
    "ratio": ml.float64,
    "level": ml.float32,
    "day": ml.date,
    "at": ml.timestamp("ms"),
    "note": ml.string,
    "flag": ml.bool_,
}
# Values that are often equal to a bound, and extreme ones.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "card": st.integers(-2, 2) | INT64,
    "small": st.integers(-2, 2),
    "count": st.integers(-2, 2) | INT64,
    "amount": st.integers(0, 3) | UINT64,
    "ratio": st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf"), -float("inf")]) | st.floats(),
    "level": st.sampled_from([0.0, -0.0, 1.5, float("nan")]) | st.floats(width=32),
    "day": st.integers(-2, 2).map(lambda day: date.fromordinal(date(1970, 1, 1).toordinal() + day)),
    "at": st.integers(-2, 2).map(lambda second: datetime.fromtimestamp(second, UTC)),
    "note": st.sampled_from(["", "a", "b"]),
    "flag": st.booleans(),
    "event_timestamp": st.integers(-2, 2).map(lambda second: datetime.fromtimestamp(second, UTC)),
}
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


def layout_of(key: ml.DType) -> Layout:
    entity = ml.Entity("card", keys={"card": key})
    return view_layout(ml.FeatureView("v", entity=entity, schema=SCHEMA), entity)


class Rows(Content):
    """Rows with the zone maps that a segment of them would have."""

    def __init__(self, layout: Layout, table: pa.Table) -> None:
        key = layout.keys[0].dtype
        factored = factorize(KeySpec((key,)), [table["card"]], table.num_rows)
        self.keys = factored.keys
        self.offsets = np.append(0, np.cumsum(np.bincount(factored.codes)))
        self.time = table["event_timestamp"].cast(pa.int64()).to_numpy()
        self._columns = [table[field.name].combine_chunks() for field in layout.features]
        self._zones = [value_range(column, field.dtype) for column, field in zip(self._columns, layout.features, strict=True)]

    def zone(self, relation: object, number: int) -> tuple[object, object, bool] | None:
        zone = self._zones[number]
        return None if zone is None else (*zone, self._columns[number].null_count > 0)


def block_of(layout: Layout, table: pa.Table) -> Block:
    relation: Any = None
    return Block(relation, Rows(layout, table), bound=LIVE, deletes=None)


@st.composite
def tables(draw: Callable[..., Any], key: ml.DType) -> pa.Table:
    rows = draw(st.integers(1, 4))
    values = VALUES | {"card": UINT64} if key == ml.uint64 else VALUES
    types = {name: dtype.arrow for name, dtype in SCHEMA.items()} | {"card": key.arrow, "event_timestamp": pa.timestamp("us", "UTC")}

    def column(name: str) -> pa.Array:
        item = draw(st.sampled_from([values[name], st.none() | values[name]])) if name in SCHEMA else values[name]
        return pa.array(draw(st.lists(item, min_size=rows, max_size=rows)), types[name])

    table = pa.table({name: column(name) for name in ("card", "event_timestamp", *SCHEMA)})
    return table.sort_by([("card", "ascending"), ("event_timestamp", "ascending")])


def conditions(names: Sequence[str] = tuple(VALUES)) -> st.SearchStrategy[pc.Expression]:
    def about(name: str) -> st.SearchStrategy[pc.Expression]:
        field, values = pc.field(name), VALUES[name]
        return st.one_of(
            st.builds(lambda compare, value: compare(field, literal(value)), st.sampled_from(COMPARISONS), values),
            st.builds(lambda compare, value: compare(literal(value), field), st.sampled_from(COMPARISONS), values),
            st.lists(values, min_size=1, max_size=2).map(lambda listed: field.isin(listed_values(listed))),
            st.sampled_from([field.is_null(), field.is_valid()]),
        )

    plain = st.sampled_from(names).flatmap(about)
    nan = st.sampled_from(["ratio", "level"]).map(lambda name: pc.is_nan(pc.field(name)) | pc.field(name).is_null(nan_is_null=True))
    return st.recursive(
        plain | nan,
        lambda inner: st.one_of(inner.map(operator.invert), st.builds(operator.and_, inner, inner), st.builds(operator.or_, inner, inner)),
        max_leaves=4,
    )


def literal(value: Any) -> pc.Expression:
    """A value as Arrow takes it, numbers beyond int64 included."""
    return pc.scalar(pa.scalar(value, pa.uint64()) if isinstance(value, int) and value >= 2**63 else value)


def listed_values(values: list[Any]) -> pa.Array:
    """As Arrow would take a list, which it does not where a number is beyond int64."""
    is_huge = any(isinstance(value, int) and value >= 2**63 for value in values)
    return pa.array(values, pa.uint64()) if is_huge else pa.array(values)


def matches(table: pa.Table, where: pc.Expression) -> int | None:
    """How many rows match; None where Arrow cannot say."""
    try:
        return int(table.filter(where).num_rows)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return None


@pytest.mark.parametrize("key", [ml.int64, ml.uint64], ids=str)
@given(data=st.data())
def test_a_block_that_holds_a_match_is_kept_and_all_stay_in_order(key: ml.DType, data: st.DataObject) -> None:
    held = data.draw(st.lists(tables(key), min_size=1, max_size=3))
    layout = layout_of(key)
    where = data.draw(conditions())
    found = [matches(table, where) for table in held]
    if None in found:
        return
    blocks = [block_of(layout, table) for table in held]

    kept = keep_promising(blocks, layout, where, full_schema(layout))

    places = [blocks.index(block) for block in kept]
    assert places == sorted(places)
    assert {place for place, count in enumerate(found) if count} <= set(places)


# ---------------------------------------------------------------- what can be left out is


def stretches() -> tuple[Layout, list[Block]]:
    """Ten blocks of ten rows: 0-9, 10-19, ... in every column."""
    layout = layout_of(ml.int64)
    blocks = []
    for first in range(0, 100, 10):
        numbers = pa.array(range(first, first + 10), pa.int64())
        columns = {name: numbers.cast(dtype.arrow) for name, dtype in SCHEMA.items() if name not in ("day", "flag", "note", "at")}
        columns |= {"day": numbers.cast(pa.int32()).view(pa.date32()), "at": numbers.view(SCHEMA["at"].arrow)}
        columns |= {"flag": pa.array([True] * 10), "note": numbers.cast(pa.string())}
        columns |= {"card": numbers, "event_timestamp": numbers.view(pa.timestamp("us", "UTC"))}
        blocks.append(block_of(layout, pa.table({name: columns[name] for name in ("card", "event_timestamp", *SCHEMA)})))
    return layout, blocks


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (pc.field("count") > 84, [8, 9]),
        (pc.field("count") == 35, [3]),
        (pc.field("small") >= 90, [9]),
        (pc.field("amount") < 10, [0]),
        (pc.field("ratio") > 94.5, [9]),
        (pc.field("level") <= 0, [0]),
        (pc.field("card") == 42, [4]),
        (pc.field("day") < date(1970, 1, 5), [0]),
        (pc.field("at") == pa.scalar(77, pa.int64()).cast(pa.timestamp("ms", "UTC")), [7]),
        (pc.field("event_timestamp") > pa.scalar(94, pa.int64()).cast(pa.timestamp("us", "UTC")), [9]),
        (pc.field("count").isin([1, 99]), [0, 9]),
        ((pc.field("count") > 10) & (pc.field("ratio") < 20), [1]),
        ((pc.field("count") > 95) | (pc.field("ratio") < 5), [0, 9]),
        (pc.field("count").is_null(), []),
        (pc.field("count") > 1000, []),
        (pc.field("note") == "5", list(range(10))),
    ],
    ids=str,
)
def test_blocks_whose_zones_exclude_a_match_are_left_out(where: pc.Expression, expected: list[int]) -> None:
    layout, blocks = stretches()

    kept = keep_promising(blocks, layout, where, full_schema(layout))

    assert [blocks.index(block) for block in kept] == expected


def test_a_filter_reads_only_the_segments_that_may_match(store: ml.Store, small_limits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    entity = ml.Entity("card", keys={"card": ml.int64})
    store.apply(entity, ml.FeatureView("v", entity=entity, schema={"count": ml.int64}))
    times = pa.array(range(80), pa.timestamp("us", "UTC"))
    store.write("v", pa.table({"card": range(80), "event_timestamp": times, "count": range(80)}))
    read = []
    column = Block.column
    monkeypatch.setattr(Block, "column", lambda block, *rest: read.append(block.segment) or column(block, *rest))

    found = store.read("v", where=pc.field("count") == 42)["count"].to_pylist()

    assert found == [42]
    assert len(set(read)) == 1
    assert store.info()["tables"][0]["segments"] == 10


def test_a_filter_that_is_no_question_of_ranges_never_fails_for_the_ranges_of_a_block(store: ml.Store) -> None:
    # Arrow puts the only value of a block in the place of the column, and 2**63 does not fit the int64 list beside it.
    entity = ml.Entity("card", keys={"card": ml.int64})
    store.apply(entity, ml.FeatureView("v", entity=entity, schema={"amount": ml.uint64}))
    store.write("v", {"card": [1], "event_timestamp": ["1970-01-01"], "amount": pa.array([2**63], pa.uint64())})
    store.optimize()

    assert store.read("v", where=pc.field("amount").isin([0])).num_rows == 0
    assert store.read("v", where=pc.field("amount").isin(pa.array([2**63], pa.uint64()))).num_rows == 1


@pytest.mark.parametrize(
    "where",
    [
        ~(pc.field("ratio") < math.nan),
        ~(pc.field("ratio") > math.nan),
        ~(pc.field("ratio") <= math.nan) & (pc.field("ratio") == 0.5),
        pc.field("ratio") != math.nan,
        ~(pc.scalar(math.nan) < pc.field("ratio")),
    ],
    ids=str,
)
def test_a_comparison_with_nan_is_false_of_every_row_and_its_opposite_true(store: ml.Store, where: pc.Expression) -> None:
    store.apply(ml.FeatureView("v", schema={"ratio": ml.float64}))
    store.write("v", {"event_timestamp": ["1970-01-01"], "ratio": [0.5]})
    store.optimize()

    assert store.read("v", where=where).num_rows == 1

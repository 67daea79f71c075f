"""Filters of ours against the plain evaluation of the same condition, and what they let the zone maps prove."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlstore as ml
from mlstore.engine.asking.reading import plan_query

KINDS = {
    "whole": ml.int32,
    "real": ml.float64,
    "narrow": ml.float32,
    "big": ml.uint64,
    "word": ml.string,
    "flag": ml.bool_,
    "seen": ml.timestamp("ms"),
}
VALUES: dict[str, list[Any]] = {
    "whole": [None, -3, 0, 1, 7],
    "real": [None, -0.0, 0.0, 0.5, float("nan"), float("inf")],
    "narrow": [None, -0.0, 0.5, 3.0],
    "big": [None, 0, 5, 2**63, 2**64 - 1],
    "word": [None, "", "a", "b"],
    "flag": [None, True, False],
    "seen": [None, 0, 1500, -4],
}
CONSTANTS: dict[str, list[Any]] = {
    "whole": [-3, 0, 1, 0.5, 2**40],
    "real": [0.0, -0.0, 0.5, 1, float("nan")],
    "narrow": [0.1, 0.5, 3, float("inf")],
    "big": [0, 5, 2**63, 2.0**63],
    "word": ["", "a", "z"],
    "flag": [True, False],
    "seen": [ml.lit("1970-01-01T00:00:01.5", ml.timestamp(unit)) for unit in ("ms", "us", "ns")]
    + [ml.lit("1970-01-01", ml.timestamp("s"))],
}


@st.composite
def comparisons(draw: st.DrawFn) -> ml.Expression:
    name = draw(st.sampled_from(sorted(KINDS)))
    column, given_constant = ml.col(name), draw(st.sampled_from(CONSTANTS[name]))
    constant = given_constant if isinstance(given_constant, ml.Expression) else ml.lit(given_constant)
    ways = [
        lambda: column == constant,
        lambda: column != constant,
        lambda: column.is_null(),
        lambda: column.isin([given_constant]),
    ]
    if name not in ("flag",):
        ways += [lambda: column < constant, lambda: column <= constant, lambda: column > constant, lambda: constant <= column]
    try:
        return draw(st.sampled_from(ways))()
    except ml.DefinitionError:
        return column.is_null()


CONDITIONS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner), st.builds(lambda a, b: a | b, inner, inner), st.builds(lambda a: ~a, inner)
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def spread() -> ml.Store:
    """Rows of every pairing of values, in many segments, each of few values, so that zone maps have something to say."""
    store = ml.open(":memory:")
    entity = ml.Entity("e", keys={"id": ml.int64})
    store.apply(entity, ml.FeatureView("v", entity=entity, schema=KINDS))
    for place in range(12):
        picked = {
            name: [values[(place * step + row) % len(values)] for row in range(2)] for step, (name, values) in enumerate(VALUES.items(), 1)
        }
        columns = {name: pa.array(picked[name], KINDS[name].arrow) for name in KINDS}
        ids = pa.array([2 * place, 2 * place + 1], pa.int64())
        store.write("v", pa.table({"id": ids, "event_timestamp": ids.view(pa.timestamp("us", "UTC")), **columns}))
        store.optimize()
    return store


@given(where=CONDITIONS)
def test_a_filter_keeps_the_rows_for_which_its_condition_is_true(spread: ml.Store, where: ml.Expression) -> None:
    rows = spread.read("v").table()
    try:
        truth = where.evaluate({name: rows[name] for name in where.columns}, rows=rows.num_rows)
    except ml.DefinitionError:
        with pytest.raises(ml.SchemaMismatchError):
            spread.read("v", where=where)
        return

    found = spread.read("v", where=where, columns=["id"])["id"].to_pylist()

    assert found == rows["id"].filter(truth).to_pylist()


@given(where=CONDITIONS)
def test_what_a_filter_implies_is_true_of_every_row_it_keeps(spread: ml.Store, where: ml.Expression) -> None:
    with spread._session.reading() as context:
        try:
            condition = plan_query(context.catalog.stored("v", doing="read"), None, where, None, None).where
        except ml.SchemaMismatchError:
            return
    assert condition is not None
    if condition.implied is None:
        return

    kept = condition.keep(spread.read("v").table())

    assert kept.filter(condition.implied).num_rows == kept.num_rows

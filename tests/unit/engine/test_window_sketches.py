"""Sketches: near the truth, and the same bits for the same events."""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.engine.windows.aggregates import aggregate
from mlstore.errors import UsageError
from tests.support.windows import Rows, moments_of, plan_of

PLAN = plan_of(
    [ml.agg(column, ["approx_distinct", "distinct"], windows=["1s"]) for column in ("i", "s", "f", "b")]
    + [ml.agg("f", ["approx_quantile", "quantile"], windows=["1s"], q=0.9)]
)


def events(rows: int = 3000) -> Rows:
    random = np.random.default_rng(7)
    columns = {
        "i": pa.array(random.integers(0, 2000, rows)),
        "s": pa.array([f"{number or ''}" for number in random.integers(0, 300, rows)]),
        "f": pa.array(random.normal(size=rows)),
        "b": pa.array(random.integers(0, 2, rows) > 0),
    }
    return Rows(np.array([0, rows]), np.arange(rows), np.empty(0, np.int64), columns)


def test_estimates_lie_near_the_truth_and_never_change():
    pytest.importorskip("datasketches")

    first, again = (aggregate(PLAN, events(), moments_of([[None, -1, 10, 2999]])) for _ in range(2))

    answers = {output.name: column.to_pylist() for output, column in zip(PLAN.outputs, first, strict=True)}
    assert [column.to_pylist() for column in again] == list(answers.values())
    for column in ("i", "s", "f", "b"):
        assert answers[f"{column}_approx_distinct_1s"] == pytest.approx(answers[f"{column}_distinct_1s"], rel=0.05)
    assert answers["f_approx_quantile_90_1s"][:2] == [None, None]
    assert answers["f_approx_quantile_90_1s"][3] == pytest.approx(answers["f_quantile_90_1s"][3], abs=0.05)


def test_zeros_of_both_signs_are_one_value_and_a_nan_has_no_quantile():
    pytest.importorskip("datasketches")
    zeros = Rows(np.array([0, 3]), np.arange(3), np.empty(0, np.int64), {"f": pa.array([0.0, -0.0, float("nan")])})
    plan = plan_of([ml.agg("f", "approx_distinct", windows=["1s"]), ml.agg("f", "approx_quantile", windows=["1s"], q=0.5)])

    distinct, median = aggregate(plan, zeros, moments_of([[1, 2]]))

    assert distinct.to_pylist() == [1, 2]
    assert median[0].as_py() == 0.0
    assert np.isnan(median[1].as_py())


def test_without_the_package_an_estimate_is_refused_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketches", None)

    with pytest.raises(UsageError, match=r"i_approx_distinct_1s.*mlstore\[sketches\]"):
        aggregate(PLAN, events(5), moments_of([[3]]))

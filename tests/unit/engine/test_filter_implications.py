"""What Arrow may conclude from a filter of ours: as much as is true of every row that is kept, and never more."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import mlstore as ml
from mlstore.engine.asking.filters import row_filter

SCHEMA = pa.schema({"n": pa.int64(), "x": pa.float32(), "s": pa.string()})
N, X, S = ml.col("n"), ml.col("x"), ml.col("s")


def implied(where: ml.Expression) -> pc.Expression | None:
    return row_filter(where, SCHEMA, label="readings").implied


def n(value: int) -> pa.Scalar:
    return pa.scalar(value, pa.int64())


field = pc.field("n")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (N == 5, field == n(5)),
        (N < 5, field < n(5)),
        (N <= 5, field <= n(5)),
        (N > 5, field > n(5)),
        (N >= 5, field >= n(5)),
        (ml.lit(5) < N, field > n(5)),
        (ml.lit(5) <= N, field >= n(5)),
        (ml.lit(5) > N, field < n(5)),
        (ml.lit(5) >= N, field <= n(5)),
        (ml.lit(5) == N, field == n(5)),
        (X > 0.5, pc.field("x") > pa.scalar(0.5, pa.float32())),
        ((N > 1) & (S == "a"), (field > n(1)) & (pc.field("s") == "a")),
        ((N > 1) | (S == "a"), (field > n(1)) | (pc.field("s") == "a")),
        (N.isin([3, 1]), (field == n(3)) | (field == n(1))),
    ],
    ids=str,
)
def test_comparisons_with_constants_are_told_as_they_are(where: ml.Expression, expected: pc.Expression) -> None:
    assert implied(where) is not None
    assert implied(where).equals(expected)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "where",
    [
        X > 0.1,  # no float32 is exactly that
        X.isin([math.nan]),
        N + 1 > 5,
        N > N,
        N != 5,
        ~(N > 5),
        (N > 1) | (N + 1 > 5),
        X.isin([0.5, 0.1]),
    ],
    ids=str,
)
def test_what_is_no_plain_comparison_tells_nothing(where: ml.Expression) -> None:
    assert implied(where) is None


@pytest.mark.parametrize("where", [(N > 1) & (N + 1 > 5), (N + 1 > 5) & (N > 1)], ids=str)
def test_of_two_conditions_that_both_hold_the_plain_one_is_told(where: ml.Expression) -> None:
    assert implied(where).equals(field > n(1))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("where", "error", "told"),
    [
        ("n > 5", ml.UsageError, r"is no filter \(use ml\.col"),
        (ml.col("m") > 5, ml.UnknownNameError, "readings has no column 'm'"),
        (pc.field("m") > 5, ml.UnknownNameError, "readings has no column 'm'"),
        (N + 1, ml.SchemaMismatchError, "is int64, not bool"),
        (S > 5, ml.SchemaMismatchError, "does not fit readings"),
        (pc.field("s") > 5, ml.SchemaMismatchError, "does not fit readings"),
        (pc.field("n").cast(pa.int8(), safe=True) == "a", ml.SchemaMismatchError, "does not fit readings"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_columns_is_refused(where: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        row_filter(where, SCHEMA, label="readings")


def test_an_arrow_filter_is_of_the_columns_it_names_and_those_at_hand() -> None:
    found = row_filter((pc.field("n") > 5) & (pc.field("s") == "a"), SCHEMA, label="readings", at_hand=["x"])

    assert found.columns == ("x", "n", "s")

"""asof_join agrees with pandas, Polars and DuckDB on random tables, wherever these agree with one another on what is asked.

They differ from us where this file stays silent: ties of distance (`nearest`: pandas takes the earlier row), ties of time (DuckDB names no
winner; pandas' `nearest` takes the first of the rows ahead), null keys (in pandas they match), NaN.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml

duckdb = pytest.importorskip("duckdb")
pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

SECOND = 10**6
WAYS = [(direction, exact) for direction in ("backward", "forward", "nearest") for exact in (True, False)]


def tables(seed: int, key: str, *, ties: bool = False, spread: int = 1) -> tuple[pa.Table, pa.Table]:
    """Left and right in order of time. Without ties no key has two rows of one time; with spread 4, left and right never share one."""
    rng = np.random.default_rng(seed)
    left_keys, right_keys = rng.integers(0, 12, 300), rng.integers(0, 10, 400)
    left_times = np.sort(rng.integers(0, 200, 300)) * spread + (spread > 1)
    right_times = np.sort(rng.integers(0, 200, 400)) * spread
    right = pa.table({"key": right_keys, "time": right_times, "row": np.arange(400)})
    if not ties:
        first = right.group_by(["key", "time"]).aggregate([("row", "min")])["row_min"].combine_chunks().sort()
        right = right.take(first)
    return as_asked(pa.table({"key": left_keys, "time": left_times, "place": np.arange(300)}), key), as_asked(right, key)


def as_asked(table: pa.Table, key: str) -> pa.Table:
    times = pa.array(table["time"].to_numpy() * SECOND).cast(pa.timestamp("us"))
    keys = table["key"] if key == "int" else pa.array([f"key_{value}" for value in table["key"].to_pylist()])
    return table.set_column(0, "key", keys).set_column(1, "time", times)


def rows_of_mlstore(left: pa.Table, right: pa.Table, **switches: Any) -> list[int | None]:
    shuffled = np.random.default_rng(0).permutation(left.num_rows)
    answer = ml.asof_join(left.take(shuffled), right, on="time", by="key", **switches)
    return answer.sort_by("place")["row"].to_pylist()


@pytest.mark.parametrize("key", ["int", "text"])
@pytest.mark.parametrize(("direction", "exact"), WAYS)
@pytest.mark.parametrize("tolerance", [None, 3])
def test_pandas_agrees(key: str, direction: Any, exact: bool, tolerance: int | None) -> None:
    left, right = tables(1, key, ties=direction != "nearest", spread=4 if direction == "nearest" else 1)
    longest = None if tolerance is None else timedelta(seconds=tolerance)
    merged = pandas.merge_asof(
        left.to_pandas(), right.to_pandas(), on="time", by="key", direction=direction, allow_exact_matches=exact, tolerance=longest
    )

    rows = rows_of_mlstore(left, right, direction=direction, allow_exact_matches=exact, tolerance=longest)

    assert rows == [None if np.isnan(row) else int(row) for row in merged["row"]]
    assert 20 < sum(row is not None for row in rows) < 300


@pytest.mark.parametrize("key", ["int", "text"])
@pytest.mark.parametrize(("direction", "exact"), WAYS)
@pytest.mark.parametrize("tolerance", [None, 3])
def test_polars_agrees(key: str, direction: Any, exact: bool, tolerance: int | None) -> None:
    left, right = tables(2, key, ties=direction != "nearest", spread=4 if direction == "nearest" else 1)
    longest = None if tolerance is None else timedelta(seconds=tolerance)
    joined = polars.from_arrow(left).join_asof(
        polars.from_arrow(right),
        on="time",
        by="key",
        strategy=direction,
        allow_exact_matches=exact,
        tolerance=longest,
        check_sortedness=False,
    )

    rows = rows_of_mlstore(left, right, direction=direction, allow_exact_matches=exact, tolerance=longest)

    assert rows == joined["row"].to_list()
    assert 20 < sum(row is not None for row in rows) < 300


@pytest.mark.parametrize("key", ["int", "text"])
@pytest.mark.parametrize(
    ("direction", "exact", "compares"), [(*way, sign) for way, sign in zip(WAYS, [">=", ">", "<=", "<"], strict=False)]
)
def test_duckdb_agrees(key: str, direction: Any, exact: bool, compares: str) -> None:
    left, right = tables(3, key)
    query = f"SELECT r.row FROM l ASOF LEFT JOIN r ON l.key = r.key AND l.time {compares} r.time ORDER BY l.place"
    with duckdb.connect() as connection:
        connection.register("l", left)
        connection.register("r", right)
        expected = [row for (row,) in connection.sql(query).fetchall()]

    rows = rows_of_mlstore(left, right, direction=direction, allow_exact_matches=exact)

    assert rows == expected
    assert 20 < sum(row is not None for row in rows) < 300


def test_frames_of_pandas_and_polars_are_taken_as_they_are() -> None:
    left, right = tables(4, "text")
    expected = ml.asof_join(left, right, on="time", by="key")["row"].to_pylist()

    of_pandas = ml.asof_join(left.to_pandas(), right.to_pandas(), on="time", by="key")["row"].to_pylist()
    of_polars = ml.asof_join(polars.from_arrow(left), polars.from_arrow(right), on="time", by="key")["row"].to_pylist()

    assert of_pandas == of_polars == expected

"""Bulk loads: whatever the order and the chunks of a table, its rows and its newest values are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.engine import limits
from mlstore.engine.history import online, runs
from mlstore.engine.writing import ingest

ROWS, KEYS = 400, 37
TYPES = {
    "ratio": ml.float64,
    "count": ml.int32,
    "tiny": ml.int8,
    "short": ml.int16,
    "flag": ml.bool_,
    "name": ml.string,
    "place": ml.vector(2),
    "holed": ml.float64,
}


@pytest.fixture(autouse=True)
def loads_of_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIRECT_ROWS", 8)
    monkeypatch.setattr(limits, "SEGMENT_ROWS", 64)
    monkeypatch.setattr(runs, "CHUNK_ROWS", 1)
    monkeypatch.setattr(ingest, "ONLINE_ROWS", 5)
    monkeypatch.setattr(online, "_FEW", 2)


@pytest.fixture
def wide(store: ml.Store) -> ml.Store:
    user = ml.Entity("user", keys={"user": ml.int64})
    store.apply(user, ml.FeatureView("wide", entity=user, schema=TYPES, timestamp="at"))
    return store


def rows_of(users: np.ndarray[Any, Any], seconds: np.ndarray[Any, Any], *, seed: int = 1) -> pa.Table:
    rng, count = np.random.default_rng(seed), len(users)
    values = rng.integers(-100, 100, count)
    columns = {
        "user": pa.array(users.astype(np.int64)),
        "at": pa.array(seconds.astype(np.int64) * 1_000_000, pa.timestamp("us", "UTC")),
        "ratio": pa.array(rng.standard_normal(count)),
        "count": pa.array(values.astype(np.int32)),
        "tiny": pa.array(values.astype(np.int8)),
        "short": pa.array(values.astype(np.int16)),
        "flag": pa.array(values > 0),
        "name": pa.array([f"user {value}" for value in values]),
        "place": pa.FixedSizeListArray.from_arrays(pa.array(rng.standard_normal(2 * count).astype(np.float32)), 2),
        "holed": pa.array(rng.standard_normal(count), mask=values % 3 == 0),
    }
    return pa.table(columns)


def in_chunks(table: pa.Table, sizes: list[int]) -> pa.Table:
    parts, start = [], 0
    for size in sizes:
        parts.append(table.slice(start, size).combine_chunks())
        start += size
    return pa.concat_tables([*parts, table.slice(start).combine_chunks()])


def sorted_rows(table: pa.Table) -> list[dict[str, Any]]:
    return table.sort_by([("user", "ascending"), ("at", "ascending")]).to_pylist()


@pytest.mark.parametrize("chunks", [[], [100, 0, 250], [1] * 40])
@pytest.mark.parametrize("order", ["shuffled", "by time", "by user and time"])
def test_a_load_keeps_every_row_and_the_newest_of_each_key(wide: ml.Store, order: str, chunks: list[int]) -> None:
    rng, numbers = np.random.default_rng(7), np.arange(ROWS)
    places = {"shuffled": rng.permutation(ROWS), "by time": numbers, "by user and time": np.lexsort([numbers, numbers % KEYS])}[order]
    table = rows_of(numbers % KEYS, numbers).take(pa.array(places))

    wide.write("wide", in_chunks(table, chunks))

    assert sorted_rows(wide.read("wide").table().select(table.column_names)) == sorted_rows(table)
    newest = sorted_rows(table.filter(pa.compute.greater_equal(table["at"], pa.scalar((ROWS - KEYS) * 1_000_000, table["at"].type))))
    answer = wide.online_features(["wide"], {"user": list(range(KEYS))})
    assert answer.select(["user", *TYPES]).to_pylist() == [{name: row[name] for name in ("user", *TYPES)} for row in newest]
    wide.verify()


@pytest.mark.parametrize("second", ["the same keys", "keys between", "keys before", "keys behind"])
@pytest.mark.parametrize("seconds", [10, 90])
def test_a_second_load_gives_online_rows_only_where_it_is_newer(wide: ml.Store, second: str, seconds: int) -> None:
    users = {"the same keys": 2 * np.arange(20), "keys between": 2 * np.arange(20) + 1, "keys before": -np.arange(1, 21)}
    first, later = 2 * np.arange(20), users.get(second, 100 + np.arange(20))
    tables = rows_of(first, np.full(20, 50)), rows_of(later, np.full(20, seconds), seed=2)

    for table in tables:
        wide.write("wide", table)

    expected = {row["user"]: row["ratio"] for row in tables[0].to_pylist()}
    for row in tables[1].to_pylist():
        if row["user"] not in expected or seconds > 50:
            expected[row["user"]] = row["ratio"]
    asked = sorted(expected)
    assert wide.online_features(["wide:ratio"], {"user": asked})["ratio"].to_pylist() == [expected[user] for user in asked]
    wide.verify()

"""What versions hold and what they alone hold; and that content in the file already is told of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml

KEY = ml.Entity("key", keys={"key": ml.int64})
VIEW = ml.FeatureView("numbers", entity=KEY, schema={"a": ml.float64})


def write(store: ml.Store, keys: range, value: float) -> None:
    times = pa.array(np.zeros(len(keys), "datetime64[us]"))
    store.write("numbers", pa.table({"key": np.array(keys), "event_timestamp": times, "a": np.full(len(keys), value)}), mode="upsert")


def sizes(store: ml.Store) -> dict[str, dict[str, Any]]:
    return {each["version"]: each for each in store.version_sizes().to_pylist()}


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_version_counts_its_rows_and_those_that_it_alone_shows(store: ml.Store, is_sealed: bool) -> None:
    store.apply(KEY, VIEW)
    write(store, range(100), 1.0)
    store.snapshot("v1")
    write(store, range(25), 2.0)
    trial = store.branch("trial")
    trial.delete("numbers", keys={"key": list(range(50, 100))})
    if is_sealed:
        store.optimize()

    found = sizes(store)

    assert {name: (each["kind"], each["rows"]) for name, each in found.items()} == {
        "main": ("branch", 100),
        "trial": ("branch", 50),
        "v1": ("snapshot", 100),
    }
    row = found["main"]["logical_bytes"] / 100
    assert row > 8
    assert found["trial"]["logical_bytes"] == pytest.approx(50 * row, abs=2)
    assert [round(found[name]["exclusive_bytes"] / row) for name in ("main", "trial", "v1")] == [0, 0, 25]
    assert found["v1"]["commit"] == store.info()["snapshots"]["v1"]


def test_an_empty_store_and_a_table_without_rows_have_no_bytes(store: ml.Store) -> None:
    empty = sizes(store)
    store.apply(KEY, VIEW)

    assert [(each["rows"], each["logical_bytes"], each["commit"]) for each in empty.values()] == [(0, 0, None)]
    assert [(each["rows"], each["logical_bytes"]) for each in sizes(store).values()] == [(0, 0)]


def test_content_that_is_shared_is_told_of(store: ml.Store) -> None:
    store.apply(KEY, VIEW)
    write(store, range(20_000), 1.0)
    alone = store.info()["shared_bytes"]
    write(store, range(20_000), 1.0)

    assert alone == 0
    assert store.info()["shared_bytes"] > 3 * 8 * 20_000

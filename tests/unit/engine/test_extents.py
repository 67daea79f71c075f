"""Contents that are in the file already: written once, shared for as long as anybody needs them, and counted right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.engine.history import extents
from mlstore.engine.history.extents import SHARES
from mlstore.format.manifest import encode_fields

ROWS = 20_000

KEY = ml.Entity("key", keys={"key": ml.int64})
VIEW = ml.FeatureView("numbers", entity=KEY, schema={"a": ml.float64, "b": ml.float64, "c": ml.float64, "note": ml.string})


def numbers(*, seed: int = 0, changed: str = "") -> pa.Table:
    """Every key once; another seed gives other values to one column."""
    columns: dict[str, object] = {"key": np.arange(ROWS), "event_timestamp": pa.array(np.zeros(ROWS, "datetime64[us]"))}
    for number, name in enumerate(("a", "b", "c")):
        columns[name] = np.random.default_rng(10 * number + (seed if name == changed else 0)).random(ROWS)
    columns["note"] = [f"note {number}" for number in range(ROWS)]
    return pa.table(columns)


def stored(store: ml.Store) -> tuple[int, int]:
    """Bytes of large extents, and how many aliases they have."""
    with store._session.reading() as context:
        found = [share for _, _, share in extents.shares(context.reader)]
        return sum(share.size for share in found), sum(share.aliases for share in found)


@pytest.fixture
def full(store: ml.Store) -> ml.Store:
    store.apply(KEY, VIEW)
    store.write("numbers", numbers())
    return store


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_the_same_written_again_adds_no_data(full: ml.Store, mode: str) -> None:
    before = stored(full)

    full.write("numbers", numbers(), mode=mode)

    assert stored(full) == (before[0], 8)  # keys, offsets, times, three columns, and the two buffers of the notes
    assert full.read("numbers").num_rows == (2 * ROWS if mode == "append" else ROWS)
    full.verify()


def test_of_a_table_with_one_column_changed_only_that_column_is_written(full: ml.Store) -> None:
    before = stored(full)[0]
    full.snapshot("v1")

    full.write("numbers", numbers(seed=1, changed="b"), mode="upsert")

    assert 8 * ROWS <= stored(full)[0] - before < 13 * ROWS  # extents grow in steps
    assert full.read("numbers")["b"].to_numpy().tolist() == numbers(seed=1, changed="b")["b"].to_numpy().tolist()
    assert full.at("v1").read("numbers")["b"].to_numpy().tolist() == numbers()["b"].to_numpy().tolist()
    full.verify()


def test_a_branch_shares_with_its_parent_what_both_wrote(full: ml.Store) -> None:
    trial = full.branch("trial")
    before = stored(full)[0]

    trial.write("numbers", numbers(), mode="upsert")

    assert stored(full)[0] == before
    trial.verify()


def test_shared_content_outlives_the_segment_that_brought_it(full: ml.Store, store_path: Path) -> None:
    full.write("numbers", numbers(seed=1, changed="b"), mode="upsert")
    size = stored(full)[0]

    full.retain(last=1)  # the first segment is seen by no version any more

    assert 8 * ROWS <= size - stored(full)[0] < 13 * ROWS
    assert full.read("numbers")["a"].to_numpy().tolist() == numbers()["a"].to_numpy().tolist()
    full.verify()
    with ml.open(store_path) as again:
        assert again.read("numbers")["b"].to_numpy().tolist() == numbers(seed=1, changed="b")["b"].to_numpy().tolist()


def test_the_last_one_to_go_takes_the_bytes_with_it(full: ml.Store) -> None:
    for seed in range(1, 4):
        full.write("numbers", numbers(seed=seed, changed="b"), mode="upsert")
    full.forget("key", {"key": list(range(ROWS))})

    assert stored(full) == (0, 0)
    with full._session.reading() as context:
        assert [context.reader.count(space) for space in (extents.EXTENTS, SHARES, extents.CONTENTS)] == [0, 0, 0]
    full.verify()


def test_arrays_of_a_shared_content_stay_valid_whoever_goes_first(full: ml.Store) -> None:
    first = full.read("numbers", columns=["a"]).table()["a"]
    full.write("numbers", numbers(seed=1, changed="b"), mode="upsert")
    second = full.read("numbers", columns=["a"]).table()["a"]
    expected = numbers()["a"].to_pylist()

    full.retain(last=1)
    assert first.to_pylist() == expected
    del first
    full.optimize()
    full.forget("key", {"key": list(range(ROWS))})
    full.write("numbers", numbers(seed=9, changed="a"))

    assert second.to_pylist() == expected
    del second
    full.optimize()
    full.verify()


def test_equal_checksums_of_unequal_bytes_are_kept_apart(full: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extents, "checksum_of", lambda value: 7)
    before = stored(full)

    full.write("numbers", numbers(seed=1, changed="b"), mode="upsert")
    full.write("numbers", numbers(seed=2, changed="b"), mode="upsert")

    assert stored(full)[0] > before[0]
    assert full.read("numbers")["b"].to_numpy().tolist() == numbers(seed=2, changed="b")["b"].to_numpy().tolist()
    full.verify()


@pytest.mark.parametrize(
    ("aliases", "is_orphan", "told"), [(3, False, "has 1 aliases, its record says 3"), (1, True, "is orphan by its record")]
)
def test_verify_counts_aliases_itself(full: ml.Store, aliases: int, is_orphan: bool, told: str) -> None:
    full.write("numbers", numbers(), mode="upsert")
    full.verify()
    with full._session.writing() as context:
        key, _ = next(context.writer.scan(SHARES))
        share = next(extents.shares(context.writer))[2]
        context.writer.put(SHARES, key, encode_fields([share.checksum, share.size, aliases, is_orphan]))

    with pytest.raises(ml.CorruptionError, match=told):
        full.verify()

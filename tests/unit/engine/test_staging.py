"""Bulk loads: seen by nobody until published, gone without a trace when they fail or their process dies."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather

import mlstore as ml
from mlstore.engine import limits
from mlstore.engine.history.extents import EXTENTS
from mlstore.engine.history.staging import STAGED, Stage
from mlstore.engine.versions import COUNTERS
from mlstore.engine.writing import ingest
from tests.support.data import fact_table
from tests.support.model import Fact
from tests.support.worlds import PLAIN, SECOND


@pytest.fixture(autouse=True)
def loads_in_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write is a bulk load; every batch of it a run of its own, staged at once in segments of a few rows."""
    for name, size in {"DIRECT_ROWS": 1, "SEGMENT_ROWS": 4, "CHUNK_BYTES": 1, "STAGE_BYTES": 1}.items():
        monkeypatch.setattr(limits, name, size)


@pytest.fixture
def plain(store: ml.Store) -> ml.Store:
    store.apply(*PLAIN.definitions())
    store.write("plain", rows(0, 3))
    return store


def rows(first: int, last: int, **changes: Any) -> pa.Table:
    table = fact_table(PLAIN, [Fact((number % 3,), number * SECOND, {"amount": number}) for number in range(first, last)])
    for name, column in changes.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def stream(*tables: pa.Table) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for table in tables:
            yield from table.combine_chunks().to_batches()

    return pa.RecordBatchReader.from_batches(tables[0].schema, batches())


def contents(store: ml.Store) -> dict[str, Any]:
    """All of the file that a load touches."""
    with store._session.environment.reader() as reader:
        return {
            "extents": [key for key, _ in reader.scan(EXTENTS, keys_only=True)],
            "staged": [key for key, _ in reader.scan(STAGED)],
            "seq": dict(reader.scan(COUNTERS))[b"seq"],
            "commits": [commit.id for commit in store.history()],
            "tables": store.info()["tables"],
            "rows": store.read("plain").to_pylist(),
        }


def test_a_stream_becomes_one_commit_with_a_run_per_piece(plain: ml.Store) -> None:
    commits, runs = len(plain.history()), plain.info()["tables"][0]["runs"]

    commit = plain.write("plain", stream(rows(10, 19), rows(20, 25), rows(30, 31)))

    assert len(plain.history()) == commits + 1
    assert plain.info()["tables"][0]["runs"] == runs + 3
    assert commit.changes[0].rows == 15
    assert contents(plain)["staged"] == []
    plain.verify()


def test_nobody_sees_a_load_before_it_is_published(plain: ml.Store, store_path: Path) -> None:
    seen = []

    def look(done: int, total: int | None) -> None:
        with ml.open(store_path, read_only=True) as other:
            seen.append((other.read("plain").num_rows, len(other.history())))

    commits = len(plain.history())
    plain.write("plain", stream(rows(10, 30), rows(30, 50)), progress=look)

    assert len(seen) > 3
    assert set(seen[:-1]) == {(3, commits)}
    assert plain.read("plain").num_rows == 43


def test_progress_counts_every_row(plain: ml.Store) -> None:
    told: list[tuple[int, int | None]] = []

    plain.write("plain", rows(10, 30), progress=lambda done, total: told.append((done, total)))

    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (20, 20)


class Stopped(Exception):
    """Raised by a test in the middle of a load."""


def test_a_load_of_bad_data_leaves_nothing_behind(plain: ml.Store) -> None:
    before = contents(plain)
    bad = rows(30, 40, card=pa.array([1] * 9 + [None], pa.int64()))

    with pytest.raises(ml.InvalidDataError):
        plain.write("plain", stream(rows(10, 30), bad))

    assert contents(plain) == before
    plain.verify()


def test_a_load_that_is_interrupted_leaves_nothing_behind(plain: ml.Store) -> None:
    before = contents(plain)

    def stop(done: int, total: int | None) -> None:
        if done > 30:
            raise Stopped

    with pytest.raises(Stopped):
        plain.write("plain", stream(rows(10, 40), rows(40, 60)), progress=stop)

    assert contents(plain) == before
    plain.verify()


@pytest.mark.parametrize("stage_bytes", [1, 1 << 26], ids=["staged in the file", "staged in memory"])
def test_a_load_that_fails_while_it_is_published_leaves_nothing_behind(
    plain: ml.Store, monkeypatch: pytest.MonkeyPatch, stage_bytes: int
) -> None:
    monkeypatch.setattr(limits, "STAGE_BYTES", stage_bytes)
    before = contents(plain)

    def fail(*arguments: Any) -> None:
        raise Stopped

    monkeypatch.setattr(ingest.upkeep, "run", fail)
    with pytest.raises(Stopped):
        plain.write("plain", stream(rows(10, 30), rows(30, 40)))

    monkeypatch.undo()
    assert contents(plain) == before
    plain.write("plain", rows(50, 60))
    assert plain.read("plain").num_rows == 13
    plain.verify()


def staged(stage: Stage, *, segments: int) -> None:
    for segment in range(segments):
        stage.put(segment, 0, np.full(100, segment, np.uint8))
    stage.settle()


def test_a_failed_publication_takes_no_segment_of_the_load_that_came_after(plain: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # The numbers a transaction took are free again once it failed: whoever writes next has them.
    monkeypatch.setattr(limits, "STAGE_BYTES", 1 << 26)
    stage = Stage(plain._session)
    stage.__enter__()
    stage.put(0, 0, np.zeros(100, np.uint8))
    with suppress(Stopped), plain._session.writing() as context:
        stage.publish(context.writer)
        raise Stopped
    plain.write("plain", rows(10, 20))

    stage.__exit__(None, None, None)

    plain.verify()
    assert plain.read("plain").num_rows == 13


def test_the_stage_of_a_load_under_way_is_not_swept(plain: ml.Store) -> None:
    with Stage(plain._session) as stage:
        staged(stage, segments=2)
        before = contents(plain)

        plain.write("plain", rows(10, 20))
        plain.optimize()

        after = contents(plain)
        assert len(before["staged"]) == 2
        assert after["staged"] == before["staged"]
        assert set(before["extents"][-2:]) <= set(after["extents"])
    assert contents(plain)["staged"] == []


@pytest.mark.parametrize("visitor", ["load", "optimize"])
def test_what_a_dead_process_staged_is_swept(plain: ml.Store, store_path: Path, tmp_path: Path, visitor: str) -> None:
    before = contents(plain)
    feather.write_feather(rows(10, 50), tmp_path / "data.arrow", compression="uncompressed")
    script = """
        import os, sys
        import mlstore as ml
        from mlstore.engine import limits
        from pyarrow import feather

        for name, size in {"DIRECT_ROWS": 1, "SEGMENT_ROWS": 4, "STAGE_BYTES": 1, "CHUNK_BYTES": 1}.items():
            setattr(limits, name, size)
        store, data = ml.open(sys.argv[1]), feather.read_table(sys.argv[2])
        store.write("plain", data.to_reader(max_chunksize=20), progress=lambda done, total: done > 30 and os._exit(9))
    """
    place = [str(store_path), str(tmp_path / "data.arrow")]
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(script), *place], timeout=120, check=False)
    littered = contents(plain)
    assert died.returncode == 9
    assert littered["staged"]
    assert littered["rows"] == before["rows"]

    if visitor == "load":
        plain.write("plain", rows(10, 12))
    else:
        plain.optimize()

    swept = contents(plain)
    assert swept["staged"] == []
    assert not {key for key in swept["extents"] if key[:8] in littered["staged"]}
    plain.verify()


def test_an_upsert_in_pieces_replaces_across_the_pieces(plain: ml.Store) -> None:
    newer = rows(0, 3, amount=pa.array([100, 101, 102], pa.int64()))
    newest = rows(1, 2, amount=pa.array([200], pa.int64()))

    plain.write("plain", stream(newer, newest), mode="upsert")

    assert sorted(plain.read("plain")["amount"].to_pylist()) == [100, 102, 200]
    assert plain.online_features(["plain:amount"], {"card": 1})["amount"] == 200
    plain.verify()


def test_rows_of_a_load_became_known_when_it_was_committed(plain: ml.Store) -> None:
    commit = plain.write("plain", stream(rows(10, 13), rows(13, 15)))

    created = plain.read("plain", columns=["created", "amount"]).to_pylist()
    assert {row["created"] for row in created if row["amount"] >= 10} == {commit.time}


def test_an_empty_stream_is_an_empty_commit(plain: ml.Store) -> None:
    before = contents(plain)

    commit = plain.write("plain", pa.RecordBatchReader.from_batches(rows(0, 1).schema, iter(())))

    assert commit.changes[0].rows == 0
    assert contents(plain)["rows"] == before["rows"]
    plain.verify()


def test_a_load_under_way_is_not_swept_where_there_are_no_locks_to_lease_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlstore.storage.lease.locks_are_supported", lambda: False)
    with ml.open(tmp_path / "unlocked.mls") as store:
        store.apply(*PLAIN.definitions())

        def write_beside(done: int, total: int | None) -> None:
            if done > 25:
                store.write("plain", rows(0, 3), mode="upsert")

        store.write("plain", stream(rows(10, 30), rows(30, 40)), progress=write_beside)

        assert store.read("plain").num_rows == 33
        store.verify()

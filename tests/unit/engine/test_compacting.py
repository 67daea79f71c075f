"""Compaction: the file at the size of what lives in it, every answer as before, every array valid, and clear refusals."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.engine import limits

USER = ml.Entity("user", keys={"user_id": ml.int64})
SPEND = ml.FeatureView("spend", entity=USER, schema={"amount": ml.float64})
ROWS = 40_000
DAY_US = 86_400_000_000


def spend(day: int) -> pa.Table:
    """One row of every user."""
    times = pa.array(np.full(ROWS, day * DAY_US), pa.timestamp("us", "UTC"))
    return pa.table({"user_id": np.arange(ROWS), "event_timestamp": times, "amount": np.arange(ROWS) + day / 4})


def answers(store: ml.Store) -> tuple[object, ...]:
    return (
        store.read("spend").table(),
        store.at("first").read("spend").table(),
        store.online_features(["spend"], {"user_id": [0, 7, ROWS]}),
        [commit.id for commit in store.history()],
    )


def mapped_files(path: Path) -> list[str]:
    """Files of this path that this process has mapped, those without a name included."""
    with open("/proc/self/maps", encoding="utf-8") as table:
        return [line for line in table if str(path) in line and "-lock" not in line and "compact-lock" not in line]


def siblings(path: Path) -> list[str]:
    return sorted(name.name for name in path.parent.iterdir())


@pytest.fixture
def bloated(store: ml.Store) -> Iterator[ml.Store]:
    """A store whose file is for the most part free pages."""
    store.apply(USER, SPEND)
    store.write("spend", spend(1))
    store.snapshot("first")
    for day in range(2, 6):
        store.write("spend", spend(day))
    store.optimize()
    store.optimize(tier="cold")
    return store


def live_bytes(store: ml.Store) -> int:
    facts = store.info()["environment"]
    return int((facts["page_count"] - facts["free_pages"]) * facts["page_bytes"])


def test_the_file_has_the_size_of_what_lives_in_it_and_every_answer_is_as_before(bloated: ml.Store, store_path: Path):
    before = store_path.stat().st_size, live_bytes(bloated), answers(bloated)
    assert before[0] > 2 * before[1], "the store is not bloated, so the test would prove nothing"

    report = bloated.compact()

    assert (report.bytes_before, report.bytes_after) == (before[0], store_path.stat().st_size)
    assert report.bytes_freed == report.bytes_before - report.bytes_after
    assert report.bytes_after <= 1.1 * before[1]
    assert answers(bloated) == before[2]
    assert siblings(store_path) == ["test.mls", "test.mls-lock"]
    bloated.verify()


def test_it_is_written_and_compacted_again_and_again(bloated: ml.Store):
    for day in range(10, 14):
        bloated.write("spend", spend(day))
        bloated.compact()

    assert bloated.read("spend").num_rows == 9 * ROWS
    assert bloated.online_features(["spend"], {"user_id": 4})["amount"] == 4 + 13 / 4
    bloated.verify()


def test_every_handle_of_the_process_sees_the_new_file(bloated: ml.Store, store_path: Path):
    with ml.open(store_path) as other, ml.open(store_path, read_only=True) as watcher:
        old = other.at("first")
        bloated.compact()

        other.write("spend", {"user_id": 7, "event_timestamp": "2030-01-01", "amount": 0.5})

        for handle in (bloated, other, watcher):
            assert handle.online_features(["spend"], {"user_id": 7})["amount"] == 0.5
        assert old.read("spend").num_rows == ROWS
        bloated.verify()


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="the system does not tell what is mapped")
def test_arrays_stay_valid_and_the_old_file_lives_as_long_as_they_do(store: ml.Store, store_path: Path):
    store.apply(USER, SPEND)
    store.write("spend", spend(1))
    with ml.open(store_path) as idle:
        amounts = store.read("spend", columns=["amount"]).table()["amount"].chunk(0)
        store.compact()
        store.delete("spend", start="1970-01-01")
        store.optimize(tier="cold")
        store.compact()

        assert amounts.to_numpy().tolist() == (np.arange(ROWS) + 0.25).tolist()
        assert len(mapped_files(store_path)) == 2
        del amounts
        gc.collect()
        assert len(mapped_files(store_path)) == 1
        assert idle.read("spend").num_rows == 0


def test_a_reader_at_work_goes_on_in_the_old_file(bloated: ml.Store):
    with bloated._session.reading() as context:
        relation = context.catalog.relation("spend")
        bloated.compact()
        bloated.delete("spend", start="1970-01-01")
        bloated.optimize()

        blocks = context.history(relation).blocks()

        assert sum(len(block.column(0)) for block in blocks) == 5 * ROWS
    assert bloated.read("spend").num_rows == 0


def test_batches_begun_before_are_read_to_their_end(bloated: ml.Store, monkeypatch: pytest.MonkeyPatch):
    batches = iter(bloated.read("spend").batches())
    first = next(batches)
    bloated.compact()
    bloated.delete("spend", start="1970-01-01")
    bloated.optimize()

    assert first.num_rows + sum(batch.num_rows for batch in batches) == 5 * ROWS


def test_a_bulk_load_under_way_goes_on_in_the_new_file(bloated: ml.Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "STAGE_BYTES", 1 << 16)
    monkeypatch.setattr(limits, "CHUNK_BYTES", 1 << 18)
    staged = []

    def tell(done: int, total: int | None) -> None:
        if len(staged) < 3:
            staged.append(bloated.info()["environment"]["keyspaces"]["staged"])
            bloated.compact()
            bloated.optimize()

    bloated.write("spend", spend(20).to_reader(max_chunksize=5000), progress=tell)

    assert max(staged) > 0, "nothing was staged, so the test would prove nothing"
    assert bloated.read("spend").num_rows == 6 * ROWS
    bloated.verify()


def test_a_store_in_memory_is_compacted_and_leaves_nothing_behind():
    store = ml.open(":memory:")
    store.apply(USER, SPEND)
    store.write("spend", spend(1))
    store.optimize(tier="cold")
    place = Path(store._session.environment._place)

    report = store.compact()

    assert report.bytes_after < report.bytes_before
    assert store.read("spend").num_rows == ROWS
    store.verify()
    store.close()
    del store
    gc.collect()
    assert not place.parent.exists()


def test_the_rights_of_the_file_stay_as_they_are(bloated: ml.Store, store_path: Path):
    store_path.chmod(0o640)

    bloated.compact()

    assert store_path.stat().st_mode & 0o777 == 0o640


def test_what_a_killed_compaction_left_is_removed_when_the_file_is_opened(store: ml.Store, store_path: Path):
    store.close()
    gc.collect()
    for leftover in ("test.mls-compact", "test.mls-compact-lock"):
        (store_path.parent / leftover).write_bytes(b"half a file")

    with ml.open(store_path) as opened:
        opened.verify()

        assert siblings(store_path) == ["test.mls", "test.mls-lock"]


# ---------------------------------------------------------------- refusals


def test_handles_that_only_read_do_not_compact(bloated: ml.Store, store_path: Path):
    with ml.open(store_path, read_only=True) as watcher, pytest.raises(ml.ReadOnlyError):
        watcher.compact()
    with pytest.raises(ml.ReadOnlyError):
        bloated.at("first").compact()


def test_a_writer_at_work_in_the_same_thread_is_told_so(bloated: ml.Store):
    with bloated._session.writing(), pytest.raises(ml.UsageError, match="writing already"):
        bloated._session.environment.compact()


def test_a_file_that_was_moved_is_left_alone(bloated: ml.Store, store_path: Path):
    moved = store_path.rename(store_path.with_name("moved.mls"))
    store_path.write_bytes(b"somebody else's")

    with pytest.raises(ml.StoreError, match="was moved"):
        bloated.compact()

    assert store_path.read_bytes() == b"somebody else's"
    assert moved.stat().st_size > 0
    store_path.unlink()
    moved.rename(store_path)


def test_a_file_of_two_names_is_not_compacted(bloated: ml.Store, store_path: Path):
    os.link(store_path, store_path.with_name("other.mls"))

    with pytest.raises(ml.StoreError, match="several names"):
        bloated.compact()

    assert store_path.samefile(store_path.with_name("other.mls"))


def test_without_locks_that_tell_who_is_there_it_refuses(bloated: ml.Store):
    bloated._session.environment.use().presence.leave()

    with pytest.raises(ml.StoreError, match="does not tell who else"):
        bloated.compact()

    bloated.verify()


@pytest.mark.parametrize("call", ["fsync", "rename", "copymode"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failure_on_the_way_leaves_the_old_file_and_nothing_beside_it(
    bloated: ml.Store, store_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
):
    before, inode = answers(bloated), store_path.stat().st_ino

    def fail(*args: object, **options: object) -> None:
        if "-compact" in str(args[0]) and str(args[-1]).endswith("-lock"):
            os.replace(*args)  # putting the lock file back
            return
        if call != "rename" or not str(args[0]).endswith("-lock"):
            raise OSError(code, os.strerror(code))
        os.replace(*args)

    with monkeypatch.context() as broken:
        broken.setattr(f"{'shutil' if call == 'copymode' else 'os'}.{call}", fail)
        with pytest.raises(ml.StoreFullError if code == errno.ENOSPC else ml.StoreError):
            bloated.compact()

    assert store_path.stat().st_ino == inode
    assert siblings(store_path) == ["test.mls", "test.mls-lock"]
    assert answers(bloated) == before
    bloated.write("spend", spend(30))
    bloated.compact()
    bloated.verify()

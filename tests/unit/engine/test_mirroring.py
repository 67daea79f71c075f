"""Mirrors: equal to their origin after each update, brought there by what they lack, and written by nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.engine.mirror import MIRROR
from mlstore.storage import backup
from mlstore.storage.keyspace import META, declared

KEY = ml.Entity("key", keys={"key": ml.int64})
VIEW = ml.FeatureView("numbers", entity=KEY, schema={"a": ml.float64, "b": ml.float64})


def write(store: ml.Store, keys: range, value: float, *, mode: str = "upsert") -> ml.Commit:
    count = len(keys)
    times = pa.array(np.zeros(count, "datetime64[us]"))
    columns = {"key": np.array(keys), "event_timestamp": times, "a": np.arange(count) + value, "b": np.arange(count) * value}
    return store.write("numbers", pa.table(columns), mode=mode)


def everything(store: ml.Store) -> dict[str, list[tuple[bytes, bytes]]]:
    """All of the file that a mirror has to have."""
    with store._session.environment.reader() as reader:
        return {space.name: list(reader.scan(space)) for space in declared() if space not in (META, MIRROR)}


@pytest.fixture
def mirror_path(tmp_path: Path) -> Path:
    return tmp_path / "mirror.mls"


@pytest.fixture
def origin(store: ml.Store) -> ml.Store:
    store.apply(KEY, VIEW)
    write(store, range(20_000), 1.0)
    store.snapshot("v1")
    return store


@pytest.fixture
def mirror(origin: ml.Store, mirror_path: Path) -> Iterator[ml.Store]:
    origin.clone(mirror_path)
    with ml.open(mirror_path) as opened:
        yield opened


def live(store: ml.Store) -> None:
    """Some of all that can happen to a store."""
    write(store, range(100), 2.0)
    trial = store.branch("trial")
    write(trial, range(20_000), 3.0)
    trial.apply(KEY, ml.FeatureView("numbers", entity=KEY, schema={"a": ml.float64, "b": ml.float64, "c": ml.string}))
    store.optimize(tier="cold")
    store.merge("trial", strategy="theirs")
    store.snapshot("v2")
    store.forget("key", {"key": [5]})
    store.rollback("v1")
    store.retain(last=1)
    write(store, range(7), 4.0)
    store.write("numbers", {"key": 99_999, "event_timestamp": "2026-01-01", "a": 1.0, "b": 2.0})


def test_a_clone_is_a_mirror_before_it_has_its_name(origin: ml.Store, mirror_path: Path, monkeypatch: pytest.MonkeyPatch):
    # A power cut between the two left a store of its own, which no push would follow.
    give_name, mirrors = backup._give_name, []

    def look_first(partial: str, target: str) -> None:
        with ml.open(partial, read_only=True) as unnamed:
            mirrors.append(unnamed.mirror_of())
        give_name(partial, target)

    monkeypatch.setattr(backup, "_give_name", look_first)

    origin.clone(mirror_path)

    assert mirrors != [None]
    assert origin.push(mirror_path).extents == 0


def test_a_clone_has_everything_and_only_reads(origin: ml.Store, mirror: ml.Store) -> None:
    assert everything(mirror) == everything(origin)
    found = mirror.mirror_of()
    assert found is not None
    assert found.origin == origin.path
    assert origin.mirror_of() is None
    for act in (
        lambda: write(mirror, range(3), 1.0),
        lambda: mirror.snapshot("v9"),
        lambda: mirror.branch("mine"),
        lambda: mirror.optimize(),
        lambda: mirror.retain(last=1),
        lambda: mirror.compact(),
        lambda: mirror.forget("key", {"key": [1]}),
    ):
        with pytest.raises(ml.ReadOnlyError, match="is a mirror of"):
            act()
    assert mirror.verify().checks["commits"] == 2


@pytest.mark.parametrize("way", ["push", "pull"])
def test_after_an_update_the_mirror_is_equal_whatever_happened_to_the_origin(origin: ml.Store, mirror: ml.Store, way: str) -> None:
    reader = mirror.reader(["numbers:a"])
    assert reader.online_features({"key": 99_999})["a"] is None
    for _ in range(2):
        live(origin)

        report = origin.push(mirror.path) if way == "push" else mirror.pull()

        assert everything(mirror) == everything(origin)
        assert report.commits > 3
        assert mirror.verify().checks == origin.verify().checks
        assert mirror.read("numbers").table() == origin.read("numbers").table()
        assert reader.online_features({"key": 99_999})["a"] == 1.0
        assert mirror.at("v1").read("numbers").num_rows == 19_999
        origin.delete_branch("trial")
        with origin._session.writing() as context:  # the next life makes them again
            context.writer.delete(next(space for space in declared() if space.name == "refs"), b"v2")


def test_only_what_is_missing_travels(origin: ml.Store, mirror: ml.Store) -> None:
    nothing = origin.push(mirror.path)
    write(origin, range(3), 2.0)
    few = origin.push(mirror.path)
    write(origin, range(50_000, 70_000), 5.0)
    many = origin.push(mirror.path)

    assert (nothing.commits, nothing.extents, nothing.records) == (0, 0, 0)
    assert (few.commits, few.extents, few.extent_bytes) == (1, 0, 0)
    assert many.commits == 1
    assert 3 * 160_000 < many.extent_bytes < 8 * 200_000


def test_a_clone_carried_here_brings_the_mirror_up_to_date(origin: ml.Store, mirror: ml.Store, tmp_path: Path) -> None:
    write(origin, range(3), 2.0)
    origin.clone(tmp_path / "carried.mls")

    report = mirror.pull(tmp_path / "carried.mls")

    assert report.commits == 1
    assert everything(mirror) == everything(origin)


def test_arrays_of_the_mirror_outlive_what_the_origin_drops(origin: ml.Store, mirror: ml.Store) -> None:
    write(origin, range(20_000), 1.0)  # shares all columns with the first
    origin.push(mirror.path)
    held = mirror.read("numbers", columns=["a"]).table()["a"]
    expected = held.to_pylist()
    origin.forget("key", {"key": list(range(20_000))})
    write(origin, range(30_000, 60_000), 9.0)

    mirror.pull()

    assert held.to_pylist() == expected
    assert not mirror.verify().problems
    with pytest.raises(ml.StoreBusyError, match="let go of them"):
        mirror.detach()
    del held
    mirror.pull()
    assert everything(mirror) == everything(origin)


def test_arrays_of_shared_content_outlive_the_segment_that_brought_it_and_theirs(origin: ml.Store, mirror: ml.Store) -> None:
    for _ in range(2):
        write(origin, range(30_000, 50_000), 1.5)
    origin.retain(last=1)  # the first of the two goes, and leaves the columns that the second shares
    origin.push(mirror.path)
    held = mirror.read("numbers", columns=["a"]).table()["a"]
    expected = held.to_pylist()
    origin.forget("key", {"key": list(range(30_000, 50_000))})
    for number in range(3):
        write(origin, range(60_000 + number, 90_000), 9.0 + number)
        mirror.pull()

    assert held.to_pylist() == expected
    assert not mirror.verify().problems
    del held
    mirror.pull()
    assert everything(mirror) == everything(origin)


def test_a_detached_mirror_is_a_store_of_its_own_and_no_mirror_any_more(origin: ml.Store, mirror: ml.Store) -> None:
    mirror.detach()

    write(mirror, range(5), 7.0)
    mirror.optimize()
    mirror.verify()
    with pytest.raises(ml.UsageError, match="a store of its own"):
        origin.push(mirror.path)
    with pytest.raises(ml.UsageError, match="a store of its own"):
        mirror.pull()


def test_files_that_are_no_mirrors_are_refused_and_left_as_they_were(origin: ml.Store, mirror: ml.Store, tmp_path: Path) -> None:
    with ml.open(tmp_path / "other.mls") as other:
        other.apply(KEY)
        with pytest.raises(ml.UsageError, match="it is another store"):
            origin.push(other.path)
    with pytest.raises(ml.UsageError, match="no such file"):
        origin.push(tmp_path / "nowhere.mls")
    assert not (tmp_path / "nowhere.mls").exists()
    with pytest.raises(ml.AlreadyExistsError):
        origin.clone(mirror.path)


@pytest.mark.parametrize("change", ["commit", "layout"])
def test_a_mirror_of_another_copy_is_refused(origin: ml.Store, mirror: ml.Store, tmp_path: Path, change: str) -> None:
    shutil.copy(origin.path, tmp_path / "copy.mls")
    with ml.open(tmp_path / "copy.mls") as copy:
        if change == "commit":
            write(copy, range(3), 8.0)
        else:
            copy.optimize(tier="cold")  # takes a number for its new segment, which the origin gives to another one
        copy.push(mirror.path)
    write(origin, range(20_000, 40_000), 4.0)
    before = everything(mirror)

    with pytest.raises(ml.UsageError, match="another copy"):
        origin.push(mirror.path)

    assert everything(mirror) == before


def test_an_update_that_was_interrupted_is_finished_by_the_next(
    origin: ml.Store, mirror: ml.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(mirror)
    write(origin, range(50_000, 90_000), 5.0)
    with monkeypatch.context() as broken:
        broken.setattr("mlstore.engine.keeping.mirroring._equalize", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            origin.push(mirror.path)
    between = everything(mirror)

    report = origin.push(mirror.path)

    assert {name: items for name, items in between.items() if name != "extents"} == {
        name: items for name, items in before.items() if name != "extents"
    }
    assert report.extents == 0
    assert everything(mirror) == everything(origin)

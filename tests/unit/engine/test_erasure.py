"""Forgetting, down to the bytes: once the file is compacted, nothing of the erased keys is in it, wherever they were."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlstore as ml
from tests.support.crash_limits import LIMITS

SECRET = "Wilhelmina-4711"
SAID = "she-said-this-in-confidence"
PERSON = ml.Entity("person", keys={"name": ml.string})
DIARY = ml.FeatureView("diary", entity=PERSON, schema={"entry": ml.string, "mood": ml.int64})
OTHERS = [f"person {number}" for number in range(60)]


def page(names: list[str], *hours: int) -> dict[str, list[object]]:
    rows = [(name, hour) for hour in hours for name in names]
    return {
        "name": [name for name, _ in rows],
        "event_timestamp": [f"2024-05-01T{hour:02}:00" for _, hour in rows],
        "entry": [f"{SAID} at {hour}" if name == SECRET else f"nothing at {hour}" for name, hour in rows],
        "mood": [hour for _, hour in rows],
    }


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store where the secret is in segments of both tiers, in tails, online, on a branch, and among deleted rows."""
    for name, size in LIMITS.items():
        monkeypatch.setattr(f"mlstore.engine.limits.{name}", size)
    path = tmp_path / "diary.mls"
    with ml.open(path) as store:
        store.apply(PERSON, DIARY)
        store.write("diary", page([*OTHERS, SECRET], *range(4)))
        store.optimize(tier="cold")
        store.snapshot("before")
        store.write("diary", page([*OTHERS, SECRET], *range(5, 9)))
        branch = store.branch("try")
        branch.write("diary", page([SECRET, "person 1"], 10))
        branch.delete("diary", keys={"name": [SECRET]}, start="2024-05-01T05:00", end="2024-05-01T06:00")
        store.write("diary", page([SECRET, "person 2"], 11))
        store.delete("diary", keys={"name": [SECRET]}, start="2024-05-01T02:00", end="2024-05-01T03:00")
    return path


def test_the_secret_is_in_the_file_before(path: Path):
    data = path.read_bytes()

    assert SECRET.encode() in data
    assert SAID.encode() in data


def test_nothing_of_a_forgotten_key_is_in_the_file_once_it_is_compacted(path: Path):
    with ml.open(path) as store:
        told = store.forget(PERSON, {"name": [SECRET]}, compact=True)

    data = path.read_bytes()
    assert sum(told.rows.values()) > 0
    assert SECRET.encode() not in data
    assert SAID.encode() not in data
    with ml.open(path) as store:
        store.verify()
        assert store.read("diary").num_rows == len(OTHERS) * 8 + 1
        assert SAID not in repr(store.at("before").read("diary").to_pylist())


def test_a_backup_made_afterwards_has_nothing_of_it_either(path: Path, tmp_path: Path):
    with ml.open(path) as store:
        store.forget(PERSON, {"name": [SECRET]})
        store.backup(tmp_path / "copy.mls")

    assert SECRET.encode() not in (tmp_path / "copy.mls").read_bytes()
    assert SAID.encode() not in (tmp_path / "copy.mls").read_bytes()

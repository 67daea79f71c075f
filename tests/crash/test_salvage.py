"""Salvage: what can be read of a damaged file comes out of it, and what was lost is told."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import mlstore as ml
from tests.support import golden
from tests.support.crash_limits import LIMITS
from tests.support.hostile_bytes import DAMAGES
from tests.support.soaking import Patience, report, scaled, soak_seed

PAGE = 4096


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "golden.mls"
    for name, size in LIMITS.items():
        monkeypatch.setattr(f"mlstore.engine.limits.{name}", size)
    golden.create(path)
    return path


def test_a_sound_file_comes_out_whole(original: Path, tmp_path: Path):
    with ml.open(original) as store:
        truth = golden.answers(store)

    told = ml.salvage(original, tmp_path / "out.mls")

    assert (told.lost, told.problems) == ((), ())
    with ml.open(tmp_path / "out.mls") as store:
        assert golden.answers(store) == truth
        store.verify()


def test_a_damaged_column_costs_only_itself(original: Path, tmp_path: Path):
    data = bytearray(original.read_bytes())
    place = data.rindex(b"captain 7")
    data[place : place + 9] = b"captain!!"
    original.write_bytes(data)
    with ml.open(original) as store:
        truth = golden.rows(store.read("delays", columns=["carrier", "number", "delay", "stops"]).table())

    told = ml.salvage(original, tmp_path / "out.mls")

    assert any(loss.startswith("crew of ") for loss in told.lost), told.lost
    assert told.problems == ()
    with ml.open(tmp_path / "out.mls") as store:
        assert golden.rows(store.read("delays", columns=["carrier", "number", "delay", "stops"]).table()) == truth
        assert store.read("delays", columns=["crew"]).table()["crew"].null_count > 0


def test_a_file_without_its_end_still_gives_what_it_has(original: Path, tmp_path: Path):
    original.write_bytes(original.read_bytes()[: -3 * PAGE])

    told = ml.salvage(original, tmp_path / "out.mls")

    assert told.records > 0
    assert told.lost
    with ml.open(tmp_path / "out.mls") as store:
        store.apply(ml.Entity("new", keys={"id": ml.int64}))


def test_what_is_no_store_is_refused_and_nothing_is_made(tmp_path: Path):
    path, out = tmp_path / "notes.txt", tmp_path / "out.mls"
    path.write_bytes(b"these are my notes" * 1000)

    with pytest.raises(ml.NotAStoreError, match="nothing in it can be read"):
        ml.salvage(path, out)

    assert not out.exists()


def test_a_file_that_is_there_is_never_replaced(original: Path, tmp_path: Path):
    (tmp_path / "out.mls").write_bytes(b"mine")

    with pytest.raises(ml.AlreadyExistsError):
        ml.salvage(original, tmp_path / "out.mls")

    assert (tmp_path / "out.mls").read_bytes() == b"mine"


def salvage_damaged(original: Path, folder: Path, seeds: range) -> tuple[int, int, list[str]]:
    """Damage the file once for each seed, as long as patience lasts; how many that were, how many gave a store, and what was wrong."""
    looked, saved, violations, patience = 0, 0, list[str](), Patience.begin()
    with ml.open(original) as store:
        rows = {name: store.read(name).num_rows for name in ("sales", "delays", "prices")}
    for seed in seeds:
        if not patience.lasts():
            break
        looked += 1
        dice, path, out = random.Random(seed), folder / f"{seed}.mls", folder / f"{seed}-out.mls"
        data = bytearray(original.read_bytes())
        DAMAGES[dice.choice(list(DAMAGES))](data, dice)
        path.write_bytes(data)
        try:
            told = ml.salvage(path, out)
        except ml.NotAStoreError:
            continue
        saved += 1
        with ml.open(out) as store:
            known = {entry.label for entry in store.catalog() if entry.kind in ("view", "table")}
            found = {name: store.read(name).num_rows for name in rows if name in known}
            store.write("prices", golden.prices([7], 1.0)) if "prices" in known else None
        # A value that was changed where it can still be read comes out, and is told as a problem: no rows are lost by it.
        if not told.lost and (found != rows or not all("not those that commit" in problem for problem in told.problems)):
            violations.append(f"seed {seed}: nothing was lost, it says, and there are {found} rows; {told.problems}")
        for made in folder.glob(f"{seed}*"):
            made.unlink()
    return looked, saved, violations


@pytest.mark.slow
def test_damaged_files_give_what_they_have(original: Path, tmp_path: Path):
    _, saved, violations = salvage_damaged(original, tmp_path, range(20))

    assert violations == []
    assert saved > 12


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_thousands_of_damaged_files_give_what_they_have(original: Path, soak_path: Path):
    seed, files = soak_seed(), scaled(4000)

    files, saved, violations = salvage_damaged(original, soak_path, range(seed, seed + files))

    report("salvage", seed, f"{files} files, {saved} gave a store", violations)
    assert violations == []

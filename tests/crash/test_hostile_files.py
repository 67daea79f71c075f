"""Damaged and forged files: a clear error or right data, never a crash, a hang, much memory, or a wrong answer that verify does not find.

What is damaged by chance is opened as it is, or as untrusted. LMDB follows its pages without a look, so a file whose pages are damaged
may end the process that opens it by one of LMDB's own checks; as untrusted it never may.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mlstore as ml
from tests.support import golden
from tests.support.crash_limits import FEW, limits_for
from tests.support.hostile_records import forge
from tests.support.hostile_run import Kind, Original, attack
from tests.support.soaking import Patience, report, scaled, soak_seed

FILES = 40


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("golden") / "golden.mls"
    with small_limits():
        golden.create(path)
    return path


@pytest.fixture(scope="module")
def originals(original: Path) -> list[Original]:
    """One file of everything, and small ones, many of which can be looked at: each is asked some of the questions, and verified."""
    small = {table: original.with_name(f"{table}.mls") for table in golden.TABLES}
    with small_limits(FEW):
        for table, path in small.items():
            golden.create_small(path, table)
    often = {"sales": 6, "delays": 3, "prices": 12}
    lean = [Original.of(path, part=FEW, questions=3) for table, path in small.items() for _ in range(often[table])]
    return [Original.of(original, questions=6), *lean]


@contextmanager
def small_limits(part: int = 1) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, size in limits_for(part).items():
            patch.setattr(f"mlstore.engine.limits.{name}", size)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["damage", "forgery"])
def test_a_hostile_file_is_refused_or_answered_rightly(original: Path, tmp_path: Path, kind: Kind):
    tally = attack([Original.of(original)], tmp_path, kind, range(FILES))

    assert tally.violations == []
    assert tally.ends.total() == FILES
    assert tally.ends["sound and right"] < FILES, "nothing was damaged"


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", ["damage", "forgery"])
def test_thousands_of_hostile_files(originals: list[Original], soak_path: Path, kind: Kind):
    seed = soak_seed()

    tally = attack(originals, soak_path, kind, range(seed, seed + scaled(50_000)), Patience.begin())

    report(f"hostile files, {kind}", seed, str(tally), tally.violations)
    assert tally.violations == []


def test_a_file_that_was_cut_short_is_refused(original: Path, tmp_path: Path):
    path = tmp_path / "cut.mls"
    path.write_bytes(original.read_bytes()[:-5000])

    with pytest.raises(ml.CorruptionError, match="cut short"):
        ml.open(path)


def test_an_untrusted_file_is_verified_before_it_is_used(original: Path, tmp_path: Path):
    sound, forged = tmp_path / "sound.mls", tmp_path / "forged.mls"
    sound.write_bytes(original.read_bytes())
    for seed in range(2000):
        forged.write_bytes(original.read_bytes())
        if forge(forged, random.Random(seed)).startswith("drop of commits at"):
            break
    else:
        pytest.fail("no seed drops a commit")

    with ml.open(sound, untrusted=True) as store:
        assert golden.answers(store)
    with pytest.raises(ml.CorruptionError):
        ml.open(forged, untrusted=True)


def test_a_page_that_is_damaged_is_found_before_an_untrusted_file_is_mapped(original: Path, tmp_path: Path):
    path = tmp_path / "damaged.mls"
    data = bytearray(original.read_bytes())
    data[4096 * 5 + 10 : 4096 * 5 + 16] = b"\xff" * 6
    path.write_bytes(data)

    with pytest.raises(ml.CorruptionError, match="pages are damaged"):
        ml.open(path, untrusted=True)

    assert not path.with_name("damaged.mls-lock").exists()

"""Deeds of several steps killed amid them: merge, rollback, revert, a transaction, forgetting. They are done whole or not at all."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mlstore as ml
from tests.support import golden
from tests.support.crash_limits import LIMITS, shrink_limits
from tests.support.fault_run import DEEDS, State, done, state_of
from tests.support.processes import Child, Parent
from tests.support.soaking import Patience, report, scaled, soak_seed

AMID = ("merge", "rollback", "transaction", "forget", "upsert", "bulk write", "stream", "branch")


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "golden.mls"
    for name, size in LIMITS.items():
        monkeypatch.setattr(f"mlstore.engine.limits.{name}", size)
    golden.create(path)
    return path


def die_at(parent: Parent, path: Path, deed: str, fatal: int) -> int:
    """Die before the fatal change to the file; how many there were, if it never came."""
    from mlstore.storage.transaction import Writer

    shrink_limits()
    changes = 0

    def deadly(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal changes
            if changes == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            changes += 1
            return change(*args, **options)

        return call

    with ml.open(path) as store:
        for name in ("put", "put_many", "delete", "delete_range", "_commit"):
            setattr(Writer, name, deadly(getattr(Writer, name)))
        DEEDS[deed](store)
    return changes


def kill_amid(original: Path, folder: Path, deed: str, seed: int, kills: int, patience: Patience | None = None) -> tuple[int, list[str]]:
    """Kill the deed at so many places; how often that was amid it, and what was wrong."""
    dice, place = random.Random(seed), folder / "killed.mls"
    with ml.open(original) as store:
        before = state_of(store)
    after = done(original, place, DEEDS[deed])
    with Child(die_at, _copy(original, place), deed, -1) as child:
        changes = int(child.result())
    killed, violations = 0, []
    for fatal in dice.sample(range(changes), min(kills, changes)):
        if patience is not None and not patience.lasts():
            break
        with Child(die_at, _copy(original, place), deed, fatal) as child:
            child.process.join()
            killed += child.process.exitcode == -signal.SIGKILL
        violations += [f"{deed}, killed at change {fatal}: {problem}" for problem in _look(place, before, after)]
    return killed, violations


def _copy(original: Path, place: Path) -> Path:
    for old in place.parent.glob(f"{place.name}*"):
        old.unlink()
    shutil.copy(original, place)
    return place


def _look(place: Path, before: State, after: State) -> list[str]:
    with ml.open(place) as store:
        store.verify()
        found = state_of(store)
        store.write("prices", golden.prices([70], 1.0))
        store.optimize()
        store.verify()
    whole = [(state.rows, state.names) for state in (before, after)]
    return [] if (found.rows, found.names) in whole else ["it is done in part"]


@pytest.mark.slow
@pytest.mark.parametrize("deed", AMID)
def test_a_deed_killed_amid_is_done_whole_or_not_at_all(original: Path, tmp_path: Path, deed: str):
    killed, violations = kill_amid(original, tmp_path, deed, 3, 2)

    assert violations == []
    assert killed == 2


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_deeds_killed_amid_many_times(original: Path, soak_path: Path):
    seed, killed, violations = soak_seed(), 0, list[str]()
    for deed in AMID:
        kills, found = kill_amid(original, soak_path, deed, seed, scaled(200), Patience.begin(len(AMID)))
        killed += kills
        violations += found

    report("kills amid a deed", seed, f"{killed} kills", violations)
    assert violations == []

"""Retaining killed before and after each of its transactions: retained versions are whole, and the next `optimize` finishes the rest."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import mlstore as ml
from tests.support import bank
from tests.support.processes import Child, Parent

MOST_STEPS = 45


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bank whose every round was replaced twice; `kept` names it between the two."""
    shrink_limits(monkeypatch)
    path = tmp_path / "bank.mls"
    bank.create(path)
    with ml.open(path) as store:
        numbers = range(4)
        for turn in range(3):
            store.write("bank", bank.rounds(numbers), mode="upsert")
            store.optimize(tier="cold" if turn == 1 else None)
            if turn == 1:
                store.snapshot("kept")
        store.write("bank", bank.rounds([20]), mode="upsert")
        store.write("bank", bank.rounds([20]), mode="upsert")
    return path


def shrink_limits(monkeypatch: pytest.MonkeyPatch | None) -> None:
    """Many small segments, and a transaction for each that is rewritten."""
    from mlstore.engine import limits

    for name, size in {"SEGMENT_ROWS": 80, "DIRECT_ROWS": 40, "TAIL_ROWS": 1000, "STAGE_BYTES": 1}.items():
        if monkeypatch is None:
            setattr(limits, name, size)
        else:
            monkeypatch.setattr(limits, name, size)


def retain_until(parent: Parent, path: Path, fatal: int) -> int:
    """Die before or after a transaction; how many moments to die at there were, if it never came to that."""
    from mlstore.engine.session import Session

    shrink_limits(None)
    moments, writing = 0, Session.writing

    def die_if_due() -> None:
        nonlocal moments
        if moments == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        moments += 1

    @contextmanager
    def deadly(session: Session) -> Iterator[Any]:
        die_if_due()
        with writing(session) as context:
            yield context
            die_if_due()  # all is written, and nothing committed
        die_if_due()

    with ml.open(path) as store:
        Session.writing = deadly  # type: ignore[method-assign]
        store.retain(last=1)
    return moments


def is_refused(store: ml.Store, commit: ml.Commit) -> bool:
    try:
        store.at(commit)
    except ml.UnknownVersionError:
        return True
    return False


@pytest.mark.slow
def test_a_retention_killed_at_any_moment_leaves_what_stays_whole(path: Path) -> None:
    with ml.open(path) as store:
        before = [bank.audit(store), bank.audit(store.at("kept"))]
        old = [commit for commit in store.history(table="bank")[1:] if commit.id != store.info()["snapshots"]["kept"]]
    outcomes, sizes = set(), set()
    for fatal in range(MOST_STEPS):
        copy = path.with_name(f"{fatal}.mls")
        shutil.copy(path, copy)
        with Child(retain_until, copy, fatal) as child:
            child.process.join()
            is_dead = child.process.exitcode == -signal.SIGKILL
        with ml.open(copy) as store:
            refused = {is_refused(store, commit) for commit in old}
            assert [bank.audit(store), bank.audit(store.at("kept"))] == before
            store.verify()
            outcomes |= refused
            assert len(refused) == 1, "some versions were let go and others were not"
            store.retain(last=1)
            store.optimize()
            store.compact()
            assert [bank.audit(store), bank.audit(store.at("kept"))] == before
            store.verify()
        sizes.add(copy.stat().st_size)
        if not is_dead:
            break

    assert not is_dead, "more moments than the test goes through"
    assert fatal > 8
    assert outcomes == {False, True}
    assert max(sizes) <= 1.02 * min(sizes)

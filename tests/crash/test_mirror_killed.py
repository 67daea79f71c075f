"""Updates of a mirror killed before and after each of their transactions: it is what it was or what its origin is, and goes on."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

import mlstore as ml
from tests.support import bank
from tests.support.processes import Child, Parent

MOST_MOMENTS = 40


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bank, and beside it a mirror that lacks half of it, which lies in many segments with extents of their own."""
    for name, size in {"SEGMENT_ROWS": 60, "DIRECT_ROWS": 40}.items():
        monkeypatch.setattr(f"mlstore.engine.limits.{name}", size)
    monkeypatch.setattr("mlstore.format.segment.OWN_EXTENT_BYTES", 64)
    path = tmp_path / "bank.mls"
    bank.create(path)
    with ml.open(path) as store:
        store.write("bank", bank.rounds([1, 2]))
        store.clone(tmp_path / "mirror.mls")
        store.write("bank", bank.rounds([3, 4]))
        store.write("bank", bank.rounds([5]))
        store.optimize()
    return path


def pull_until(parent: Parent, mirror: Path, fatal: int) -> int:
    """Die before or after a transaction; how many moments to die at there were, if it never came to that."""
    from mlstore.engine import limits
    from mlstore.storage.environment import Environment
    from mlstore.storage.transaction import Writer

    limits.STAGE_BYTES = 1 << 14
    moments, writer, leave = 0, Environment.writer, Writer.__exit__

    def die_if_due() -> None:
        nonlocal moments
        if moments == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        moments += 1

    def begin(environment: Environment) -> Writer:
        die_if_due()
        return writer(environment)

    def end(self: Writer, *error: Any) -> None:
        die_if_due()  # all is written, and nothing committed
        leave(self, *error)

    with ml.open(mirror) as store:
        Environment.writer, Writer.__exit__ = begin, end  # type: ignore[method-assign]
        store.pull()
    return moments


@pytest.mark.slow
def test_an_update_killed_at_any_moment_leaves_the_mirror_whole(path: Path) -> None:
    mirror, rounds = path.with_name("mirror.mls"), set()
    for fatal in range(MOST_MOMENTS):
        copy = path.with_name(f"{fatal}.mls")
        shutil.copy(mirror, copy)
        with Child(pull_until, copy, fatal) as child:
            child.process.join()
            is_dead = child.process.exitcode == -signal.SIGKILL
        with ml.open(copy) as store:
            found = bank.audit(store)
            assert bank.watch(store) == max(found)
            store.verify()
            rounds.add(tuple(found))
            store.pull()
            assert bank.audit(store) == [0, 1, 2, 3, 4, 5]
            store.verify()
        if not is_dead:
            break

    assert not is_dead, "more moments than the test goes through"
    assert fatal > 5
    assert rounds == {(0, 1, 2), (0, 1, 2, 3, 4, 5)}

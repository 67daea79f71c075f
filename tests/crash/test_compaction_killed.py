"""Compactions killed before each call to the system that they make: the name stands for the old file or the new one, whole."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

import mlstore as ml
from tests.support import bank
from tests.support.processes import Child, Parent

CALLS = ("open", "fsync", "rename", "unlink", "close")
MOST_CALLS = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "bank.mls"
    bank.create(path)
    with ml.open(path) as store:
        for number in range(1, 4):
            store.write("bank", bank.rounds(range(100 * number, 100 * number + 50)))
        store.optimize(tier="cold")
    return path


def compact_until(parent: Parent, path: Path, fatal: int) -> int:
    """Die before the fatal call; how many calls there were, if it never came."""
    from mlstore.storage import compaction

    with ml.open(path) as store:
        bank.watch(store)
        calls = 0

        def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                nonlocal calls
                if calls == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)
                calls += 1
                return function(*args, **options)

            return call

        for name in CALLS:
            setattr(os, name, deadly(getattr(os, name)))
        shutil.copymode = deadly(shutil.copymode)
        compaction.write_copy = deadly(half(compaction.write_copy)) if fatal % 2 else deadly(compaction.write_copy)
        store.compact()
        store.write("bank", bank.rounds([1000]))
        return calls


def half(write_copy: Callable[[lmdb.Environment, str], None]) -> Callable[[lmdb.Environment, str], None]:
    """Leaves half a copy first, as one does that is killed while it writes."""

    def write(env: lmdb.Environment, path: str) -> None:
        write_copy(env, path)
        size = os.path.getsize(path)
        os.truncate(path, size // 2)
        os.unlink(path)
        write_copy(env, path)

    return write


@pytest.mark.slow
def test_a_compaction_killed_at_any_call_leaves_the_old_file_or_the_new_one(path: Path):
    sizes = set()
    with ml.open(path) as store:
        before = bank.audit(store)
    for fatal in range(MOST_CALLS):
        copy = path.with_name(f"{fatal}.mls")
        shutil.copy(path, copy)
        with Child(compact_until, copy, fatal) as child:
            child.process.join()
            is_dead = child.process.exitcode == -signal.SIGKILL
            sizes.add(copy.stat().st_size)
            with ml.open(copy) as store:
                assert bank.audit(store) in (before, [*before, 1000])
                store.verify()
                store.write("bank", bank.rounds([2000]))
                assert sorted(name.name for name in path.parent.glob(f"{copy.name}*")) == [copy.name, f"{copy.name}-lock"]
                store.compact()
                store.verify()
        if not is_dead:
            break

    assert not is_dead, "more calls than the test goes through"
    assert fatal > 8
    assert len(sizes) > 1

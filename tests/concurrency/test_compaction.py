"""Compaction beside other processes and threads: refused where it must be, unnoticed where it can be."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mlstore as ml
from tests.support import bank
from tests.support.processes import PATIENCE_SECONDS, Child, Parent

ROUNDS = 40


def hold_open(parent: Parent, path: Path, read_only: bool) -> int:
    with ml.open(path, read_only=read_only) as store:
        parent.tell("open")
        parent.hear()
        return bank.watch(store)


@pytest.mark.parametrize("read_only", [True, False])
def test_it_is_refused_while_another_process_has_the_store_open_and_done_afterwards(path: Path, read_only: bool):
    with ml.open(path) as store, Child(hold_open, path, read_only) as child:
        child.hear()
        inode = path.stat().st_ino

        with pytest.raises(ml.StoreBusyError, match="another process has it open"):
            store.compact()

        assert path.stat().st_ino == inode
        store.write("bank", bank.rounds([1]))
        child.say()
        assert child.result() == 1
        store.compact()
        assert path.stat().st_ino != inode
        assert bank.watch(store) == 1


def open_and_write(parent: Parent, path: Path, number: int) -> int:
    parent.tell("here")
    with ml.open(path) as store:
        store.write("bank", bank.rounds([number]))
        return bank.watch(store)


def test_a_process_that_comes_meanwhile_waits_and_opens_the_new_file(path: Path, monkeypatch: pytest.MonkeyPatch):
    from mlstore.storage import compaction

    swap = compaction._swap
    with ml.open(path) as store, Child(open_and_write, path, 1) as child:

        def swap_when_somebody_waits(mapped: object) -> None:
            child.say()
            child.hear()
            # Not needed to be right, but it makes it likely that the child waits at the lock by now.
            threading.Event().wait(0.3)
            assert not child.has_told()
            swap(mapped)

        monkeypatch.setattr(compaction, "_swap", swap_when_somebody_waits)
        store.compact()

        assert child.result() == 1
        assert bank.watch(store) == 1
        store.verify()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_before_goes_on_with_the_new_file(path: Path):
    def go_on(parent: Parent, store: ml.Store, amounts: object) -> object:
        parent.tell("forked")
        parent.hear()
        store.write("bank", bank.rounds([2]))
        return bank.watch(store), amounts

    with ml.open(path) as store:
        store.optimize()
        balances = store.read("bank", columns=["balance"]).table()
        expected = balances.to_pylist()
        with Child(go_on, store, balances, method="fork") as child:
            child.hear()
            store.compact()
            store.write("bank", bank.rounds([1]))
            child.say()
            newest, seen = child.result()

        assert newest == 2
        assert seen.to_pylist() == expected
        assert bank.audit(store) == [0, 1, 2]
        store.verify()


@pytest.mark.slow
def test_threads_read_and_write_while_it_is_compacted_over_and_over(path: Path):
    done = threading.Event()

    def work(act: Callable[[], object]) -> None:
        try:
            while not done.is_set():
                act()
        finally:
            done.set()

    with ml.open(path, durability="normal") as store, ml.open(path, durability="normal") as other:

        def compact() -> None:
            other.compact()
            if other.read("bank", columns=["round"]).num_rows >= ROUNDS * bank.ACCOUNTS:
                done.set()

        def look() -> None:
            bank.watch(store)
            store.read("bank").table().validate(full=True)

        promised = [0]

        def write() -> None:
            store.write("bank", bank.rounds([promised[-1] + 1]))
            promised.append(promised[-1] + 1)

        with ThreadPoolExecutor(5) as pool:
            for ended in [pool.submit(work, act) for act in (compact, look, look, write, store.verify)]:
                ended.result(PATIENCE_SECONDS)

        assert bank.audit(store) == promised
        store.verify()

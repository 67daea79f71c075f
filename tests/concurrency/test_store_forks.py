"""Forks: parent and child go on with the same store, each with a mapping, locks and leases of its own."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.engine.history import offline
from tests.support import bank
from tests.support.processes import Child, Parent

ROUNDS = 15
FORKS = 8

# Python 3.12 and later warn of a fork in a process with threads, such as those that pyarrow keeps.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform"),
]


def write_rounds(parent: Parent | None, store: ml.Store, first: int) -> list[str]:
    """Small writes, then a large one, reading in between."""
    promised = []
    for number in range(first, first + ROUNDS):
        promised.append(store.write("bank", bank.rounds([number])).id)
        bank.watch(store)
    promised.append(store.write("bank", bank.rounds(range(first + ROUNDS, first + 2 * ROUNDS))).id)
    store.optimize()
    bank.watch(store)
    return promised


@pytest.mark.slow
def test_parent_and_child_both_read_and_write_after_a_fork(path: Path):
    with ml.open(path, durability="normal") as store:
        bank.watch(store)

        with Child(write_rounds, store, 1000, method="fork") as child:
            promised = {*write_rounds(None, store, 1), *child.result()}

        assert bank.audit(store) == [0, *range(1, 1 + 2 * ROUNDS), *range(1000, 1000 + 2 * ROUNDS)]
        assert promised <= {commit.id for commit in store.history()}
        store.verify()


def look_twice(parent: Parent, inherited: pa.Table, old: ml.Store) -> tuple[bool, int]:
    """Whether the inherited arrays are the same before and after the parent has replaced all rows; and the last round of a version."""
    before = repr(inherited.to_pydict())
    parent.tell("ready")
    parent.hear()
    return repr(inherited.to_pydict()) == before, bank.watch(old)


def test_arrays_and_versions_live_on_in_the_child(path: Path):
    with ml.open(path, durability="normal") as store:
        store.write("bank", bank.rounds(range(1, 50)))
        store.snapshot("loaded")
        table = store.read("bank").table()

        with Child(look_twice, table, store.at("loaded"), method="fork") as child:
            child.hear()
            del table
            for _ in range(3):
                store.write("bank", bank.rounds(range(50)), mode="upsert")
                store.optimize()
            child.say("go on")

            assert child.result() == (True, 49)


def look(parent: Parent, store: ml.Store) -> int:
    return bank.watch(store)


def test_a_child_forked_while_another_thread_reads_does_not_wait_for_it(path: Path, monkeypatch: pytest.MonkeyPatch):
    # The locks of what a process remembers between transactions came locked into the child, where nobody ever unlocked them.
    is_inside, may_leave = threading.Event(), threading.Event()
    load_tail = offline.load_tail

    def load_slowly(*args: Any) -> object:
        if threading.current_thread().name == "slow":
            is_inside.set()
            may_leave.wait()
        return load_tail(*args)

    monkeypatch.setattr(offline, "load_tail", load_slowly)
    with ml.open(path) as store:
        slow = threading.Thread(target=bank.audit, args=(store,), name="slow")
        slow.start()
        is_inside.wait()
        try:
            with Child(look, store, method="fork") as child:
                assert child.result() == 0
        finally:
            may_leave.set()
            slow.join()


def use(parent: Parent, store: ml.Store, number: int) -> str:
    bank.watch(store)
    return store.write("bank", bank.rounds([number])).id


@pytest.mark.slow
def test_children_forked_while_threads_read_and_write_do_so_too(path: Path):
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            bank.watch(store)

    def write() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            store.write("bank", bank.rounds([number]))

    with ml.open(path, durability="normal") as store:
        # Modules that pyarrow imports late are imported now: a child may not be forked in the middle of an import.
        bank.watch(store)
        threads = [threading.Thread(target=target) for target in (read, read, write)]
        for thread in threads:
            thread.start()
        try:
            promised = set()
            for number in range(FORKS):
                with Child(use, store, 100_000 + number, method="fork") as child:
                    promised.add(child.result())
        finally:
            is_over.set()
            for thread in threads:
                thread.join()

        assert promised <= {commit.id for commit in store.history()}
        store.verify()

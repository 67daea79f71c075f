"""Branches used by several processes and threads at once: each writes its own, and handles follow a branch that is moved elsewhere."""

from __future__ import annotations

import threading
from pathlib import Path

import mlstore as ml
from tests.support import bank
from tests.support.processes import Child, Parent

ROUNDS = 12


def write_on_a_branch(parent: Parent, path: Path, branch: str, numbers: range) -> None:
    with ml.open(path, branch=branch, durability="normal") as store:
        parent.tell("ready")
        parent.hear()
        for number in numbers:
            store.write("bank", bank.rounds([number]))
            assert bank.audit(store) == [0, *range(numbers.start, number + 1)]


def test_two_processes_write_two_branches(path: Path) -> None:
    with ml.open(path, durability="normal") as store:
        store.branch("x")
        mine, theirs = range(1, 1 + ROUNDS), range(100, 100 + ROUNDS)
        with Child(write_on_a_branch, path, "main", mine) as one, Child(write_on_a_branch, path, "x", theirs) as other:
            for child in (one, other):
                child.hear()
            for child in (one, other):
                child.say("go on")
            for child in (one, other):
                child.result()

        assert bank.audit(store) == [0, *mine]
        assert bank.audit(store.checkout("x")) == [0, *theirs]
        store.merge("x")
        assert bank.audit(store) == [0, *mine, *theirs]
        store.verify()


def roll_back(parent: Parent, path: Path, version: str) -> None:
    with ml.open(path, durability="normal") as store:
        store.rollback(version)


def test_a_rollback_of_another_process_is_seen_by_the_next_call(path: Path) -> None:
    with ml.open(path, durability="normal") as store:
        store.write("bank", bank.rounds([1]))
        store.snapshot("one")
        store.write("bank", bank.rounds([2]))
        assert bank.audit(store) == [0, 1, 2]

        with Child(roll_back, path, "one") as child:
            child.result()

        assert bank.audit(store) == [0, 1]
        store.write("bank", bank.rounds([3]))
        assert bank.audit(store) == [0, 1, 3]
        store.verify()


def test_readers_see_a_branch_before_or_after_a_rollback_and_nothing_between(path: Path) -> None:
    seen: list[tuple[int, ...]] = []
    with ml.open(path, durability="normal") as store:
        store.write("bank", bank.rounds([1]))
        store.snapshot("one")
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.is_set():
                seen.append(tuple(bank.audit(store)))

        thread = threading.Thread(target=watch)
        thread.start()
        for number in range(2, 2 + ROUNDS):
            store.write("bank", bank.rounds([number]))
            store.rollback("one")
        is_over.set()
        thread.join()

        assert {rounds[:2] for rounds in seen} == {(0, 1)}
        assert {len(rounds) for rounds in seen} <= {2, 3}
        assert bank.audit(store) == [0, 1]
        store.verify()

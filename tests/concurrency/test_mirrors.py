"""Mirrors read by other processes while they are brought up to date again and again."""

from __future__ import annotations

from pathlib import Path

import mlstore as ml
from tests.support import bank
from tests.support.processes import Child

ROUNDS = 40


def test_readers_of_a_mirror_see_each_state_of_the_origin_whole(path: Path) -> None:
    mirror = path.with_name("mirror.mls")
    with ml.open(path, durability="normal") as store:
        store.clone(mirror)
        with Child(bank.watch_until_called, mirror, ROUNDS) as child:
            child.hear()
            for number in range(1, 1 + ROUNDS):
                store.write("bank", bank.rounds([number]))
                if number % 5 == 0:
                    store.optimize(tier="cold" if number % 2 else "hot")
                store.push(mirror)
            child.say()
            looks = child.result()

        assert looks > 2
        with ml.open(mirror, read_only=True) as copy:
            assert bank.audit(copy) == bank.audit(store) == list(range(1 + ROUNDS))
            copy.verify()


def test_two_pushes_at_once_leave_the_mirror_at_a_state_of_the_origin(path: Path) -> None:
    mirror = path.with_name("mirror.mls")
    with ml.open(path, durability="normal") as store:
        store.clone(mirror)
        with Child(push_again_and_again, path, mirror) as child:
            child.hear()
            for number in range(1, 1 + ROUNDS):
                store.write("bank", bank.rounds([number]))
                store.optimize()
                store.push(mirror)
                with ml.open(mirror, read_only=True) as copy:
                    found = bank.audit(copy)
                    assert found == list(range(len(found)))
            child.say()
            assert child.result() > 0

        store.push(mirror)
        with ml.open(mirror, read_only=True) as copy:
            assert bank.audit(copy) == list(range(1 + ROUNDS))
            copy.verify()


def push_again_and_again(parent: bank.Parent, path: Path, mirror: Path) -> int:
    pushes = 0
    with ml.open(path, read_only=True) as store:
        while not parent.has_called():
            store.push(mirror)
            pushes += 1
            if pushes == 1:
                parent.tell("pushing")
    return pushes

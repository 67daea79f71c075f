"""Versions let go while others read and write: who stands on one is refused, and nobody sees half of anything."""

from __future__ import annotations

import threading
from pathlib import Path

import mlstore as ml
from tests.support import bank
from tests.support.processes import Child, Parent

ROUNDS = 30


def watch_versions(parent: Parent, path: Path, kept: str, doomed: str) -> tuple[int, int]:
    """Read a version that stays and one that goes until called; how often each was seen whole, before the second was refused."""
    looks, refusals, is_gone = 0, 0, False
    with ml.open(path, read_only=True) as store:
        stays, goes = store.at(kept), store.at(doomed)
        while not parent.has_called() or not refusals:
            assert bank.audit(stays) == [0, 1]
            try:
                assert bank.audit(goes) == [0, 1, 2]
                assert not is_gone, "a version came back"
            except ml.UnknownVersionError:
                is_gone = True
                refusals += 1
            looks += 1
            if looks == 1:
                parent.tell("reading")
    return looks, refusals


def test_a_reader_in_another_process_keeps_what_stays_and_is_refused_what_goes(path: Path) -> None:
    with ml.open(path, durability="normal") as store:
        store.write("bank", bank.rounds([1]))
        store.snapshot("kept")
        doomed = store.write("bank", bank.rounds([2]))
        store.delete("bank", start="2024-01-01")
        store.write("bank", bank.rounds([3]))
        with Child(watch_versions, path, "kept", doomed.id) as child:
            child.hear()
            for number in range(4, 4 + ROUNDS):
                store.write("bank", bank.rounds([number]), mode="upsert")
                store.retain(last=1)
                store.optimize()
            child.say()
            looks, refusals = child.result()

        assert looks > refusals > 0
        assert bank.audit(store) == list(range(3, 4 + ROUNDS))
        store.verify()


def test_threads_write_and_read_while_old_versions_go(path: Path) -> None:
    is_over = threading.Event()
    failures: list[BaseException] = []

    def watch() -> None:
        try:
            while not is_over.is_set():
                bank.watch(store)
        except BaseException as failure:
            failures.append(failure)
            raise

    def write() -> None:
        for number in range(1, ROUNDS):
            store.write("bank", bank.rounds([number]), mode="upsert")
            store.write("bank", bank.rounds([number]), mode="upsert")

    with ml.open(path, durability="normal") as store:
        threads = [threading.Thread(target=watch), threading.Thread(target=write)]
        for thread in threads:
            thread.start()
        while threads[1].is_alive():
            store.retain(last=2)
        is_over.set()
        for thread in threads:
            thread.join()

        assert not failures
        report = store.retain(last=1)
        assert bank.audit(store) == list(range(ROUNDS))
        assert report.versions_kept == 1
        store.verify()

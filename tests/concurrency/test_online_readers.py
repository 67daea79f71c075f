"""Prepared readers under load: threads, processes and forks that share one never see part of a commit, nor a definition half changed."""

from __future__ import annotations

import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mlstore as ml
from tests.support import bank
from tests.support.processes import Child, Parent

READERS = 6
LEAST_COMMITS = 40
ENOUGH = 5  # different rounds for each reader of another process to see
SOAK_SECONDS = 60

# Two views without keys, written one after the other: one look at both tells whether it was at one commit.
PAIR = 2
VAULT = [ml.FeatureView(f"vault_{side}", schema={f"balance_{side}": ml.int64, f"round_{side}": ml.int64}) for side in range(PAIR)]


@pytest.fixture
def path(path: Path) -> Path:
    """The bank, and two vaults beside it."""
    with ml.open(path) as store:
        store.apply(*VAULT)
        move(store, 0)
    return path


def move(store: ml.Store, number: int) -> None:
    """Three writes: the second vault, then the first; and the bank's round in one commit."""
    for side in reversed(range(PAIR)):
        row = {"event_timestamp": bank.START, f"balance_{side}": number, f"round_{side}": number}
        store.write(f"vault_{side}", row, mode="upsert")
    store.write("bank", bank.rounds([number + 1]))


def look(reader: ml.OnlineReader, vaults: ml.OnlineReader) -> int:
    """The bank by a batch, by its accounts one by one, and its vaults in one look; the round seen."""
    table = reader.online_features(bank.KEYS)
    numbers = set(table["round"].to_pylist())
    assert len(numbers) == 1, f"rows of several commits at once: {numbers}"
    assert sum(table["balance"].to_pylist()) == bank.TOTAL
    seen = numbers.pop()
    for account in range(3):
        one = reader.online_features({"account_id": account})
        assert one["round"] >= seen, "time went backwards"
        assert one["memo"] == f"balance {one['balance']}"
    both = vaults.online_features({})
    # The second vault is written first: nobody may see the first one ahead of it.
    assert both["round_0"] <= both["round_1"] <= both["round_0"] + 1
    assert both["balance_0"] == both["round_0"]
    return int(seen)


def readers_of(store: ml.Store) -> tuple[ml.OnlineReader, ml.OnlineReader]:
    return store.reader(["bank"]), store.reader(["vault_0", "vault_1"])


def look_until_called(parent: Parent, path: Path) -> int:
    """In a process: look until called; the looks taken."""
    seen, looks, last = set[int](), 0, 0
    with ml.open(path, read_only=True) as store:
        readers = readers_of(store)
        while not parent.has_called():
            newest = look(*readers)
            assert newest >= last, "time went backwards"
            last, looks = newest, looks + 1
            if newest not in seen:
                seen.add(newest)
                if len(seen) in (1, ENOUGH):
                    parent.tell(looks)
    return looks


@pytest.mark.slow
def test_threads_that_share_a_reader_never_see_part_of_a_commit(path: Path) -> None:
    with ml.open(path, durability="normal") as store, ThreadPoolExecutor(READERS) as threads:
        readers, is_over = readers_of(store), threading.Event()

        def watch() -> int:
            looks, last = 0, 0
            while not (is_over.is_set() and looks):
                newest = look(*readers)
                assert newest >= last, "time went backwards"
                last, looks = newest, looks + 1
            return looks

        watching = [threads.submit(watch) for _ in range(READERS)]
        try:
            for number in range(1, LEAST_COMMITS):
                move(store, number)
        finally:
            is_over.set()

        assert all(watch.result() > 0 for watch in watching)
        assert look(*readers) == LEAST_COMMITS


@pytest.mark.slow
def test_readers_of_other_processes_never_see_part_of_a_commit(path: Path) -> None:
    with (
        ml.open(path, durability="normal") as store,
        Child(look_until_called, path, method="spawn") as one,
        Child(look_until_called, path, method="spawn") as other,
    ):
        children = (one, other)
        for child in children:
            child.hear()

        for number in itertools.count(1):
            if number >= LEAST_COMMITS and all(child.has_told() for child in children):
                break
            move(store, number)

        for child in children:
            child.say()
            assert child.result() >= ENOUGH


@pytest.mark.slow
def test_definitions_may_change_under_threads_that_share_a_reader(path: Path) -> None:
    """Each answer is of one schema: the features of the definition that the commit had."""
    names = ["balance_0", "round_0"]
    with ml.open(path, durability="normal") as store, ThreadPoolExecutor(READERS) as threads:
        reader, is_over = store.reader(["vault_0"]), threading.Event()

        def watch() -> int:
            most, is_last = 0, False
            while not is_last:
                is_last = is_over.is_set()
                found = reader.online_features({})
                added = [name for name in found if name.startswith("extra_")]
                assert list(found) == [*names, *(f"extra_{number}" for number in range(len(added)))]
                assert len(added) >= most, "a definition went backwards"
                assert found["balance_0"] == found["round_0"]
                # The newest feature is written at once after it is defined, by the same thread.
                assert all(found[name] is not None for name in added[:-1])
                most = len(added)
            return most

        watching = [threads.submit(watch) for _ in range(READERS)]
        try:
            for number in range(1, 13):
                extras = {f"extra_{extra}": ml.int64 for extra in range(number)}
                store.apply(ml.FeatureView("vault_0", schema={"balance_0": ml.int64, "round_0": ml.int64, **extras}))
                row = {"event_timestamp": bank.START, "balance_0": number, "round_0": number, **dict.fromkeys(extras, number)}
                store.write("vault_0", row, mode="upsert")
        finally:
            is_over.set()

        assert {watch.result() for watch in watching} == {12}


def look_once(parent: Parent, readers: tuple[ml.OnlineReader, ml.OnlineReader]) -> int:
    return look(*readers)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_reader_goes_on_in_a_forked_child_and_in_its_parent(path: Path) -> None:
    with ml.open(path, durability="normal") as store:
        readers = readers_of(store)
        for _ in range(2):
            look(*readers)

        for number in range(1, 4):
            move(store, number)
            with Child(look_once, readers, method="fork") as child:
                seen = child.result()
            assert seen == number + 1 == look(*readers)


@pytest.mark.slow
def test_looking_goes_on_while_a_process_is_forked_again_and_again(path: Path) -> None:
    with ml.open(path, durability="normal") as store, ThreadPoolExecutor(2) as threads:
        readers, is_over = readers_of(store), threading.Event()

        def watch() -> None:
            while not is_over.is_set():
                look(*readers)

        watching = [threads.submit(watch) for _ in range(2)]
        try:
            for number in range(1, 5):
                with Child(look_once, readers, method="fork") as child:
                    assert child.result() == number
                move(store, number)
        finally:
            is_over.set()
        for watch in watching:
            watch.result()


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS * 5)
def test_a_hundred_threads_read_while_four_write(path: Path) -> None:
    """No error, no promised write lost, and a file that does not grow beyond its live size."""
    with ml.open(path, durability="normal") as store, ThreadPoolExecutor(104) as threads:
        reader, stop = store.reader(["bank"]), time.monotonic() + SOAK_SECONDS
        blocks = itertools.count(2)

        def read() -> int:
            looks = 0
            while time.monotonic() < stop:
                table = reader.online_features(bank.KEYS)
                assert sum(table["balance"].to_pylist()) == bank.TOTAL
                assert reader.online_features({"account_id": 3})["memo"] is not None
                looks += 1
            return looks

        def write() -> list[int]:
            done = []
            while time.monotonic() < stop:
                number = next(blocks)
                store.write("bank", bank.rounds([number]))
                done.append(number)
            return done

        writers = [threads.submit(write) for _ in range(4)]
        looking = [threads.submit(read) for _ in range(100)]
        promised = sorted(number for writer in writers for number in writer.result())
        assert all(look.result() for look in looking)

        assert bank.audit(store) == [0, 1, *promised]
        store.verify()

"""Threads that share a store, and stores of one file opened twice in a process."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mlstore as ml
from tests.support import bank

WRITERS = 3
READERS = 2
COMMITS = 12  # of each writer


def write_all_at_once(stores: list[ml.Store]) -> tuple[list[int], set[str], int]:
    """One thread per store writes, others read; the rounds written, the commits promised, and the looks taken meanwhile."""
    blocks = itertools.count(1, 20)
    is_over = threading.Event()

    def write(store: ml.Store) -> list[tuple[range, str]]:
        done = []
        for number in range(COMMITS):
            first = next(blocks)
            block = range(first, first + (20 if number % 4 == 1 else 1))
            done.append((block, store.write("bank", bank.rounds(block)).id))
        return done

    def read(store: ml.Store) -> int:
        looks = 0
        while not (is_over.is_set() and looks):
            bank.watch(store)
            looks += 1
        return looks

    with ThreadPoolExecutor(len(stores) + READERS) as threads:
        readers = [threads.submit(read, stores[number % len(stores)]) for number in range(READERS)]
        writers = [threads.submit(write, store) for store in stores]
        try:
            done = list(itertools.chain.from_iterable(writer.result() for writer in writers))
        finally:
            is_over.set()
        looks = sum(reader.result() for reader in readers)
    return sorted(itertools.chain.from_iterable(block for block, _ in done)), {commit for _, commit in done}, looks


def one_store(path: Path) -> list[ml.Store]:
    return [ml.open(path, durability="normal")] * WRITERS


def a_store_for_each_thread(path: Path) -> list[ml.Store]:
    return [ml.open(path, durability="normal") for _ in range(WRITERS)]


@pytest.mark.slow
@pytest.mark.parametrize("open_stores", [one_store, a_store_for_each_thread])
def test_threads_lose_no_write_that_was_promised(path: Path, open_stores: Callable[[Path], list[ml.Store]]):
    stores = open_stores(path)

    written, promised, looks = write_all_at_once(stores)

    assert looks >= READERS
    assert bank.audit(stores[0]) == [0, *written]
    assert promised <= {commit.id for commit in stores[0].history()}
    assert len(promised) == WRITERS * COMMITS
    stores[0].verify()
    for store in stores:
        store.close()


def test_two_handles_of_a_file_see_each_others_writes_at_once(path: Path, tmp_path: Path):
    link = tmp_path / "link.mls"
    link.symlink_to(path)

    with ml.open(path) as one, ml.open(link) as other, ml.open(path, read_only=True) as reading:
        one.write("bank", bank.rounds([1]))
        other.write("bank", bank.rounds([2]))

        assert [bank.watch(store) for store in (one, other, reading)] == [2, 2, 2]
        with pytest.raises(ml.ReadOnlyError):
            reading.write("bank", bank.rounds([3]))


def test_closing_one_handle_leaves_the_other_at_work(path: Path):
    one, other = ml.open(path), ml.open(path)

    one.close()
    other.write("bank", bank.rounds([1]))

    assert bank.watch(other) == 1
    with pytest.raises(ml.ClosedError):
        bank.watch(one)
    other.close()


def test_rows_being_streamed_are_those_of_the_call_whatever_is_written_meanwhile(path: Path):
    with ml.open(path) as store:
        store.write("bank", bank.rounds(range(1, 50)))
        expected = store.read("bank").table()

        streamed = []
        for number, batch in enumerate(store.read("bank").batches()):
            store.write("bank", bank.rounds([200 + number]), mode="upsert")
            store.delete("bank", start=bank.START, end=bank.LONG_AFTER)
            store.optimize()
            streamed.append(batch)

        assert len(streamed) > 3
        assert expected.equals(expected.from_batches(streamed))
        assert store.read("bank").num_rows == 0
        store.verify()

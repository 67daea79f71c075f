"""Streams among threads and processes: nobody sees half a commit, nothing acknowledged is lost, whatever ends the process."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

import mlstore as ml
from mlstore.engine import limits
from tests.support import bank
from tests.support.processes import Child, Parent

ROUNDS_SEEN = 5
READERS, WRITERS = 100, 4
SPARE = 1.3
# Pages of a sealed tail stay in the file for the next one, so a store smaller than a tail is mostly room for it.
ROOM_OF_A_TAIL = 2 * limits.TAIL_BYTES

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

NEVER_CLOSED = """
import sys
import mlstore as ml
from tests.support import bank
stream = ml.open(sys.argv[1]).stream("bank", max_seconds=3600)
stream.append_many(bank.rounds([1]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "bank.mls"
    bank.create(path)
    return path


def stream_until_called(parent: Parent, path: Path) -> None:
    """Append rounds, and tell of each that was acknowledged."""
    with ml.open(path) as store, store.stream("bank", max_seconds=0) as stream:
        for number in itertools.count(1):
            stream.append_many(bank.rounds([number])).result()
            parent.tell(number)


@pytest.mark.slow
def test_readers_in_threads_and_processes_never_see_half_a_batch_of_a_stream(path: Path):
    is_over = threading.Event()

    def read() -> int:
        looks = 0
        with ml.open(path, read_only=True) as store:
            while not is_over.is_set():
                bank.watch(store)
                looks += 1
        return looks

    with Child(bank.watch_until_called, path, ROUNDS_SEEN) as child, ThreadPoolExecutor(2) as threads, ml.open(path) as store:
        child.hear()
        readers = [threads.submit(read) for _ in range(2)]
        with store.stream("bank", max_seconds=0.001) as stream:
            numbers = itertools.count(1)
            try:
                while not child.has_told():
                    stream.append_many(bank.rounds([next(numbers)]))
                    time.sleep(0.002)
            finally:
                is_over.set()
        child.say()

        assert child.result() > 0
        assert all(reader.result() > 0 for reader in readers)
        assert bank.audit(store) == list(range(next(numbers)))
        store.verify()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.5])
def test_everything_acknowledged_by_a_killed_stream_is_there_and_nothing_half(path: Path, seconds: float):
    with Child(stream_until_called, path) as child:
        told = [child.hear()]
        time.sleep(seconds)
        told += child.kill()

    with ml.open(path) as store:
        store.verify()
        found = bank.audit(store)

    assert found in ([0, *told], [0, *told, told[-1] + 1])


def tick(number: int) -> dict[str, object]:
    return {"tick_id": number % 1000, "event_timestamp": bank.START + timedelta(milliseconds=number), "number": number}


def soak(path: Path, *, readers: int, writers: int, seconds: float) -> tuple[ml.Store, list[int]]:
    """Threads that read single keys, and threads that append to one stream; the numbers acknowledged."""
    end = time.monotonic() + seconds
    store = ml.open(path, durability="normal")
    store.apply(ml.Entity("tick", keys={"tick_id": ml.int64}))
    store.apply(ml.FeatureView("ticks", entity="tick", schema={"number": ml.int64}))
    numbers = itertools.count()

    def write(stream: object) -> list[int]:
        done = []
        while time.monotonic() < end:
            some = [next(numbers) for _ in range(20)]
            receipts = [stream.append(tick(n)) for n in some]  # type: ignore[attr-defined]
            receipts[-1].result(60)
            done += some
        return done

    def read(number: int) -> int:
        looks = last = 0
        while time.monotonic() < end or not looks:
            seen = store.online_features(["ticks"], {"tick_id": number})["number"]
            assert seen is None or (seen >= last and seen % 1000 == number)
            last, looks = seen or last, looks + 1
        return looks

    with ThreadPoolExecutor(readers + writers) as threads, store.stream("ticks", max_seconds=0) as stream:
        writing = [threads.submit(write, stream) for _ in range(writers)]
        reading = [threads.submit(read, number) for number in range(readers)]
        acknowledged = sorted(n for done in writing for n in done.result())
        assert all(looks.result() for looks in reading)
    return store, acknowledged


def check_soak(path: Path, store: ml.Store, acknowledged: list[int], copy: Path) -> None:
    with store:
        assert sorted(store.read("ticks", columns=["number"]).table()["number"].to_pylist()) == acknowledged
        store.verify()
        store.backup(copy)


@pytest.mark.slow
def test_many_readers_and_some_writers_meet_no_error_and_lose_nothing(path: Path, tmp_path: Path):
    store, acknowledged = soak(path, readers=READERS, writers=WRITERS, seconds=3)

    assert acknowledged
    check_soak(path, store, acknowledged, tmp_path / "copy.mls")


@pytest.mark.soak
def test_many_readers_and_some_writers_do_not_make_the_file_grow_beyond_room_for_one_tail(path: Path, tmp_path: Path):
    store, acknowledged = soak(path, readers=READERS, writers=WRITERS, seconds=60)
    check_soak(path, store, acknowledged, tmp_path / "copy.mls")

    assert path.stat().st_size <= SPARE * (tmp_path / "copy.mls").stat().st_size + ROOM_OF_A_TAIL


def test_what_is_appended_is_written_at_the_end_of_the_interpreter(path: Path):
    done = subprocess.run([sys.executable, "-c", NEVER_CLOSED, str(path)], timeout=60, check=False, cwd=Path(__file__).parents[2])

    assert done.returncode == 0
    with ml.open(path) as store:
        assert bank.audit(store) == [0, 1]


def use_stream_of_the_parent(parent: Parent, store: ml.Store, stream: object, receipt: object) -> list[str]:
    told = []
    for use in (lambda: stream.append_many(bank.rounds([9])), lambda: receipt.result(10)):  # type: ignore[attr-defined]
        try:
            use()
        except ml.UsageError as error:
            told.append(error.message)
    stream.close()  # type: ignore[attr-defined]
    with store.stream("bank") as own:
        own.append_many(bank.rounds([5])).result(10)
    return told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_the_child_of_a_fork_is_told_that_the_stream_is_its_parents(path: Path):
    with ml.open(path) as store:
        with store.stream("bank", max_seconds=3600) as stream:
            receipt = stream.append_many(bank.rounds([1]))
            with Child(use_stream_of_the_parent, store, stream, receipt, method="fork") as child:
                told = child.result()

        assert len(told) == 2
        assert all("before the fork" in message for message in told)
        assert bank.audit(store) == [0, 1, 5]

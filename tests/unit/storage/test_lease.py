"""Leases keep bytes in place: collectors are refused, arrays outlive closing, and death releases."""

import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlstore.errors import UsageError
from mlstore.storage import lease as lease_module
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import declare
from mlstore.storage.lease import MAX_SEGMENT_ID, LeaseBook
from tests.support.forked import in_forked_child

A = declare("tests.a")
VALUE = np.arange(5000, dtype=np.int64)

HOLDER = """
import sys, time
from mlstore.storage.lease import LeaseBook
lease = LeaseBook(sys.argv[1]).acquire(7)
print("held" if lease else "refused", flush=True)
time.sleep(60)
"""


@pytest.fixture
def data_file(tmp_path: Path) -> str:
    (tmp_path / "data").write_bytes(b"x" * 4096)
    return str(tmp_path / "data")


@pytest.fixture
def book(data_file: str) -> LeaseBook:
    return LeaseBook(data_file)


@pytest.fixture
def other_book(data_file: str) -> LeaseBook:
    """What another process would have: descriptions of its own."""
    return LeaseBook(data_file)


@pytest.fixture
def holder(data_file: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that leases segment 7."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, data_file], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def collectable(book: LeaseBook, *segment_ids: int) -> list[int]:
    with book.collecting(segment_ids) as taken:
        return taken


def leased_array(environment: Environment, key: bytes, segment_id: int) -> np.ndarray:
    with environment.reader() as reader:
        place = reader.view(A, key)
        lease = environment.leases.acquire(segment_id)
    assert place is not None
    assert lease is not None
    return np.frombuffer(lease.buffer(place.address, place.size), dtype=np.int64)


def test_leases_are_counted_and_end_with_their_last_reference(book: LeaseBook):
    first, second = book.acquire(7), book.acquire(7)
    third = book.acquire(8)
    counts = [book.held()]

    del first
    counts.append(book.held())
    del second, third
    counts.append(book.held())

    assert counts == [{7: 2, 8: 1}, {7: 1, 8: 1}, {}]


def test_a_buffer_holds_its_lease(book: LeaseBook):
    lease = book.acquire(7)
    assert lease is not None
    buffer = lease.buffer(VALUE.ctypes.data, VALUE.nbytes)
    array = np.frombuffer(buffer, dtype=np.int64)[10:20]

    del lease, buffer
    held = book.held()
    total = int(array.sum())
    del array

    assert (held, total, book.held()) == ({7: 1}, 145, {})


def test_a_segment_leased_here_is_not_collected_here(book: LeaseBook):
    lease = book.acquire(7)

    taken = collectable(book, 6, 7, 8)
    del lease

    assert taken == [6, 8]
    assert collectable(book, 6, 7, 8) == [6, 7, 8]


def test_a_segment_leased_elsewhere_is_not_collected(book: LeaseBook, other_book: LeaseBook):
    lease = other_book.acquire(7)

    taken = collectable(book, 6, 7, 8)
    del lease

    assert taken == [6, 8]
    assert collectable(book, 7) == [7]


def test_a_segment_being_collected_cannot_be_leased_until_the_block_ends(book: LeaseBook, other_book: LeaseBook):
    with book.collecting([7]) as taken:
        during = (book.acquire(7), other_book.acquire(7))

    assert taken == [7]
    assert during == (None, None)
    assert book.acquire(7) is not None
    assert other_book.acquire(7) is not None


def test_two_collectors_never_share_a_segment(book: LeaseBook, other_book: LeaseBook):
    with book.collecting([7, 8, 7]) as taken, book.collecting([8, 9]) as by_another_thread, other_book.collecting([7, 9, 10]) as elsewhere:
        assert (taken, by_another_thread, elsewhere) == ([7, 8], [9], [10])
        assert book.held() == {}

    assert collectable(other_book, 7, 8, 9, 10) == [7, 8, 9, 10]


def test_collecting_ends_when_its_block_fails(book: LeaseBook, other_book: LeaseBook):
    with pytest.raises(KeyError), book.collecting([7]):
        raise KeyError

    assert other_book.acquire(7) is not None


def test_the_highest_segment_can_be_leased_and_no_higher(book: LeaseBook, other_book: LeaseBook):
    lease = book.acquire(MAX_SEGMENT_ID)

    assert lease is not None
    assert collectable(other_book, MAX_SEGMENT_ID) == []
    for wrong in (-1, MAX_SEGMENT_ID + 1):
        with pytest.raises(UsageError, match="no number of a segment"):
            book.acquire(wrong)


def test_a_book_for_reading_leases_but_never_collects(data_file: str, book: LeaseBook):
    reading = LeaseBook(data_file, is_writable=False)

    lease = reading.acquire(7)

    assert lease is not None
    assert collectable(reading, 8) == []
    assert collectable(book, 7, 8) == [8]


def test_without_such_locks_readers_copy_and_collectors_take_all(data_file: str, monkeypatch):
    monkeypatch.setattr(lease_module, "locks_are_supported", lambda: False)
    book = LeaseBook(data_file)

    assert book.acquire(7) is None
    assert collectable(book, 7, 8) == [7, 8]


def test_a_file_system_without_such_locks_is_noticed_on_the_way(book: LeaseBook, monkeypatch):
    def refuse(fd: int, kind: object, offset: int) -> bool:
        raise OSError(errno.EINVAL, "invalid")

    monkeypatch.setattr(lease_module, "lock_byte", refuse)

    assert book.acquire(7) is None
    assert collectable(book, 7) == [7]


def test_running_out_of_locks_makes_nobody_careless(book: LeaseBook, monkeypatch):
    def refuse(fd: int, kind: object, offset: int) -> bool:
        raise OSError(errno.ENOLCK, "no locks")

    with monkeypatch.context() as patch:
        patch.setattr(lease_module, "lock_byte", refuse)
        assert book.acquire(7) is None
        assert collectable(book, 7) == []

    assert book.acquire(7) is not None


def test_leases_dropped_in_the_middle_of_the_books_own_work_are_not_lost(book: LeaseBook):
    # A finalizer may run at any allocation, also while this thread holds the book's mutex.
    lease = book.acquire(7)
    with book._mutex:
        del lease
        count_meanwhile = dict(book._counts)

    assert count_meanwhile == {7: 1}
    assert book.held() == {}


def test_threads_lease_and_drop_without_losing_count(book: LeaseBook, other_book: LeaseBook):
    def lease_and_drop() -> None:
        for number in range(300):
            leases = [book.acquire(number % 5), book.acquire(3)]
            leases.reverse()

    threads = [threading.Thread(target=lease_and_drop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert book.held() == {}
    assert collectable(other_book, 0, 1, 2, 3, 4) == [0, 1, 2, 3, 4]


def test_a_lease_of_another_process_holds_and_its_death_releases(book: LeaseBook, holder: subprocess.Popen[str]):
    while_alive = collectable(book, 6, 7)
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    assert while_alive == [6]
    assert collectable(book, 6, 7) == [6, 7]


def test_a_child_has_leases_of_its_own_on_what_it_inherited(book: LeaseBook, other_book: LeaseBook):
    lease = book.acquire(7)
    reading, writing = os.pipe()
    done, finish = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, b"." if book.held() == {7: 1} else b"!")
        os.read(done, 1)
        os._exit(0)
    child_says = os.read(reading, 1)

    del lease
    while_child_lives = collectable(other_book, 7)
    os.write(finish, b".")
    os.waitpid(pid, 0)
    for fd in (reading, writing, done, finish):
        os.close(fd)

    assert (child_says, while_child_lives) == (b".", [])
    assert collectable(other_book, 7) == [7]


def test_a_child_that_drops_what_it_inherited_leaves_the_parents_lease(book: LeaseBook, other_book: LeaseBook):
    leases = [book.acquire(7)]

    def drop() -> dict[int, int]:
        leases.clear()
        return book.held()

    in_child = in_forked_child(drop)

    assert in_child == {}
    assert book.held() == {7: 1}
    assert collectable(other_book, 7) == []


def test_an_array_outlives_deletion_churn_and_closing(path: str):
    environment = Environment.open(path, writer_version="test")
    with environment.writer() as writer:
        writer.put(A, b"segment", VALUE.tobytes())
    array = leased_array(environment, b"segment", 7)

    for number in range(50):
        with environment.leases.collecting([7]) as taken, environment.writer() as writer:
            if 7 in taken:
                writer.delete(A, b"segment")
            writer.put(A, b"churn %d" % (number % 5), os.urandom(40_000))
    environment.close()
    gc.collect()
    same_file = Environment.open(path, writer_version="test")
    with same_file.writer() as writer:
        writer.put(A, b"after", b"x" * 40_000)

    assert np.array_equal(array, VALUE)
    assert not array.flags.writeable
    assert same_file.leases.held() == {7: 1}


def test_the_map_goes_with_the_last_array_after_closing(path: str):
    environment = Environment.open(path, writer_version="test")
    with environment.writer() as writer:
        writer.put(A, b"segment", VALUE.tobytes())
    array = leased_array(environment, b"segment", 7)

    environment.close()
    gc.collect()
    while_looked_at = f"{path}\n" in Path("/proc/self/maps").read_text()
    del array
    gc.collect()

    assert while_looked_at
    assert f"{path}\n" not in Path("/proc/self/maps").read_text()


def test_an_array_of_a_store_in_memory_outlives_it():
    environment = Environment.open(":memory:", writer_version="test")
    with environment.writer() as writer:
        writer.put(A, b"segment", VALUE.tobytes())
    array = leased_array(environment, b"segment", 7)

    environment.close()
    del environment
    gc.collect()

    assert np.array_equal(array, VALUE)


def test_leases_do_not_disturb_the_locks_of_the_engine(path: str):
    # Closing any descriptor of a file drops the process's ordinary locks on it; LMDB's are on the -lock file, ours never are.
    with Environment.open(path, writer_version="test") as environment:
        locks_before = locks_of(path + "-lock")
        lease = environment.leases.acquire(7)
        LeaseBook(path).acquire(8)
        del lease
        gc.collect()

        assert locks_before != []
        assert locks_of(path + "-lock") == locks_before


def locks_of(path: str) -> list[str]:
    inode = f":{os.stat(path).st_ino} "
    return [line.split(": ", 1)[1] for line in Path("/proc/locks").read_text().splitlines() if inode in line]


def test_a_lease_taken_while_its_parent_dies_is_released(data_file: str, book: LeaseBook):
    """The child of a killed process must not keep the locks of its parent alive."""
    script = HOLDER.replace("time.sleep(60)", "import os\nif os.fork() == 0:\n    lease = None\n    time.sleep(60)\nos._exit(0)")
    process = subprocess.Popen([sys.executable, "-c", script, data_file], stdout=subprocess.DEVNULL, start_new_session=True)
    process.wait()

    try:
        deadline = time.monotonic() + 30
        while not (taken := collectable(book, 7)) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)

    assert taken == [7]

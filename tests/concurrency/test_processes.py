"""Many processes and one file: readers beside a writer, forks and spawns, handles that travel, processes that are killed."""

import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlstore.errors import ClosedError, ReadOnlyError, StoreBusyError, StoreError
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import declare
from tests.unit.storage.child import in_forked_child

A = declare("tests.a")
ACCOUNTS = 40
TOTAL = ACCOUNTS * 100
LOOKS = 300
SPAWN = multiprocessing.get_context("spawn")
FORK = multiprocessing.get_context("fork")

WRITE_UNTIL_KILLED = """
import sys
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import declare
space = declare("tests.a")
environment = Environment.open(sys.argv[1], writer_version="test")
number = 0
while True:
    with environment.writer() as writer:
        for part in range(20):
            writer.put(space, b"part %d" % part, (b"%d " % number) * 500)
    print(number, flush=True)
    number += 1
"""

HOLD_THE_WRITER = """
import sys, time
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import declare
space = declare("tests.a")
environment = Environment.open(sys.argv[1], writer_version="test")
with environment.writer() as writer:
    writer.put(space, b"k", b"of the other process")
    print("writing", flush=True)
    sys.stdin.readline()
print("done", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the shared store lives."""
    return str(tmp_path / "store.mls")


def open_store(path: str, **options: Any) -> Environment:
    return Environment.open(path, writer_version="test", **options)


def put(environment: Environment, key: bytes, value: bytes) -> None:
    with environment.writer() as writer:
        writer.put(A, key, value)


def get(environment: Environment, key: bytes) -> bytes | None:
    with environment.reader() as reader:
        return reader.get(A, key)


def other_process(script: str, path: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def watch_accounts(path: str, queue: Any) -> None:
    sums, commits = set(), set()
    with open_store(path, read_only=True) as environment:
        for _ in range(LOOKS):
            with environment.reader() as reader:
                sums.add(sum(int(value) for _, value in reader.scan(A)))
                commits.add(reader.txn_id)
    queue.put((sums, len(commits)))


def read_through_pickle(environment: Environment, queue: Any) -> None:
    put(environment, b"from child", b"1")
    queue.put((get(environment, b"k"), environment.path, environment.durability))


def add_to_counter(path: str, times: int) -> None:
    with open_store(path, durability="normal") as environment:
        for _ in range(times):
            with environment.writer() as writer:
                writer.put(A, b"count", b"%d" % (int(writer.get(A, b"count") or b"0") + 1))


@pytest.mark.slow
def test_eight_processes_read_whole_commits_while_one_writes(path: str):
    environment = open_store(path, durability="normal")
    with environment.writer() as writer:
        writer.put_many(A, ((b"%04d" % account, b"100") for account in range(ACCOUNTS)))
    queue = SPAWN.Queue()
    readers = [SPAWN.Process(target=watch_accounts, args=(path, queue)) for _ in range(8)]
    for process in readers:
        process.start()

    numbers = random.Random(7)
    while any(process.is_alive() for process in readers):
        transfer(environment, numbers)
    assert [process.exitcode for process in readers] == [0] * 8
    results = [queue.get(timeout=60) for _ in readers]

    assert {total for sums, _ in results for total in sums} == {TOTAL}
    assert max(commits for _, commits in results) > 1
    assert environment.verify_pages() == []
    environment.close()


def transfer(environment: Environment, numbers: random.Random) -> None:
    with environment.writer() as writer:
        source, target = (b"%04d" % account for account in numbers.sample(range(ACCOUNTS), 2))
        amount = numbers.randrange(50)
        writer.put(A, source, b"%d" % (int(writer.get(A, source) or b"0") - amount))
        writer.put(A, target, b"%d" % (int(writer.get(A, target) or b"0") + amount))


def test_writers_of_several_processes_take_turns(path: str):
    open_store(path).close()
    writers = [FORK.Process(target=add_to_counter, args=(path, 50)) for _ in range(4)]

    for process in writers:
        process.start()
    for process in writers:
        process.join()

    with open_store(path) as environment:
        assert get(environment, b"count") == b"200"


def test_processes_that_create_one_file_at_once_share_one_store(path: str):
    writers = [FORK.Process(target=add_to_counter, args=(path, 5)) for _ in range(6)]

    for process in writers:
        process.start()
    for process in writers:
        process.join()

    with open_store(path) as environment:
        assert [process.exitcode for process in writers] == [0] * 6
        assert get(environment, b"count") == b"30"


def test_a_store_is_opened_and_read_while_another_process_is_writing(path: str):
    put(open_store(path), b"k", b"before")
    with other_process(HOLD_THE_WRITER, path) as process:
        assert next_line(process) == "writing"

        def look() -> tuple[bytes | None, bytes | None]:
            return get(open_store(path, read_only=True), b"k"), get(open_store(path), b"k")

        seen = in_forked_child(look)
        process.communicate("go\n")

    assert seen == (b"before", b"before")


def test_a_store_opened_while_another_process_was_writing_can_write_afterwards(path: str):
    with other_process(HOLD_THE_WRITER, path) as process:
        assert next_line(process) == "writing"
        environment = open_store(path)
        before = get(environment, b"k")
        waiting = threading.Thread(target=put, args=(environment, b"mine", b"1"))
        waiting.start()
        process.communicate("go\n")
        waiting.join()

    assert before is None
    assert (get(environment, b"k"), get(environment, b"mine")) == (b"of the other process", b"1")


def test_a_store_opened_while_another_process_was_writing_is_mapped_for_good_by_the_next_reader(path: str):
    environment = opened_while_another_writes(path, lambda environment: get(environment, b"k"))

    get(environment, b"k")
    lease = environment.leases.acquire(1)
    place = view(environment, b"old")
    put(environment, b"mine", b"1")

    assert lease is not None
    assert view(environment, b"old") == place


def test_whoever_keeps_addresses_is_told_before_they_become_void(path: str):
    calls: list[str] = []
    environment = opened_while_another_writes(path, lambda environment: view(environment, b"old"))
    environment.on_remap(lambda: calls.append("forget"))

    get(environment, b"k")
    before_writing = list(calls)
    put(environment, b"mine", b"1")
    put(environment, b"mine", b"2")

    assert (before_writing, calls) == ([], ["forget"])
    assert get(environment, b"mine") == b"2"


@pytest.mark.parametrize("look", ["lease", "view", "reader"])
def test_nobody_loses_an_address_without_being_told(path: str, look: str):
    kept: list[Any] = []

    def look_at_it(environment: Environment) -> None:
        if look == "lease":
            kept.append(environment.leases.acquire(1))
        elif look == "view":
            view(environment, b"old")
        else:
            kept.append(environment.reader())
            kept[0].__enter__()

    environment = opened_while_another_writes(path, look_at_it)

    with pytest.raises(StoreBusyError, match="drop all arrays of this store, or close it"):
        put(environment, b"mine", b"1")
    if look == "reader":
        kept[0].__exit__(None, None, None)
    kept.clear()
    environment.close()

    put(open_store(path), b"mine", b"1")


def opened_while_another_writes(path: str, look: Callable[[Environment], object]) -> Environment:
    with open_store(path) as first:
        put(first, b"old", b"v" * 5000)
    with other_process(HOLD_THE_WRITER, path) as process:
        assert next_line(process) == "writing"
        environment = open_store(path)
        look(environment)
        process.communicate("go\n")
    return environment


def view(environment: Environment, key: bytes) -> object:
    with environment.reader() as reader:
        return reader.view(A, key)


def test_a_handle_works_in_a_forked_child_and_in_its_parent(path: str):
    environment = open_store(path)
    put(environment, b"k", b"v")

    def use_in_child() -> tuple[bytes | None, list[str]]:
        put(environment, b"from child", b"1")
        return get(environment, b"k"), environment.verify_pages()

    in_child = in_forked_child(use_in_child)
    put(environment, b"from parent", b"2")

    assert in_child == (b"v", [])
    assert (get(environment, b"from child"), get(environment, b"from parent")) == (b"1", b"2")


def test_a_handle_works_in_the_child_of_a_child(path: str):
    environment = open_store(path)
    put(environment, b"k", b"v")

    def use_in_child() -> bytes | None:
        get(environment, b"k")
        return in_forked_child(lambda: get(environment, b"k"))

    assert in_forked_child(use_in_child) == b"v"


def test_a_read_only_handle_stays_one_in_a_forked_child(path: str):
    open_store(path).close()
    environment = open_store(path, read_only=True)

    def write() -> str:
        with pytest.raises(ReadOnlyError) as caught:
            put(environment, b"k", b"v")
        return caught.value.kind

    assert in_forked_child(write) == "read_only"


def test_a_child_never_touches_the_transactions_of_its_parent(path: str):
    environment = open_store(path)
    put(environment, b"k", b"v")

    with environment.reader() as reader, environment.writer() as writer:
        writer.put(A, b"k", b"new")
        seen = in_forked_child(lambda: try_inherited(reader, writer, environment))
        oldest = environment.info()["oldest_reader_txn_id"]
        read_after = reader.get(A, b"k")
        pinned = reader.txn_id

    assert seen == (["closed"] * 4, b"v")
    assert (read_after, oldest) == (b"v", pinned)
    assert get(environment, b"k") == b"new"


def try_inherited(reader: Any, writer: Any, environment: Environment) -> tuple[list[str], bytes | None]:
    kinds = []
    uses: tuple[Callable[[], object], ...] = (
        lambda: reader.get(A, b"k"),
        lambda: writer.put(A, b"k", b"x"),
        lambda: list(reader.scan(A)),
        lambda: writer.__exit__(None, None, None),
    )
    for use in uses:
        with pytest.raises(ClosedError, match="before the fork") as caught:
            use()
        kinds.append(caught.value.kind)
    reader.__exit__(None, None, None)
    return kinds, get(environment, b"k")


def test_a_child_that_ends_normally_leaves_the_parents_readers_in_place(path: str):
    # At exit the interpreter destroys what is left; the lmdb package would then free the reader slots of the parent.
    script = """
import os, sys
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import declare
space = declare("tests.a")
environment = Environment.open(sys.argv[1], writer_version="test")
with environment.writer() as writer:
    writer.put(space, b"k", b"v")
with environment.reader() as reader, environment.writer() as writer:
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    os.waitpid(pid, 0)
    print(environment.info()["readers"], reader.get(space, b"k"), writer.put(space, b"k", b"w"))
print(environment.info()["readers"])
"""
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)

    # A Reader is two readers of LMDB, one for bytes and one for addresses; the child's error is the writer block it left.
    assert done.stdout.splitlines() == ["2 b'v' True", "0"]


def test_arrays_of_the_parent_stay_readable_in_the_child(path: str):
    environment = open_store(path)
    value = np.arange(10_000)
    put(environment, b"segment", value.tobytes())
    with environment.reader() as reader:
        place = reader.view(A, b"segment")
        lease = environment.leases.acquire(1)
    assert place is not None
    assert lease is not None
    array = np.frombuffer(lease.buffer(place.address, place.size), dtype=np.int64)

    def read_in_child() -> tuple[bool, dict[int, int]]:
        put(environment, b"other", b"x" * 100_000)
        environment.close()
        return bool(np.array_equal(array, value)), open_store(path).leases.held()

    assert in_forked_child(read_in_child) == (True, {})
    assert environment.leases.held() == {1: 1}


def test_a_store_in_memory_is_shared_with_a_forked_child(path: str):
    environment = open_store(":memory:")
    put(environment, b"k", b"v")

    def use_in_child() -> bytes | None:
        put(environment, b"from child", b"1")
        seen = get(environment, b"k")
        environment.close()
        return seen

    assert in_forked_child(use_in_child) == b"v"
    assert get(environment, b"from child") == b"1"


def test_a_path_that_leads_elsewhere_after_the_fork_is_noticed(path: str):
    environment = open_store(path)

    def replace_and_use() -> str:
        os.rename(path, path + ".old")
        open_store(path).close()
        with pytest.raises(StoreError, match="replaced by another store") as caught:
            get(environment, b"k")
        return caught.value.kind

    assert in_forked_child(replace_and_use) == "store"


def test_forks_while_threads_read_and_write_never_hang(path: str):
    environment = open_store(path, durability="normal")
    put(environment, b"k", b"v")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            put(environment, b"busy", os.urandom(8))
            get(environment, b"k")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        answers = [in_forked_child(lambda: get(environment, b"k")) for _ in range(10)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert answers == [b"v"] * 10


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_handle_travels_to_another_process(path: str, method: str):
    context: Any = multiprocessing.get_context(method)
    environment = open_store(path, durability="normal")
    put(environment, b"k", b"v")
    queue = context.Queue()

    process = context.Process(target=read_through_pickle, args=(environment, queue))
    process.start()
    answer = queue.get(timeout=60)
    process.join()

    assert answer == (b"v", path, "normal")
    assert get(environment, b"from child") == b"1"


def test_a_handle_pickled_in_one_process_opens_in_an_unrelated_one(path: str):
    with open_store(path) as environment:
        put(environment, b"k", b"v")
        packed = pickle.dumps(environment)
    script = """
import pickle, sys
from mlstore.storage.keyspace import declare
declare("tests.a")
print(pickle.loads(bytes.fromhex(sys.argv[1])).info()["keyspaces"]["tests.a"])
"""

    done = subprocess.run([sys.executable, "-c", script, packed.hex()], capture_output=True, text=True, check=True)

    assert done.stdout == "1\n"


def test_a_killed_writer_leaves_the_last_whole_commit_and_the_lock_free(path: str):
    for _ in range(3):
        with other_process(WRITE_UNTIL_KILLED, path) as process:
            lines = [next_line(process) for _ in range(5)]
            process.send_signal(signal.SIGKILL)
            rest, _ = process.communicate()
        acknowledged = int((lines + rest.split())[-1])

        with open_store(path) as environment:
            put(environment, b"survivor", b"1")
            with environment.reader() as reader:
                numbers = {value.split(b" ")[0] for _, value in reader.scan_prefix(A, b"part")}
            problems = environment.verify_pages()

        assert len(numbers) == 1
        assert int(numbers.pop()) >= acknowledged
        assert problems == []


def test_reader_slots_of_killed_processes_are_taken_back(path: str):
    put(open_store(path), b"k", b"v")
    script = """
import sys, time
from mlstore.storage.environment import Environment
with Environment.open(sys.argv[1], read_only=True, writer_version="test").reader():
    print("reading", flush=True)
    time.sleep(60)
"""
    with other_process(script, path) as process:
        assert next_line(process) == "reading"
        process.kill()
        process.communicate()

    answers = in_forked_child(lambda: (open_store(path).info()["readers"], open_store(path).info()["oldest_reader_txn_id"]))

    assert answers == (0, None)


def test_waiting_for_a_writer_can_be_interrupted(path: str):
    script = """
import signal, sys
from mlstore.storage.environment import Environment
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite started in the background has it ignored
environment = Environment.open(sys.argv[1], writer_version="test")
print("waiting", flush=True)
try:
    with environment.writer():
        print("got it", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    environment = open_store(path)
    with environment.writer(), other_process(script, path) as process:
        assert next_line(process) == "waiting"
        lines: list[str] = []
        listener = threading.Thread(target=lambda: lines.append(next_line(process)))
        listener.start()
        # Sent again until heard: the first may come before the process waits.
        while listener.is_alive():
            process.send_signal(signal.SIGINT)
            listener.join(timeout=0.2)
            if lines:
                break
        process.communicate()

    assert lines in (["interrupted"], [""])
    put(environment, b"k", b"v")

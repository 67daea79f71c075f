"""Many processes and one file: readers beside a writer, forks and spawns, handles that travel, processes that are killed."""

import multiprocessing
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mlstore.errors import StoreBusyError
from mlstore.storage.environment import Environment
from tests.support.forked import in_forked_child
from tests.support.records import A, get, open_store, put

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

"""Handles in other processes: forked, spawned, pickled."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlstore.errors import ClosedError, ReadOnlyError, StoreError
from mlstore.storage.environment import Environment
from tests.support.forked import in_forked_child
from tests.support.records import A, get, open_store, put


def read_through_pickle(environment: Environment, queue: Any) -> None:
    put(environment, b"from child", b"1")
    queue.put((get(environment, b"k"), environment.path, environment.durability))


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

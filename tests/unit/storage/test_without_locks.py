"""Systems that have no locks of single bytes, or a file system that refuses them: less is told, and nothing is lost."""

import errno
import fcntl
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mlstore.errors import StoreError
from mlstore.storage import lease, lockbyte, presence, turn
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import declare

A = declare("tests.a")


def refuse_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that knows no such locks."""
    original: Callable[..., Any] = fcntl.fcntl

    def control(fd: int, command: int, argument: Any = 0) -> Any:
        if command in (fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW):
            raise OSError(errno.ENOLCK, "no locks available")
        return original(fd, command, argument)

    monkeypatch.setattr(lockbyte.fcntl, "fcntl", control)


def know_no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system other than Linux."""
    for module in (lease, presence, turn):
        monkeypatch.setattr(module, "locks_are_supported", lambda: False)


@pytest.fixture(params=[refuse_locks, know_no_locks])
def opened(request: pytest.FixtureRequest, path: str, monkeypatch: pytest.MonkeyPatch):
    request.param(monkeypatch)
    with Environment.open(path, writer_version="test") as environment:
        yield environment


def test_a_store_is_written_and_read_without_locks(opened: Environment):
    with opened.writer() as writer:
        writer.put(A, b"k", b"1")
    with opened.writer() as writer:
        writer.put(A, b"k", writer.get(A, b"k") + b"2")

    with opened.reader() as reader:
        assert reader.get(A, b"k") == b"12"


def test_writers_of_several_threads_take_turns_without_locks(opened: Environment):
    def count() -> None:
        for _ in range(20):
            with opened.writer() as writer:
                writer.put(A, b"n", b"%d" % (int(writer.get(A, b"n") or b"0") + 1))

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with opened.reader() as reader:
        assert reader.get(A, b"n") == b"60"


def test_without_locks_nobody_can_be_alone_with_a_file_so_it_is_not_compacted(opened: Environment):
    with opened.writer() as writer:
        writer.put(A, b"k", b"v")

    with pytest.raises(StoreError, match="cannot be compacted here: the system does not tell who else") as refused:
        opened.compact()

    assert "backup(path)" in refused.value.hint
    with opened.reader() as reader:
        assert reader.get(A, b"k") == b"v"


def test_an_unexpected_answer_of_the_system_to_a_lock_is_no_refusal(path: str, environment: Environment, monkeypatch: pytest.MonkeyPatch):
    with open(path, "rb") as file:
        refuse_locks(monkeypatch)

        with pytest.raises(OSError, match="no locks available"):
            lockbyte.lock_byte(file.fileno(), lockbyte.LockKind.SHARED, 1 << 60)

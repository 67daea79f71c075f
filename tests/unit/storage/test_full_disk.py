"""Disks that are full or fail: one clear error, nothing stored by halves, and a store that goes on or says why not."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from mlstore.errors import StoreError, StoreFullError
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import declare

A = declare("tests.a")
DISK_BYTES = 8 << 20

WITH_FILE_LIMIT = """
import resource, sys
from mlstore.errors import StoreFullError
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import declare
space = declare("tests.a")
environment = Environment.open(sys.argv[1], writer_version="test")
with environment.writer() as writer:
    writer.put(space, b"before", b"1")
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
try:
    with environment.writer() as writer:
        writer.put(space, b"large", b"x" * (4 << 20))
except StoreFullError as error:
    print(error.kind)
with environment.writer() as writer:
    writer.put(space, b"after", b"2")
print(environment.verify_pages())
with environment.reader() as reader:
    print(list(reader.scan(space)))
"""

WITH_BROKEN_DESCRIPTOR = """
import os, sys
from mlstore.errors import StoreError
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import declare
space = declare("tests.a")
path = sys.argv[1]
environment, other = (Environment.open(path, writer_version="test") for _ in range(2))
with environment.writer() as writer:
    writer.put(space, b"before", b"1")

def writing_descriptors():
    for name in os.listdir("/proc/self/fd"):
        if os.path.exists(f"/proc/self/fd/{name}") and os.path.realpath(f"/proc/self/fd/{name}") == path:
            with open(f"/proc/self/fdinfo/{name}") as info:
                flags = int([line.split()[1] for line in info if line.startswith("flags")][0], 8)
            if flags & os.O_ACCMODE == os.O_RDWR:
                yield int(name)

saved = {fd: os.dup(fd) for fd in list(writing_descriptors())}
broken = os.open(path, os.O_RDONLY)
for fd in saved:
    os.dup2(broken, fd)
try:
    with environment.writer() as writer:
        writer.put(space, b"lost", b"x")
except StoreError as error:
    print(type(error).__name__, "could not commit" in str(error))
for fd, good in saved.items():
    os.dup2(good, fd)
for handle in (environment, other):
    try:
        with handle.writer() as writer:
            pass
    except StoreError as error:
        print(type(error).__name__, "a commit failed before" in str(error), "open it again" in error.hint)
with environment.reader() as reader:
    print(list(reader.scan(space)))
again = Environment.open(path, writer_version="test")
with again.writer() as writer:
    writer.put(space, b"after", b"2")
print(again.verify_pages())
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes; needs the right to mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounting.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def run(script: str, path: Path) -> list[str]:
    return subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, check=True, text=True).stdout.splitlines()


def fill(environment: Environment, key: bytes, size: int) -> None:
    with environment.writer() as writer:
        writer.put(A, key, b"x" * size)


def test_a_full_disk_is_one_clear_error_and_the_store_goes_on(small_disk: Path):
    with Environment.open(small_disk / "store.mls", writer_version="test") as environment:
        fill(environment, b"first", 1 << 20)

        with pytest.raises(StoreFullError, match=r"store\.mls: could not commit: no room left on the disk \(make room"):
            fill(environment, b"second", 2 * DISK_BYTES)
        problems = environment.verify_pages()
        with environment.writer() as writer:
            writer.put(A, b"small", b"still works")
            writer.delete(A, b"first")
        fill(environment, b"third", 1 << 20)

        with environment.reader() as reader:
            assert [key for key, _ in reader.scan(A, keys_only=True)] == [b"small", b"third"]
        assert problems == environment.verify_pages() == []


def test_a_disk_that_fills_up_in_small_steps_keeps_every_commit_that_returned(small_disk: Path):
    with Environment.open(small_disk / "store.mls", writer_version="test") as environment:
        stored: list[bytes] = []

        def fill_up() -> None:
            while True:
                key = b"%06d" % len(stored)
                fill(environment, key, 100_000)
                stored.append(key)

        with pytest.raises(StoreFullError):
            fill_up()

        with environment.reader() as reader:
            assert [key for key, _ in reader.scan(A)] == stored
        assert environment.verify_pages() == []
        with environment.writer() as writer:
            assert writer.delete_range(A) == len(stored) > 50


def test_a_full_disk_leaves_no_half_copy(small_disk: Path, tmp_path: Path):
    with Environment.open(tmp_path / "store.mls", writer_version="test") as environment:
        fill(environment, b"large", 2 * DISK_BYTES)

        with pytest.raises(StoreFullError, match="no room left"):
            environment.copy_to(small_disk / "copy.mls")

    assert os.listdir(small_disk) == []


def test_a_full_disk_refuses_a_new_store(small_disk: Path):
    (small_disk / "filler").write_bytes(b"x" * (DISK_BYTES - 4096))

    with pytest.raises(StoreFullError, match="no room left"):
        Environment.open(small_disk / "store.mls", writer_version="test")


def test_a_limit_on_the_size_of_files_is_a_full_store_that_goes_on(tmp_path: Path):
    lines = run(WITH_FILE_LIMIT, tmp_path / "store.mls")

    assert lines == ["store_full", "[]", "[(b'after', b'2'), (b'before', b'1')]"]


def test_after_a_failed_commit_no_handle_writes_until_it_is_opened_again(tmp_path: Path):
    lines = run(WITH_BROKEN_DESCRIPTOR, tmp_path / "store.mls")

    assert lines == ["StoreError True", "StoreError True True", "StoreError True True", "[(b'before', b'1')]", "[]"]


def test_a_failed_flush_after_the_commit_is_a_failed_commit(tmp_path: Path, monkeypatch):
    first = Environment.open(tmp_path / "store.mls", durability="normal", writer_version="test")
    full = Environment.open(tmp_path / "store.mls", durability="full", writer_version="test")
    mapped = first._mapped
    assert mapped is not None

    class BrokenDisk:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def sync(self, *, force: bool) -> None:
            error = lmdb.Error("mdb_env_sync")
            error.code = errno.EIO
            raise error

    real = mapped.env
    monkeypatch.setattr(mapped, "env", BrokenDisk())

    with pytest.raises(StoreError, match="the disk failed"):
        fill(full, b"k", 1)

    monkeypatch.undo()
    with pytest.raises(StoreError, match="a commit failed before"):
        fill(first, b"k", 1)
    fill(Environment.open(tmp_path / "store.mls", writer_version="test"), b"k", 1)

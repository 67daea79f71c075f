"""Large values are found by their nodes: where LMDB finds them, and without being touched."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

import lmdb
import pyarrow as pa
import pytest

from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import declare
from mlstore.storage.nodes import Nodes

A = declare("tests.nodes")
SIZES = [0, 1, 100, 2000, 2020, 2030, 2040, 4000, 4096, 5000, 70_000, 1_000_000]
PAGE = 4096


def value_of(size: int) -> bytes:
    return bytes((size + place) % 251 for place in range(size))


def test_values_of_every_size_are_seen_where_they_lie(environment: Environment) -> None:
    with environment.writer() as writer:
        for size in SIZES:
            writer.put(A, b"%08d" % size, value_of(size))

    with environment.reader() as reader:
        for size in reversed(SIZES):
            for _ in range(2):
                place = reader.view(A, b"%08d" % size)

                assert place is not None
                assert place.size == size
                assert ctypes.string_at(place.address, size) == value_of(size)
        assert reader.view(A, b"%08d" % 7) is None


def test_a_value_is_where_lmdb_says_it_is_after_others_moved(environment: Environment, path: str) -> None:
    with environment.writer() as writer:
        for number in range(40):
            writer.put(A, b"%02d" % number, value_of(10_000 + number))
    with environment.writer() as writer:
        for number in range(0, 40, 3):
            writer.delete(A, b"%02d" % number)
        for number in range(40, 60):
            writer.put(A, b"%02d" % number, value_of(20_000 + number))

    with environment.reader() as reader:
        seen = {key: reader.view(A, key) for key, _ in reader.scan(A, keys_only=True)}
        told = dict(reader.scan(A))

    assert {key: ctypes.string_at(place.address, place.size) for key, place in seen.items() if place is not None} == told


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells which pages a process has touched")
def test_a_value_that_is_looked_up_is_not_touched(path: str) -> None:
    with Environment.open(path, writer_version="test") as environment, environment.writer() as writer:
        writer.put(A, b"small", bytes(5000))
        writer.put(A, b"large", bytes(1 << 24))

    with Environment.open(path, writer_version="test") as environment, environment.reader() as reader:
        reader.view(A, b"small")  # from which is learnt where the file is mapped
        before = mapped_bytes(path)
        place = reader.view(A, b"large")
        looked_up = mapped_bytes(path) - before
        assert place is not None
        read = sum(ctypes.string_at(place.address, place.size)[::PAGE])
        touched = mapped_bytes(path) - before

    # The system maps some pages around one that is touched.
    assert (read, touched > 1 << 23, looked_up < 1 << 22) == (0, True, True)


def mapped_bytes(path: str) -> int:
    """How much of a file this process has touched in its map."""
    smaps = Path("/proc/self/smaps").read_text()
    of_file = re.findall(rf"{re.escape(path)}\n(?:.*\n)*?Rss: +(\d+) kB", smaps)
    return 1024 * sum(map(int, of_file))


@pytest.mark.parametrize("wrong", ["page size", "flags"])
def test_nodes_that_are_not_as_expected_are_left_to_lmdb(environment: Environment, path: str, wrong: str, monkeypatch) -> None:
    with environment.writer() as writer:
        for key in (b"a", b"b"):
            writer.put(A, key, value_of(9000 + key[0]))
    if wrong == "flags":
        monkeypatch.setattr("mlstore.storage.nodes._read", lambda key, size: (77, 5))

    with environment.reader() as reader:
        nodes = Nodes(3001 if wrong == "page size" else PAGE)
        viewing, handle = reader._viewing, reader._handles[A.name]
        places = [nodes.view(viewing, handle, key) for key in (b"a", b"b", b"a")]
        expected = [pa.py_buffer(viewing.get(key, db=handle)).address for key in (b"a", b"b", b"a")]

    assert [place.address for place in places if place is not None] == expected
    assert isinstance(viewing, lmdb.Transaction)

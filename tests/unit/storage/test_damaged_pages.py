"""Pages that are not as they were written: whatever meets one says what it was doing and where, and writes nothing."""

import gc
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlstore.errors import CorruptionError, StoreError
from mlstore.storage.environment import Environment
from mlstore.storage.glance import glance
from mlstore.storage.keyspace import declare
from mlstore.storage.pages import find_page_damage, require_sound, require_whole
from mlstore.storage.transaction import Reader, Writer

A = declare("tests.a")
PAGE = 4096
KEY = b"000100"

READING: dict[str, tuple[str, Callable[[Reader], Any]]] = {
    "get": ("read a key of", lambda reader: reader.get(A, KEY)),
    "get_many": ("read keys of", lambda reader: reader.get_many(A, [KEY])),
    "view": ("view a key of", lambda reader: reader.view(A, KEY)),
    "first": ("scan", lambda reader: reader.first(A, KEY)),
    "last": ("scan", lambda reader: reader.last(A, b"", KEY)),
    "scan": ("scan", lambda reader: list(reader.scan(A))),
    "glance": ("read a key of", lambda reader: glance(reader.environment, A, [KEY], (A, b"tick"), (-1, -1))),
    "scan backward": ("scan", lambda reader: list(reader.scan(A, reverse=True))),
}
WRITING: dict[str, tuple[str, Callable[[Writer], Any]]] = {
    "put": ("put a key into", lambda writer: writer.put(A, KEY, b"new")),
    "put_many": ("put keys into", lambda writer: writer.put_many(A, [(KEY, b"new")])),
    "delete": ("delete a key of", lambda writer: writer.delete(A, KEY)),
    "delete_range": ("scan", lambda writer: writer.delete_range(A, KEY, b"000200")),
    "delete all": ("delete keys of", lambda writer: writer.delete_range(A)),
}


@pytest.fixture
def damaged(path: str) -> str:
    """A store whose pages of the keyspace A are scribbled over; its other pages are whole."""
    with Environment.open(path, writer_version="test") as environment, environment.writer() as writer:
        writer.put_many(A, ((b"%06d" % number, b"v" * 50) for number in range(2000)))
    gc.collect()
    content = bytearray(Path(path).read_bytes())
    for start in range(2 * PAGE, len(content), PAGE):
        page = content[start : start + PAGE]
        # The page of the names may lie where values lay before.
        if page.count(b"v" * 50) > 4 and A.name.encode() not in page:
            content[start : start + PAGE] = b"\xee" * PAGE
    Path(path).write_bytes(content)
    return path


@pytest.mark.parametrize(("doing", "ask"), READING.values(), ids=READING)
def test_what_reads_a_damaged_page_tells_what_and_where(damaged: str, doing: str, ask: Callable[[Reader], Any]):
    with (
        Environment.open(damaged, writer_version="test", read_only=True) as environment,
        environment.reader() as reader,
        pytest.raises(CorruptionError, match=rf"store\.mls: could not {doing} tests\.a: a page is damaged"),
    ):
        ask(reader)


@pytest.mark.parametrize(("doing", "act"), WRITING.values(), ids=WRITING)
def test_what_writes_over_a_damaged_page_says_so_and_stores_nothing(damaged: str, doing: str, act: Callable[[Writer], Any]):
    with Environment.open(damaged, writer_version="test") as environment:
        with environment.reader() as reader:
            before = reader.txn_id

        with (
            pytest.raises(StoreError),  # the block ends well, and is refused for what happened in it
            environment.writer() as writer,
            pytest.raises(CorruptionError, match=rf"store\.mls: could not {doing} tests\.a: a page is damaged"),
        ):
            act(writer)

        with environment.reader() as reader:
            assert reader.txn_id == before


def test_a_file_with_damaged_pages_is_refused_where_its_pages_are_looked_at(damaged: str):
    require_whole(damaged, shown="it")

    with pytest.raises(CorruptionError, match="it: its pages are damaged: ") as refused:
        require_sound(damaged, shown="it")

    assert "salvage" in refused.value.hint


def test_a_sound_file_has_no_damage(environment: Environment, path: str):
    with environment.writer() as writer:
        writer.put(A, b"k", b"v")

    require_sound(path, shown="it")
    assert find_page_damage(path, shown="it") == []


def test_a_file_that_was_cut_short_is_refused_before_it_is_mapped(damaged: str):
    content = Path(damaged).read_bytes()
    Path(damaged).write_bytes(content[: len(content) // 2])

    with pytest.raises(CorruptionError, match="was cut short: its end is missing"):
        Environment.open(damaged, writer_version="test")


@pytest.mark.parametrize("kept_bytes", [100, PAGE, PAGE + 100])
def test_a_file_without_its_second_head_page_was_cut_short(damaged: str, kept_bytes: int):
    Path(damaged).write_bytes(Path(damaged).read_bytes()[:kept_bytes])

    with pytest.raises(CorruptionError, match="was cut short"):
        require_whole(damaged, shown="it")


def test_a_head_page_of_an_impossible_page_size_is_damaged(damaged: str):
    content = bytearray(Path(damaged).read_bytes())
    struct.pack_into("=I", content, 16 + 24, 5000)
    Path(damaged).write_bytes(content)

    with pytest.raises(CorruptionError, match="its first page is damaged"):
        require_whole(damaged, shown="it")


def test_head_pages_of_commits_that_do_not_follow_each_other_tell_of_a_lost_one(path: str):
    with Environment.open(path, writer_version="test") as environment:
        for number in range(3):
            with environment.writer() as writer:
                writer.put(A, b"k", bytes([number]))
    gc.collect()
    content = bytearray(Path(path).read_bytes())
    commits = [struct.unpack_from("=Q", content, start + 16 + 128)[0] for start in (0, PAGE)]
    older = commits.index(min(commits))
    struct.pack_into("=Q", content, older * PAGE + 16 + 128, min(commits) - 2)
    Path(path).write_bytes(content)

    damage = find_page_damage(path, shown="it")

    assert any("do not follow each other: the last commit may be lost" in problem for problem in damage)
    assert all(str(number) in damage[0] for number in (min(commits) - 2, max(commits)))

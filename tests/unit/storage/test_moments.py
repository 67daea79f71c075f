"""What others do at the worst moment: between two halves of a begin, amid a look at the pages, before a glance."""

import ctypes
from typing import Any

import lmdb
import pytest

from mlstore.errors import StoreBusyError
from mlstore.storage import inspection
from mlstore.storage.environment import Environment
from mlstore.storage.glance import glance
from mlstore.storage.keyspace import Keyspace, declare
from mlstore.storage.mapped_file import MappedFile

A = declare("tests.a")
GUARD = declare("tests.guard"), b"tick"
NEVER = (-1, -1)


@pytest.fixture
def filled(environment: Environment) -> Environment:
    with environment.writer() as writer:
        writer.put(A, b"big", b"1" * 5000)
        writer.put(*GUARD, b"7")
    return environment


def test_a_commit_between_the_halves_of_a_begin_is_seen_by_both_or_by_none(filled: Environment, monkeypatch: pytest.MonkeyPatch):
    original, commits = MappedFile.begin_view, []

    def commit_first(mapped: MappedFile) -> Any:
        if not commits:
            commits.append(1)
            with filled.writer() as writer:
                writer.put(A, b"big", b"2" * 5000)
        return original(mapped)

    monkeypatch.setattr(MappedFile, "begin_view", commit_first)

    with filled.reader() as reader:
        place = reader.view(A, b"big")

        assert commits
        assert place is not None
        assert ctypes.string_at(place.address, place.size) == reader.get(A, b"big") == b"2" * 5000


def test_a_begin_that_fails_half_way_keeps_no_reader_slot(filled: Environment, monkeypatch: pytest.MonkeyPatch):
    def refuse(mapped: MappedFile) -> Any:
        raise lmdb.ReadersFullError("mdb_txn_begin")

    with monkeypatch.context() as patch:
        patch.setattr(MappedFile, "begin_view", refuse)
        with pytest.raises(StoreBusyError, match="all reader slots are taken"):
            filled.reader().__enter__()

    assert filled.info()["readers"] == 0


@pytest.mark.parametrize("times", [1, 2])
def test_slots_of_dead_readers_are_freed_once_for_views_too(filled: Environment, monkeypatch: pytest.MonkeyPatch, times: int):
    mapped = filled.use()
    real, calls = mapped.env, []

    class Crowded:
        def reader_check(self) -> None:
            calls.append("check")

        def begin(self, *, buffers: bool) -> Any:
            calls.append("begin")
            if calls.count("begin") <= times:
                raise lmdb.ReadersFullError("mdb_txn_begin")
            return real.begin(buffers=buffers)

    monkeypatch.setattr(mapped, "env", Crowded())

    if times == 1:
        mapped.begin_view().abort()
    else:
        with pytest.raises(lmdb.ReadersFullError):
            mapped.begin_view()

    assert calls == ["begin", "check", "begin"]


def test_pages_changed_by_another_process_amid_the_look_at_them_are_looked_at_again(filled: Environment, monkeypatch: pytest.MonkeyPatch):
    mapped, looks = filled.use(), []

    def look(path: str, *, shown: str) -> list[str]:
        looks.append(path)
        if len(looks) < 3:
            with mapped.env.begin(write=True) as transaction:
                transaction.put(b"k", b"%d" % len(looks), db=mapped.handles[A.name])
            return ["page 9 is being written"]
        return []

    monkeypatch.setattr(inspection, "find_page_damage", look)

    assert filled.verify_pages() == []
    assert len(looks) == 3


def test_damage_that_nobody_is_writing_is_reported_at_once(filled: Environment, monkeypatch: pytest.MonkeyPatch):
    looks = []
    monkeypatch.setattr(inspection, "find_page_damage", lambda path, shown: looks.append(path) or ["page 9 is lost"])

    assert filled.verify_pages() == ["page 9 is lost"]
    assert len(looks) == 1


def test_damage_that_others_write_time_and_again_is_reported_in_the_end(filled: Environment, monkeypatch: pytest.MonkeyPatch):
    mapped, looks = filled.use(), []

    def look(path: str, *, shown: str) -> list[str]:
        looks.append(path)
        with mapped.env.begin(write=True) as transaction:
            transaction.put(b"k", b"%d" % len(looks), db=mapped.handles[A.name])
        return [f"page {len(looks)} is being written"]

    monkeypatch.setattr(inspection, "find_page_damage", look)

    assert filled.verify_pages() == ["page 5 is being written"]


def test_a_glance_reads_the_guard_only_when_something_was_committed_since(filled: Environment):
    values, moment, tick = glance(filled, A, [b"big", b"absent"], GUARD, NEVER)
    again = glance(filled, A, [b"big"], GUARD, moment)
    with filled.writer() as writer:
        writer.put(A, b"big", b"2")
    later, later_moment, later_tick = glance(filled, A, [b"big"], GUARD, moment)

    assert (values, tick) == ([b"1" * 5000, None], b"7")
    assert again == ([b"1" * 5000], moment, None)
    assert (later, later_tick) == ([b"2"], b"7")
    assert later_moment != moment


def test_a_glance_at_what_the_file_does_not_have_finds_nothing(filled: Environment):
    never_made = Keyspace("tests.never_made")

    of_no_space, moment, tick = glance(filled, never_made, [b"a", b"b"], GUARD, NEVER)
    of_no_guard = glance(filled, A, [b"big"], (never_made, b"tick"), NEVER)

    assert (of_no_space, tick) == ([None, None], b"7")
    assert of_no_guard == ([b"1" * 5000], moment, None)
    assert filled.info()["readers"] == 0

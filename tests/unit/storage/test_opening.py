"""Opening when something is in the way: the system refuses, another file has the name, somebody is faster."""

import errno
import gc
import os
import tempfile
from pathlib import Path
from typing import Any

import lmdb
import pytest

from mlstore.errors import CorruptionError, DefinitionError, NotAStoreError, StoreError
from mlstore.storage import filesystem, keyspace, recognition, registry
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import META, declare
from mlstore.storage.mapped_file import MappedFile
from mlstore.storage.turn import Turn
from tests.support.forked import in_forked_child
from tests.support.records import A, open_store


def test_an_lmdb_file_with_a_plain_record_of_our_name_is_not_one_of_ours(path: str):
    with lmdb.Environment(path, subdir=False, max_dbs=4) as foreign, foreign.begin(write=True) as transaction:
        transaction.put(META.name.encode(), b"value")
    os.unlink(path + "-lock")

    with pytest.raises(NotAStoreError, match="an LMDB file, but not of mlstore"):
        open_store(path)

    assert not os.path.exists(path + "-lock")


def test_a_keyspace_whose_name_is_no_text_is_damage(path: str):
    open_store(path).close()
    with lmdb.Environment(path, subdir=False, max_dbs=100) as damaged, damaged.begin(write=True) as transaction:
        transaction.put(b"tests\xff", b"value")

    with pytest.raises(CorruptionError, match="a keyspace whose name is no text"):
        open_store(path)


@pytest.mark.parametrize("has_lock_file", [True, False])
def test_an_lmdb_file_without_records_holds_no_store_to_read(path: str, has_lock_file: bool):
    lmdb.Environment(path, subdir=False, max_dbs=4).close()
    with lmdb.Environment(path, subdir=False) as blank, blank.begin(write=True) as transaction:
        transaction.put(b"k", b"v")
        transaction.delete(b"k")
    if not has_lock_file:
        os.unlink(path + "-lock")

    with pytest.raises(NotAStoreError, match="holds no store yet") as refused:
        open_store(path, read_only=True)

    assert "without read_only=True" in refused.value.hint
    with open_store(path) as made:
        assert made.file_id


def test_opening_waits_for_a_thread_that_is_closing_the_file_this_very_moment(path: str, monkeypatch: pytest.MonkeyPatch):
    open_store(path).close()
    gc.collect()
    original, refused = lmdb.Environment, []

    def refuse_twice(*arguments: Any, **options: Any) -> lmdb.Environment:
        if len(refused) < 2:
            refused.append(arguments[0])
            raise lmdb.Error("the environment is already open in this process")
        return original(*arguments, **options)

    monkeypatch.setattr(recognition.lmdb, "Environment", refuse_twice)
    monkeypatch.setattr(recognition, "_PAUSE_SECONDS", 0)

    env = recognition.open_when_free(path, readonly=True)

    assert env.path() == path
    assert refused == [path] * 2
    env.close()


def test_a_process_without_address_space_is_told_so_after_ever_smaller_maps(path: str, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def refuse(path: str, *, map_size: int, **options: Any) -> lmdb.Environment:
        asked.append(map_size)
        raise lmdb.MemoryError("mmap")

    monkeypatch.setattr(registry, "open_when_free", refuse)

    with pytest.raises(StoreError, match="not enough memory or address space"):
        open_store(path)

    assert asked == [1 << power for power in range(40, 25, -1)]


def test_a_lock_file_that_may_not_be_written_is_a_matter_of_permissions(path: str, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: str, **options: Any) -> lmdb.Environment:
        error = lmdb.ReadonlyError("Permission denied")
        error.code = errno.EACCES
        raise error

    monkeypatch.setattr(registry, "open_when_free", refuse)

    with pytest.raises(StoreError, match=r"store\.mls: could not open it: permission denied") as refused:
        open_store(path)

    assert "-lock file" in refused.value.hint


def test_a_store_whose_making_was_interrupted_can_be_made_again(path: str, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MappedFile, "create_header", interrupt)
        with pytest.raises(KeyboardInterrupt):
            open_store(path)

    with open_store(path) as environment:
        assert environment.file_id


def test_a_writer_interrupted_while_it_waits_for_its_turn_lets_the_next_one_go(environment: Environment, monkeypatch: pytest.MonkeyPatch):
    def interrupt(turn: Turn) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Turn, "take", interrupt)
        with pytest.raises(KeyboardInterrupt), environment.writer():
            pass

    with environment.writer() as writer:
        assert writer.put(A, b"k", b"v")


def test_an_untrusted_file_is_looked_at_page_by_page_before_it_is_mapped(path: str):
    with open_store(path) as environment, environment.writer() as writer:
        writer.put_many(A, ((b"%06d" % number, b"v" * 50) for number in range(2000)))
    gc.collect()
    content = bytearray(Path(path).read_bytes())
    leaf = max(range(2 * 4096, len(content), 4096), key=lambda start: content.count(b"v" * 50, start, start + 4096))
    content[leaf : leaf + 4096] = b"\xee" * 4096
    Path(path).write_bytes(content)

    with pytest.raises(CorruptionError, match="its pages are damaged"):
        open_store(path, is_trusted=False)

    with open_store(path, read_only=True) as environment:
        assert environment.file_id


def test_the_child_of_a_fork_does_not_take_another_store_for_the_one_it_had(tmp_path: Path):
    with open_store(tmp_path / "a.mls") as environment, open_store(tmp_path / "b.mls") as other:
        other.copy_to(tmp_path / "copy.mls")
        os.replace(tmp_path / "copy.mls", tmp_path / "a.mls")

        def read() -> str:
            try:
                environment.reader().__enter__()
            except StoreError as error:
                return f"{error.message} ({error.hint})"
            return "read"

        assert in_forked_child(read) == f"{tmp_path / 'a.mls'}: was replaced by another store (open it again)"


def test_the_size_of_a_deleted_file_is_an_error_that_names_it(environment: Environment, path: str):
    assert environment.size_bytes == os.path.getsize(path)
    os.unlink(path)

    with pytest.raises(StoreError, match=r"store\.mls: could not look at it: no such file"):
        _ = environment.size_bytes


def test_a_name_too_long_for_the_system_says_so(tmp_path: Path):
    with pytest.raises(StoreError, match="could not open it: the name is too long"):
        open_store(tmp_path / ("x" * 300))


def test_a_file_this_user_may_not_write_is_opened_for_reading_only(path: str, monkeypatch: pytest.MonkeyPatch):
    open_store(path).close()
    gc.collect()
    monkeypatch.setattr(filesystem.os, "access", lambda place, mode: False)

    with pytest.raises(StoreError, match="may not be written by this user"):
        open_store(path)

    with open_store(path, read_only=True) as environment, environment.reader() as reader:
        assert reader.get(A, b"k") is None


def test_where_the_system_lists_no_mounts_a_disk_is_taken_for_a_local_one(path: str, monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr(filesystem, "open", refuse, raising=False)

    assert filesystem.mount_table() == ""
    assert filesystem.network_obstacle(path) is None


def test_a_store_in_memory_lies_among_temporary_files_where_there_is_no_memory_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(filesystem, "_SHM", str(tmp_path / "nowhere"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    folder = filesystem.make_private_folder()

    assert os.path.dirname(folder) == str(tmp_path)


def test_more_keyspaces_than_a_file_can_have_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keyspace, "MAX_KEYSPACES", keyspace.declared_count())

    with pytest.raises(DefinitionError, match=r"'tests\.one_too_many': there are \d+ already \(let the room share one with prefixes\)"):
        declare("tests.one_too_many")

    assert "tests.one_too_many" not in {space.name for space in keyspace.declared()}

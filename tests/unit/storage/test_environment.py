"""Handles: what may be opened, what is refused untouched, and that one file is mapped once however it is named."""

import gc
import os
import pickle
import stat
import subprocess
import sys
import threading
from pathlib import Path

import lmdb
import pytest

from mlstore.errors import (
    ClosedError,
    ReadOnlyError,
    StoreBusyError,
    StoreError,
    UsageError,
)
from mlstore.format.header import HEADER_KEY, decode_header
from mlstore.storage import recognition, registry
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import META, declare
from tests.support.records import A, get, open_store, put


def test_a_new_file_is_a_store_with_header_and_keyspaces(path: str):
    before = os.listdir(os.path.dirname(path))
    with open_store(path) as environment:
        file_id = environment.file_id
        with environment.reader() as reader:
            header = decode_header(reader.get(META, HEADER_KEY))

    assert before == []
    assert sorted(os.listdir(os.path.dirname(path))) == ["store.mls", "store.mls-lock"]
    assert header.writer == "mlstore test"
    assert header.file_id == file_id
    assert len(bytes.fromhex(file_id)) == 16


def test_what_was_written_is_there_after_closing(path: str):
    with open_store(path) as environment:
        put(environment, b"k", b"v")
        file_id = environment.file_id

    with open_store(path) as environment:
        assert get(environment, b"k") == b"v"
        assert environment.file_id == file_id


def test_nobody_but_the_owner_may_write_a_new_file(path: str):
    old = os.umask(0)
    try:
        open_store(path).close()
    finally:
        os.umask(old)

    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644


def test_the_umask_narrows_the_rights_of_a_new_file(path: str):
    old = os.umask(0o077)
    try:
        open_store(path).close()
    finally:
        os.umask(old)

    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_an_empty_file_becomes_a_store(path: str):
    Path(path).touch()

    with open_store(path) as environment:
        put(environment, b"k", b"v")

    with open_store(path, read_only=True) as environment:
        assert get(environment, b"k") == b"v"


def test_an_unknown_durability_is_refused(path: str):
    with pytest.raises(UsageError, match="durability='off'"):
        open_store(path, durability="off")

    assert not os.path.exists(path)


def test_all_paths_to_a_file_lead_to_one_mapping(tmp_path: Path, path: str, monkeypatch):
    first = open_store(path)
    os.symlink(path, tmp_path / "symlink")
    os.link(path, tmp_path / "hardlink")
    monkeypatch.chdir(tmp_path)

    others = [open_store(name) for name in ("store.mls", tmp_path / "symlink", tmp_path / "hardlink", f"../{tmp_path.name}/./store.mls")]
    for number, handle in enumerate(others):
        put(handle, b"%d" % number, b"v")

    assert {handle._mapped for handle in others} == {first._mapped}
    with first.reader() as reader:
        assert reader.count(A) == 4
    assert not os.path.exists(tmp_path / "symlink-lock")


def test_a_file_opened_through_a_symlink_keeps_its_lock_file_beside_it(tmp_path: Path):
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real" / "store.mls", tmp_path / "link.mls")

    open_store(tmp_path / "link.mls").close()

    assert sorted(os.listdir(tmp_path / "real")) == ["store.mls", "store.mls-lock"]


def test_a_file_of_two_names_is_refused_for_writing_when_nobody_has_it_open(tmp_path: Path, path: str):
    open_store(path).close()
    gc.collect()
    os.link(path, tmp_path / "other.mls")

    with pytest.raises(StoreError, match="several names"):
        open_store(tmp_path / "other.mls")

    assert get(open_store(path, read_only=True), b"k") is None


def test_a_reading_and_a_writing_handle_of_one_file_live_together(path: str):
    open_store(path).close()
    reading = open_store(path, read_only=True)
    writing = open_store(path)

    put(writing, b"k", b"v")

    assert get(reading, b"k") == b"v"
    with pytest.raises(ReadOnlyError), reading.writer():
        pass


def test_closing_one_handle_leaves_the_others_alone(path: str):
    first, second = open_store(path), open_store(path)

    first.close()
    first.close()
    put(second, b"k", b"v")

    assert first.is_closed
    assert get(second, b"k") == b"v"


def test_a_closed_handle_refuses_all_use(environment: Environment, tmp_path: Path):
    environment.close()

    uses = (
        lambda: environment.reader().__enter__(),
        lambda: environment.writer().__enter__(),
        environment.info,
        environment.verify_pages,
        lambda: environment.copy_to(tmp_path / "copy.mls"),
        lambda: environment.leases,
        lambda: environment.size_bytes,
        lambda: pickle.dumps(environment),
    )
    for use in uses:
        with pytest.raises(ClosedError, match=r"store\.mls: the store is closed"):
            use()


def test_a_reader_at_work_outlives_the_closing_of_its_handle(path: str):
    environment = open_store(path)
    put(environment, b"k", b"v")

    with environment.reader() as reader:
        environment.close()
        gc.collect()

        assert reader.get(A, b"k") == b"v"


def test_a_file_is_unmapped_when_the_last_handle_is_closed(path: str):
    first, second = open_store(path), open_store(path, read_only=True)

    first.close()
    after_one = is_mapped(path)
    second.close()

    assert (after_one, is_mapped(path)) == (True, False)


def is_mapped(path: str) -> bool:
    return f"{path}\n" in Path("/proc/self/maps").read_text()


def test_a_deleted_file_can_be_made_anew(path: str):
    with open_store(path) as environment:
        put(environment, b"k", b"v")
    os.unlink(path)
    os.unlink(path + "-lock")

    with open_store(path) as environment:
        assert get(environment, b"k") is None


def test_a_file_that_the_process_opened_itself_is_refused(path: str):
    open_store(path).close()
    gc.collect()

    with lmdb.Environment(path, subdir=False, max_dbs=4), pytest.MonkeyPatch.context() as patch:
        patch.setattr(recognition, "_TRIES", 1)
        with pytest.raises(StoreBusyError, match="not through mlstore"):
            open_store(path)


def test_many_threads_that_open_one_file_get_one_mapping(path: str):
    handles: list[Environment] = []
    threads = [threading.Thread(target=lambda: handles.append(open_store(path))) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({handle._mapped for handle in handles}) == 1
    assert len(handles) == 8


def test_opening_and_closing_from_many_threads_never_fails(path: str):
    open_store(path).close()
    failures: list[Exception] = []

    def open_and_close() -> None:
        try:
            for _ in range(20):
                with open_store(path) as environment:
                    get(environment, b"k")
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=open_and_close) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []


def test_a_keyspace_declared_after_opening_can_be_written_and_read(environment: Environment, path: str):
    with environment.reader() as reader:
        late = declare("tests.declared_late")
        assert reader.get(late, b"k") is None

    with environment.writer() as writer:
        writer.put(late, b"k", b"v")

    with Environment.open(path, read_only=True, writer_version="test") as other, other.reader() as reader:
        assert reader.get(late, b"k") == b"v"


def test_a_pickled_handle_opens_the_same_file_with_the_same_rights(path: str):
    environment = open_store(path, durability="normal")
    put(environment, b"k", b"v")

    copy = pickle.loads(pickle.dumps(environment))
    reading = pickle.loads(pickle.dumps(open_store(path, read_only=True)))

    assert (copy.path, copy.durability, copy.is_read_only) == (path, "normal", False)
    assert reading.is_read_only
    assert get(copy, b"k") == get(reading, b"k") == b"v"


def test_a_pickled_handle_never_makes_a_file(path: str):
    environment = open_store(path)
    packed = pickle.dumps(environment)
    environment.close()
    gc.collect()
    os.unlink(path)

    with pytest.raises(StoreError, match="no such file"):
        pickle.loads(packed)

    assert not os.path.exists(path)


def test_info_counts_pages_and_readers(environment: Environment):
    put(environment, b"k", b"v" * 1_000_000)
    with environment.writer() as writer:
        writer.delete_range(A)
    before = environment.info()
    with environment.reader() as reader:
        pinned = reader.txn_id
        during = environment.info()

    assert before["map_bytes"] == registry.MAP_BYTES
    assert before["page_count"] * before["page_bytes"] <= environment.size_bytes
    assert 244 <= before["free_pages"] < before["page_count"]
    assert before["oldest_reader_txn_id"] is None
    assert during["oldest_reader_txn_id"] == pinned == before["last_txn_id"]
    assert before["keyspaces"]["meta"] == 1


def test_both_durabilities_share_one_mapping_and_both_store(path: str):
    normal = open_store(path, durability="normal")
    full = open_store(path, durability="full")

    put(normal, b"n", b"1")
    put(full, b"f", b"2")

    assert normal._mapped is full._mapped
    assert normal._mapped is not None
    assert not normal._mapped.env.flags()["metasync"]
    assert (normal.durability, full.durability) == ("normal", "full")
    assert get(normal, b"f") == b"2"


def test_a_process_of_little_address_space_gets_a_smaller_map(path: str):
    script = """
import resource, sys
from mlstore.storage.environment import Environment
resource.setrlimit(resource.RLIMIT_AS, (64 << 30, 64 << 30))
print(Environment.open(sys.argv[1], writer_version="test").info()["map_bytes"])
"""

    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)

    assert 1 << 33 <= int(done.stdout) <= 1 << 36


@pytest.mark.parametrize("times", [1, 2])
def test_slots_of_dead_readers_are_freed_once_before_giving_up(environment: Environment, times: int, monkeypatch):
    get(environment, b"k")
    mapped = environment._mapped
    assert mapped is not None
    real, calls = mapped.env, []

    class Crowded:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def reader_check(self) -> None:
            calls.append("check")

        def begin(self, handle: object = None) -> object:
            calls.append("begin")
            if calls.count("begin") <= times:
                raise lmdb.ReadersFullError("mdb_txn_begin")
            return real.begin(handle)

    monkeypatch.setattr(mapped, "env", Crowded())
    reader = environment.reader(views=False)

    if times == 1:
        with reader:
            assert reader.get(A, b"k") is None
    else:
        with pytest.raises(StoreBusyError, match="all reader slots are taken"):
            reader.__enter__()

    assert calls[:3] == ["begin", "check", "begin"]
    assert len(calls) == 3


def test_a_handle_names_its_path_and_state(path: str):
    environment = open_store(path)

    assert repr(environment) == f"<Environment {path} (full)>"
    environment.close()
    assert "closed" in repr(environment)


def test_a_store_in_memory_is_private_and_gone_when_closed():
    first, second = open_store(":memory:"), open_store(":memory:")
    folder = os.path.dirname(first._place)
    put(first, b"k", b"v")

    seen = (get(first, b"k"), get(second, b"k"))
    first.close()

    assert seen == (b"v", None)
    assert not os.path.exists(folder)
    assert second.path == ":memory:"


def test_a_store_in_memory_is_gone_with_its_last_reference():
    environment = open_store(":memory:")
    folder = os.path.dirname(environment._place)

    del environment
    gc.collect()

    assert not os.path.exists(folder)


def test_a_store_in_memory_does_not_pickle_and_is_not_for_reading_only():
    with pytest.raises(UsageError, match="lives in this process only"):
        pickle.dumps(open_store(":memory:"))
    with pytest.raises(UsageError, match="read_only"):
        open_store(":memory:", read_only=True)

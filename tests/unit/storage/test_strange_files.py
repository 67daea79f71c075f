"""Files that are no stores, of newer formats, damaged or on a network: refused, and left as they were."""

import gc
import os
from pathlib import Path

import lmdb
import pytest

from mlstore.errors import (
    CorruptionError,
    FormatVersionError,
    NotAStoreError,
    StoreError,
)
from mlstore.format.header import HEADER_KEY, decode_header, encode_header
from mlstore.storage import filesystem
from mlstore.storage.keyspace import META
from tests.support.records import A, get, open_store, put

NFS_EVERYWHERE = "27 1 254:0 / / rw,relatime - nfs4 server:/ rw"


def change_header(path: str, **changes) -> None:
    with open_store(path) as environment, environment.writer() as writer:
        record = decode_header(writer.get(META, HEADER_KEY))
        writer.put(META, HEADER_KEY, encode_header(type(record)(**{name: getattr(record, name) for name in record.__slots__} | changes)))


@pytest.mark.parametrize("content", [b"hello", b"x" * 10_000, b"PAR1" + bytes(5000), b"\0"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_foreign_file_is_refused_and_left_as_it_was(path: str, content: bytes, read_only: bool):
    Path(path).write_bytes(content)
    os.utime(path, ns=(1, 1))

    with pytest.raises(NotAStoreError, match=r"store\.mls: no mlstore file.*left as it was"):
        open_store(path, read_only=read_only)

    assert Path(path).read_bytes() == content
    assert os.stat(path).st_mtime_ns == 1
    assert os.listdir(os.path.dirname(path)) == ["store.mls"]


@pytest.mark.parametrize("has_lock_file", [False, True])
def test_an_lmdb_file_of_somebody_else_is_refused_and_left_as_it_was(path: str, has_lock_file: bool):
    with lmdb.Environment(path, subdir=False, max_dbs=4) as foreign:
        foreign.open_db(b"meta")
        with foreign.begin(write=True) as transaction:
            transaction.put(b"plain", b"value")
    if not has_lock_file:
        os.unlink(path + "-lock")
    content = Path(path).read_bytes()

    with pytest.raises(NotAStoreError, match="an LMDB file, but not of mlstore"):
        open_store(path)

    assert Path(path).read_bytes() == content
    assert os.path.exists(path + "-lock") == has_lock_file


def test_a_file_of_the_next_lmdb_format_is_refused(path: str):
    lmdb.Environment(path, subdir=False, lib_version=1).close()

    with pytest.raises(NotAStoreError, match="another LMDB format"):
        open_store(path)


def test_a_folder_is_refused(tmp_path: Path):
    with pytest.raises(NotAStoreError, match="is a folder"):
        open_store(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path):
    with pytest.raises(StoreError, match=r"the folder .*nowhere does not exist"):
        open_store(tmp_path / "nowhere" / "store.mls")


def test_a_missing_file_cannot_be_opened_for_reading_and_is_not_made(path: str):
    with pytest.raises(StoreError, match=r"no such file.*without read_only=True"):
        open_store(path, read_only=True)

    assert not os.path.exists(path)


def test_an_empty_file_cannot_be_opened_for_reading(path: str):
    Path(path).touch()

    with pytest.raises(NotAStoreError, match="the file is empty"):
        open_store(path, read_only=True)

    assert os.path.getsize(path) == 0


def test_a_file_of_a_newer_format_is_refused(path: str):
    change_header(path, min_reader_version=99, format_version=99, writer="mlstore 9.9")

    for read_only in (False, True):
        with pytest.raises(FormatVersionError, match=r"store\.mls: written by mlstore 9\.9.*pip install --upgrade"):
            open_store(path, read_only=read_only)


def test_a_file_that_only_newer_versions_write_is_read(path: str):
    change_header(path, format_version=2)

    with pytest.raises(FormatVersionError, match="read_only=True"):
        open_store(path)

    with open_store(path, read_only=True) as environment:
        assert get(environment, b"k") is None


def test_a_network_file_system_is_refused_for_writing_only(path: str, monkeypatch):
    with open_store(path) as environment:
        put(environment, b"k", b"v")
    gc.collect()
    monkeypatch.setattr(filesystem, "mount_table", lambda: NFS_EVERYWHERE)

    for place in (path, path + ".new"):
        with pytest.raises(StoreError, match=r"network file system \(nfs4\).*local disk"):
            open_store(place)
    assert not os.path.exists(path + ".new")

    with open_store(path, read_only=True) as environment:
        assert get(environment, b"k") == b"v"


def test_a_sound_file_verifies_and_a_damaged_one_does_not(path: str):
    with open_store(path) as environment:
        with environment.writer() as writer:
            writer.put_many(A, ((b"%06d" % number, b"v" * 50) for number in range(2000)))
        assert environment.verify_pages() == []
        page_count = environment.info()["page_count"]
    gc.collect()
    with open(path, "r+b") as file:
        file.seek(4096 * (page_count // 2))
        file.write(b"\xee" * 2048)

    with open_store(path) as environment:
        assert environment.verify_pages() != []


def test_reading_a_damaged_page_is_a_corruption_error(path: str):
    with open_store(path) as environment, environment.writer() as writer:
        writer.put_many(A, ((b"%06d" % number, b"v" * 50) for number in range(2000)))
    gc.collect()
    content = bytearray(Path(path).read_bytes())
    for start in range(4096 * 20, 4096 * 25, 4096):
        if content.count(b"v" * 50, start, start + 4096) > 20:
            content[start : start + 4096] = b"\xee" * 4096
    Path(path).write_bytes(content)

    with open_store(path, read_only=True) as environment, environment.reader() as reader, pytest.raises(CorruptionError):
        list(reader.scan(A))

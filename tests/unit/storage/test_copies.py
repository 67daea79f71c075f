"""Copies and compactions: under the wanted name there is the whole new file or what was there, whatever goes wrong on the way."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mlstore.errors import AlreadyExistsError, StoreError
from mlstore.storage import backup, compaction
from mlstore.storage.environment import Environment
from tests.support.records import A, get, open_store, put


@pytest.fixture
def filled(environment: Environment) -> Environment:
    with environment.writer() as writer:
        writer.put(A, b"k", b"v")
    return environment


def no_links(source: str, target: str) -> None:
    raise PermissionError(1, "Operation not permitted")


def value_in(path: Path) -> bytes | None:
    with Environment.open(path, writer_version="test", read_only=True) as copy, copy.reader() as reader:
        return reader.get(A, b"k")


def test_a_copy_is_a_store_of_its_own_with_the_same_content(environment: Environment, tmp_path: Path):
    put(environment, b"k", b"v" * 100_000)
    target = tmp_path / "copy.mls"

    environment.copy_to(target)
    put(environment, b"k", b"later")

    with open_store(target) as copy:
        assert get(copy, b"k") == b"v" * 100_000
        assert copy.file_id == environment.file_id
        assert copy.verify_pages() == []
    assert [name for name in os.listdir(tmp_path) if "partial" in name] == []


def test_a_copy_is_compact(environment: Environment, tmp_path: Path):
    put(environment, b"k", b"v" * 3_000_000)
    with environment.writer() as writer:
        writer.delete_range(A)

    environment.copy_to(tmp_path / "copy.mls")

    assert os.path.getsize(tmp_path / "copy.mls") < environment.size_bytes / 10


def test_a_copy_never_replaces_a_file(environment: Environment, tmp_path: Path):
    (tmp_path / "copy.mls").write_text("precious")

    with pytest.raises(AlreadyExistsError, match=r"copy\.mls: is there already"):
        environment.copy_to(tmp_path / "copy.mls")

    assert (tmp_path / "copy.mls").read_text() == "precious"


def test_a_copy_into_a_missing_folder_says_so(environment: Environment, tmp_path: Path):
    with pytest.raises(StoreError, match="no such file"):
        environment.copy_to(tmp_path / "nowhere" / "copy.mls")


def test_a_copy_that_its_check_refuses_leaves_nothing_behind(filled: Environment, tmp_path: Path):
    before = sorted(os.listdir(tmp_path))

    def refuse(partial: str) -> None:
        raise ValueError(f"{os.path.getsize(partial) > 0}")

    with pytest.raises(ValueError, match="True"):
        filled.copy_to(tmp_path / "copy.mls", check=refuse)

    assert sorted(os.listdir(tmp_path)) == before


def test_a_copy_gets_its_name_where_the_file_system_has_no_links(filled: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backup.os, "link", no_links)

    filled.copy_to(tmp_path / "copy.mls")

    assert value_in(tmp_path / "copy.mls") == b"v"
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_appears_while_a_copy_is_written_is_not_replaced(
    filled: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
):
    target = tmp_path / "copy.mls"
    if not has_links:
        monkeypatch.setattr(backup.os, "link", no_links)

    with pytest.raises(AlreadyExistsError, match=r"copy\.mls: is there already"):
        filled.copy_to(target, check=lambda partial: target.write_text("precious"))

    assert target.read_text() == "precious"
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]


def fail_to_rename(monkeypatch: pytest.MonkeyPatch, *suffixes: str) -> None:
    """Renaming what ends so fails, as on a disk that broke."""
    original = os.rename

    def rename(source: Any, target: Any) -> None:
        if str(source).endswith(suffixes):
            raise OSError(5, "Input/output error")
        original(source, target)

    monkeypatch.setattr(compaction.os, "rename", rename)


def test_a_compaction_that_cannot_put_the_new_file_in_place_leaves_the_old_one_in_use(
    filled: Environment, path: str, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as broken:
        fail_to_rename(broken, "-compact")
        with pytest.raises(StoreError, match="could not compact it: the disk failed"):
            filled.compact()

    with filled.writer() as writer:
        writer.put(A, b"k", b"after")
    assert value_in(Path(path)) == b"after"
    assert sorted(os.listdir(os.path.dirname(path))) == ["store.mls", "store.mls-lock"]


def test_a_compaction_that_loses_the_lock_file_lets_nobody_write_until_the_file_is_opened_again(
    filled: Environment, path: str, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as broken:
        fail_to_rename(broken, "-compact", "-compact-lock")
        with pytest.raises(StoreError, match="could not compact it"):
            filled.compact()

    with pytest.raises(StoreError, match="so this handle writes no more"), filled.writer():
        pass
    assert value_in(Path(path)) == b"v"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give a file away")
def test_a_compaction_leaves_the_file_to_whom_it_belongs(filled: Environment, path: str):
    os.chown(path, 4321, 4321)

    filled.compact()

    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (4321, 4321)
    assert stat.S_IMODE(os.stat(path).st_mode) & stat.S_IWGRP == 0

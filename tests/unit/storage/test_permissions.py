"""Who may do what to the files of a store: the user's umask, never more than reading for others, and no link is followed to write."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlstore as ml
from tests.support import bank


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.parametrize(("mask", "mode"), [(0o000, 0o644), (0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_new_store_has_the_rights_of_the_umask_and_nobody_else_may_write(tmp_path: Path, umask: None, mask: int, mode: int):
    os.umask(mask)

    bank.create(tmp_path / "new.mls")
    with ml.open(tmp_path / "new.mls") as store:
        store.backup(tmp_path / "copy.mls")
        store.compact()
    ml.salvage(tmp_path / "new.mls", tmp_path / "saved.mls")

    assert set(modes(tmp_path).values()) == {mode}
    assert {"new.mls", "new.mls-lock", "copy.mls", "saved.mls"} <= modes(tmp_path).keys()


def test_a_compaction_keeps_the_rights_that_a_file_was_given(tmp_path: Path):
    path = tmp_path / "new.mls"
    bank.create(path)
    path.chmod(0o600)

    with ml.open(path) as store:
        store.compact()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path):
    path, victim = tmp_path / "new.mls", tmp_path / "victim"
    bank.create(path)
    victim.write_bytes(b"mine")
    path.with_name("new.mls-lock").unlink()
    path.with_name("new.mls-lock").symlink_to(victim)

    with pytest.raises(ml.StoreError, match="-lock file is a symbolic link"):
        ml.open(path)

    assert victim.read_bytes() == b"mine"


def test_a_copy_is_not_written_through_a_link(tmp_path: Path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    bank.create(tmp_path / "new.mls")
    (tmp_path / "copy.mls").symlink_to(victim)

    with ml.open(tmp_path / "new.mls") as store, pytest.raises(ml.AlreadyExistsError):
        store.backup(tmp_path / "copy.mls")

    assert victim.read_bytes() == b"mine"

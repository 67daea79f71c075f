"""Backups while others write: each is one commit, whole, and verified before it has its name."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlstore as ml
from tests.support import bank
from tests.support.processes import Child, Parent


def write_until_called(parent: Parent, path: Path) -> int:
    number = 0
    with ml.open(path, durability="normal") as store:
        while not parent.has_called():
            number += 1
            store.write("bank", bank.rounds([number]))
            parent.tell(number)
    return number


@pytest.mark.slow
def test_backups_are_whole_while_another_process_writes(tmp_path: Path):
    path, seen = tmp_path / "bank.mls", []
    bank.create(path)
    with Child(write_until_called, path) as child, ml.open(path) as store:
        child.hear()
        for number in range(5):
            store.backup(tmp_path / f"{number}.mls")
            with ml.open(tmp_path / f"{number}.mls", untrusted=True) as copy:
                seen.append(bank.watch(copy))
                assert bank.audit(copy) == list(range(seen[-1] + 1))
            child.hear()
        child.say()
        last = child.result()

    assert seen == sorted(seen)
    assert seen[0] >= 1
    assert seen[-1] <= last
    assert not list(tmp_path.glob("*partial*"))


def test_a_copy_of_a_damaged_store_is_thrown_away(tmp_path: Path):
    path = tmp_path / "bank.mls"
    bank.create(path)
    path.write_bytes(path.read_bytes().replace(b"balance ", b"Balance "))

    with ml.open(path) as store, pytest.raises(ml.CorruptionError, match="thrown away"):
        store.backup(tmp_path / "copy.mls")

    assert [found.name for found in tmp_path.iterdir() if "copy" in found.name] == []

"""LMDB bare: one put, one synced commit. No rival: the floor under every small write of a store that lies on it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import lmdb


class Engine:
    """A file of its own, opened as mlstore opens its."""

    version = f"lmdb {version('lmdb')}"

    def __init__(self, folder: Path) -> None:
        self._environment = lmdb.open(str(folder / "floor.mdb"), subdir=False, map_size=1 << 30)

    def commit(self, key: bytes, value: bytes) -> None:
        with self._environment.begin(write=True) as transaction:
            transaction.put(key, value)

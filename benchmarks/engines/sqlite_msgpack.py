"""SQLite as an online store: a table of key and msgpack, write-ahead log, through the standard library."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.features import Answer, Durability, Features, Pair
from benchmarks.packed import Packing

# Pages of the file kept in memory, and how much of it may be mapped in.
CACHE_KILOBYTES, MAP_BYTES = 256_000, 1 << 34
BUSY_SECONDS = 60.0


class Engine:
    """The key is SQLite's own row number: nothing is found faster."""

    version = sqlite3.sqlite_version
    durabilities: tuple[Durability, ...] = ("full", "normal")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "features.sqlite"
        self._opened: sqlite3.Connection | None = None

    def open_online(self, features: Features, durability: Durability) -> None:
        self._packing = Packing(features.values)
        self._opened = sqlite3.connect(self._path, timeout=BUSY_SECONDS)
        self._tune()
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
        self._sql.execute("CREATE TABLE IF NOT EXISTS features (key INTEGER PRIMARY KEY, value BLOB)")

    def open_to_read(self, features: Features) -> None:
        self._packing = Packing(features.values)
        self._opened = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        self._tune()

    def close(self) -> None:
        self._sql.close()
        self._opened = None

    def pack(self, table: pa.Table) -> list[Pair]:
        return self._packing.pack(table)

    def load(self, pairs: Sequence[Pair]) -> None:
        self.write_pairs(pairs)

    def finish_load(self) -> None:
        self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def one(self, key: int) -> Answer:
        found = self._sql.execute("SELECT value FROM features WHERE key = ?", (key,)).fetchone()
        return self._packing.to_dict(found[0] if found else None)

    def many(self, keys: Sequence[int]) -> pa.Table:
        places = ",".join("?" * len(keys))
        found = dict(self._sql.execute(f"SELECT key, value FROM features WHERE key IN ({places})", keys))
        return self._packing.to_table(map(found.get, keys))

    def write_row(self, row: dict[str, Any]) -> None:
        self.write_pairs([self._packing.pack_row(row)])

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        self._packing.in_groups(rows, self.write_pairs)

    def write_many(self, table: pa.Table) -> None:
        self.write_pairs(self.pack(table))

    def write_pairs(self, pairs: Sequence[Pair]) -> None:
        with self._sql:
            self._sql.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", pairs)

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def _tune(self) -> None:
        self._sql.execute(f"PRAGMA cache_size = -{CACHE_KILOBYTES}")
        self._sql.execute(f"PRAGMA mmap_size = {MAP_BYTES}")

    @property
    def _sql(self) -> sqlite3.Connection:
        if self._opened is None:
            raise RuntimeError("the SQLite file is closed")
        return self._opened

"""RocksDB through rocksdict, rows in msgpack. Readers of other processes are secondary instances, which catch up with the writer's log."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
from rocksdict import AccessType, Options, Rdict, WriteBatch, WriteOptions

from benchmarks.features import Answer, Durability, Features, Pair, encode_key
from benchmarks.packed import Packing

# A secondary instance catches up once in so many reads: seldom enough to cost nearly nothing.
CATCH_UP_READS = 1000


class Engine:
    """Keys and values are bytes (`raw_mode`); all other options are the defaults."""

    version = version("rocksdict")
    durabilities: tuple[Durability, ...] = ("full", "normal")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "features.rocks"
        self._opened: Any = None
        self._is_secondary = False
        self._reads = 0

    def open_online(self, features: Features, durability: Durability) -> None:
        self._packing = Packing(features.values)
        self._opened = Rdict(str(self._path), Options(raw_mode=True))
        self._set_sync(is_synced=durability == "full")

    def open_to_read(self, features: Features) -> None:
        self._packing = Packing(features.values)
        self._is_secondary = True
        own = self.folder / f"secondary-{os.getpid()}"
        self._opened = Rdict(str(self._path), Options(raw_mode=True), access_type=AccessType.secondary(str(own)))

    def close(self) -> None:
        self._opened.close()

    def pack(self, table: pa.Table) -> list[Pair]:
        return self._packing.pack(table)

    def load(self, pairs: Sequence[Pair]) -> None:
        self._set_sync(is_synced=False)
        self.write_pairs(pairs)

    def finish_load(self) -> None:
        self._opened.flush()
        self._opened.flush_wal(sync=True)
        self._set_sync(is_synced=True)

    def one(self, key: int) -> Answer:
        if self._is_secondary:
            self._reads += 1
            if not self._reads % CATCH_UP_READS:
                self._opened.try_catch_up_with_primary()
        return self._packing.to_dict(self._opened.get(encode_key(key)))

    def many(self, keys: Sequence[int]) -> pa.Table:
        return self._packing.to_table(self._opened.get([encode_key(key) for key in keys]))

    def write_row(self, row: dict[str, Any]) -> None:
        key, value = self._packing.pack_row(row)
        self._opened.put(encode_key(key), value)

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        self._packing.in_groups(rows, self.write_pairs)

    def write_many(self, table: pa.Table) -> None:
        self.write_pairs(self.pack(table))

    def write_pairs(self, pairs: Sequence[Pair]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in pairs:
            batch.put(encode_key(key), value)
        self._opened.write(batch)

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._path.rglob("*") if path.is_file())

    def _set_sync(self, *, is_synced: bool) -> None:
        chosen = WriteOptions()
        chosen.sync = is_synced
        self._opened.set_write_options(chosen)

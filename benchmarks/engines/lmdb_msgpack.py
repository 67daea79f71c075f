"""Raw py-lmdb with rows in msgpack, one value a key: the floor under a store that lies in LMDB, with no types, history or versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lmdb
import pyarrow as pa

from benchmarks.features import Answer, Durability, Features, Pair, encode_key
from benchmarks.packed import Packing

MAP_BYTES = 1 << 36


class Engine:
    """LMDB forces both the pages and its meta page out at a commit; without the latter the last commits may be lost, as `normal` allows."""

    version = lmdb.__version__
    durabilities: tuple[Durability, ...] = ("full", "normal")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "features.mdb"
        self._opened: Any = None

    def open_online(self, features: Features, durability: Durability) -> None:
        self._packing = Packing(features.values)
        self._opened = lmdb.open(str(self._path), subdir=False, map_size=MAP_BYTES, metasync=durability == "full")

    def open_to_read(self, features: Features) -> None:
        self._packing = Packing(features.values)
        self._opened = lmdb.open(str(self._path), subdir=False, readonly=True)

    def close(self) -> None:
        self._opened.close()

    def pack(self, table: pa.Table) -> list[Pair]:
        return self._packing.pack(table)

    def load(self, pairs: Sequence[Pair]) -> None:
        # In the order of the keys pages are filled one after the other.
        with self._opened.begin(write=True) as transaction:
            transaction.cursor().putmulti(sorted((encode_key(key), value) for key, value in pairs))

    def finish_load(self) -> None:
        """Every transaction was durable."""

    def one(self, key: int) -> Answer:
        with self._opened.begin() as transaction:
            value = transaction.get(encode_key(key))
        return self._packing.to_dict(value)

    def many(self, keys: Sequence[int]) -> pa.Table:
        with self._opened.begin() as transaction:
            values = [transaction.get(encode_key(key)) for key in keys]
        return self._packing.to_table(values)

    def fetch(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._opened.begin() as transaction:
            return [transaction.get(key) for key in keys]

    def write_row(self, row: dict[str, Any]) -> None:
        self.write_pairs([self._packing.pack_row(row)])

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        self._packing.in_groups(rows, self.write_pairs)

    def write_many(self, table: pa.Table) -> None:
        self.write_pairs(self.pack(table))

    def write_pairs(self, pairs: Sequence[Pair]) -> None:
        with self._opened.begin(write=True) as transaction:
            for key, value in pairs:
                transaction.put(encode_key(key), value)

    def size_bytes(self) -> int:
        return self._path.stat().st_size

"""Redis over the loopback, through redis-py and hiredis: a hash for each key, a field for each view, its value the row in msgpack.

The server is the program `redis-server` found on the PATH, with `appendonly` and `appendfsync always`: what is answered is on the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import hiredis
import pyarrow as pa
import redis

from benchmarks.features import VIEW, Answer, Durability, Features, Pair, encode_key
from benchmarks.packed import Packing
from benchmarks.redis_server import HOST, RedisServer

# Commands sent before their answers are awaited.
PIPELINED = 10_000


class Engine:
    """Many keys are one pipeline of HMGET."""

    version = f"{redis.__version__}, hiredis {hiredis.__version__}"
    durabilities: tuple[Durability, ...] = ("full", "normal")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server = RedisServer(folder)
        self._opened: Any = None

    def open_online(self, features: Features, durability: Durability) -> None:
        if not self._server.is_running:
            self._server.start()
        self.open_to_read(features)
        self._opened.config_set("appendfsync", "always" if durability == "full" else "everysec")

    def open_to_read(self, features: Features) -> None:
        self._packing = Packing(features.values)
        self._opened = redis.Redis(HOST, self._server.port)

    def close(self) -> None:
        self._opened.close()

    def stop(self) -> None:
        """The server, too."""
        self._server.stop()

    def pack(self, table: pa.Table) -> list[Pair]:
        return self._packing.pack(table)

    def load(self, pairs: Sequence[Pair]) -> None:
        for start in range(0, len(pairs), PIPELINED):
            self.write_pairs(pairs[start : start + PIPELINED])

    def finish_load(self) -> None:
        """Every answer was given after the log was synced."""

    def one(self, key: int) -> Answer:
        return self._packing.to_dict(self._opened.hmget(encode_key(key), VIEW)[0])

    def many(self, keys: Sequence[int]) -> pa.Table:
        pipeline = self._opened.pipeline(transaction=False)
        for key in keys:
            pipeline.hmget(encode_key(key), VIEW)
        return self._packing.to_table([values[0] for values in pipeline.execute()])

    def write_row(self, row: dict[str, Any]) -> None:
        key, value = self._packing.pack_row(row)
        self._opened.hset(encode_key(key), VIEW, value)

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        self._packing.in_groups(rows, self.write_pairs)

    def write_many(self, table: pa.Table) -> None:
        self.write_pairs(self.pack(table))

    def write_pairs(self, pairs: Sequence[Pair]) -> None:
        pipeline = self._opened.pipeline(transaction=False)
        for key, value in pairs:
            pipeline.hset(encode_key(key), VIEW, value)
        pipeline.execute()

    def size_bytes(self) -> int:
        return self._server.size_bytes

    def memory_bytes(self) -> int:
        """What the server holds in memory, where all of it has to fit."""
        return int(self._opened.info("memory")["used_memory"])

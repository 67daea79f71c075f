"""Redis as in `redis`, with a plain string for each key: the fastest it can be asked for many keys is one MGET."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from benchmarks.engines import redis
from benchmarks.features import Answer, Pair, encode_key


class Engine(redis.Engine):
    """A key has one view, or one key for each view."""

    def one(self, key: int) -> Answer:
        return self._packing.to_dict(self._opened.get(encode_key(key)))

    def many(self, keys: Sequence[int]) -> pa.Table:
        return self._packing.to_table(self._opened.mget([encode_key(key) for key in keys]))

    def write_row(self, row: dict[str, Any]) -> None:
        self.write_pairs([self._packing.pack_row(row)])

    def write_pairs(self, pairs: Sequence[Pair]) -> None:
        self._opened.mset({encode_key(key): value for key, value in pairs})

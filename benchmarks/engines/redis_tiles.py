"""Redis counters per tile: for each key and each five minutes, hour and day a hash of count, sum and maximum.

A script adds an event to its three tiles; many are sent in one pipeline. A window is put together by the client from the tiles that it
covers, coarse ones where they fit, so that it moves in steps of five minutes. The server syncs its log at every write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hiredis
import pyarrow as pa
import redis

from benchmarks.events import AMOUNT, LENGTHS_US
from benchmarks.history import KEY, TIME
from benchmarks.redis_server import HOST, RedisServer
from benchmarks.workloads.windows_live import BATCH_ROWS, Windows

TILES_US = (300_000_000, 3_600_000_000, 86_400_000_000)
ADD = """
for level = 1, 3 do
    redis.call('HINCRBY', KEYS[level], 'n', 1)
    redis.call('HINCRBYFLOAT', KEYS[level], 's', ARGV[1])
    local most = redis.call('HGET', KEYS[level], 'm')
    if not most or tonumber(most) < tonumber(ARGV[1]) then redis.call('HSET', KEYS[level], 'm', ARGV[1]) end
end
"""


class Engine:
    """A group of appended events is one pipeline."""

    version = f"{redis.__version__}, hiredis {hiredis.__version__}"

    def __init__(self, folder: Path) -> None:
        self._server = RedisServer(folder)
        self._opened: Any = None
        self._waiting: list[tuple[int, int, float]] = []

    def open_live(self, store: Path) -> None:
        if not self._server.is_running:
            self._server.start()
        self._opened = redis.Redis(HOST, self._server.port)
        self._opened.flushall()
        self._script = self._opened.script_load(ADD)

    def append_events(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            self._waiting.append((row[KEY], int(row[TIME].timestamp() * 1_000_000), row[AMOUNT]))
            if len(self._waiting) == BATCH_ROWS:
                self.flush_events()

    def flush_events(self) -> None:
        self._add(self._waiting)
        self._waiting = []

    def write_events(self, table: pa.Table) -> None:
        times = table[TIME].cast(pa.int64()).to_pylist()
        self._add(list(zip(table[KEY].to_pylist(), times, table[AMOUNT].to_pylist(), strict=True)))

    def _add(self, events: Sequence[tuple[int, int, float]]) -> None:
        pipeline = self._opened.pipeline(transaction=False)
        for key, time, amount in events:
            tiles = (f"{key}:{level}:{time // width}" for level, width in enumerate(TILES_US))
            pipeline.evalsha(self._script, 3, *tiles, amount)
        pipeline.execute()

    def windows_of(self, key: int, now_us: int) -> Windows:
        now = now_us // TILES_US[0] * TILES_US[0]
        covers = {window: list(cover(now - length, now, len(TILES_US) - 1)) for window, length in LENGTHS_US.items()}
        tiles = list(dict.fromkeys(tile for tiles in covers.values() for tile in tiles))
        pipeline = self._opened.pipeline(transaction=False)
        for level, number in tiles:
            pipeline.hmget(f"{key}:{level}:{number}", "n", "s", "m")
        held = {tile: found for tile, found in zip(tiles, pipeline.execute(), strict=True) if found[0] is not None}
        answer: dict[str, float | None] = {}
        for window, wanted in covers.items():
            found = [held[tile] for tile in wanted if tile in held]
            count, total = sum(int(tile[0]) for tile in found), sum(float(tile[1]) for tile in found)
            answer[f"{AMOUNT}_count_{window}"] = count
            answer[f"{AMOUNT}_sum_{window}"] = total if count else None
            answer[f"{AMOUNT}_mean_{window}"] = total / count if count else None
            answer[f"{AMOUNT}_max_{window}"] = max((float(tile[2]) for tile in found), default=None)
        return answer

    def put_plain(self, key: int, values: Mapping[str, float]) -> None:
        self._opened.hset(f"plain:{key}", mapping=dict(values))
        self._names = list(values)

    def plain(self, key: int) -> Mapping[str, Any]:
        found = self._opened.hmget(f"plain:{key}", self._names)
        return {name: float(value) for name, value in zip(self._names, found, strict=True)}

    def close(self) -> None:
        self._opened.close()

    def stop(self) -> None:
        """The server, too."""
        self._server.stop()


def cover(start: int, stop: int, level: int) -> Iterator[tuple[int, int]]:
    """Tiles (level, number) from start to stop, coarse ones where they fit; both ends lie on edges of the finest."""
    if start >= stop:
        return
    width = TILES_US[level]
    first, last = -(-start // width), stop // width
    if first >= last:
        yield from cover(start, stop, level - 1)
        return
    yield from cover(start, first * width, level - 1)
    yield from ((level, number) for number in range(first, last))
    yield from cover(last * width, stop, level - 1)

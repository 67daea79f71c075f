"""Feast as an online store in Redis, on a server of its own as in `redis`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.engines import feast_sqlite
from benchmarks.features import Durability, Features
from benchmarks.redis_server import HOST, RedisServer


class Engine(feast_sqlite.Engine):
    """Every write is in the server's log, synced."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = RedisServer(folder)

    def open_online(self, features: Features, durability: Durability) -> None:
        if not self._server.is_running:
            self._server.start()
        super().open_online(features, durability)

    def online_store(self) -> dict[str, Any]:
        return {"type": "redis", "connection_string": f"{HOST}:{self._server.port}"}

    def stop(self) -> None:
        """The server, too."""
        self._server.stop()

    def size_bytes(self) -> int:
        return self._server.size_bytes

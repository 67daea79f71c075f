"""SQLite through the standard library: row by row in one transaction, write-ahead log, synced at every commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa


class Engine:
    """One table without an index; times are integers, as SQLite has no time of its own."""

    version = sqlite3.sqlite_version

    def __init__(self, folder: Path) -> None:
        self._path = folder / "readings.sqlite"
        self._connection: sqlite3.Connection | None = None

    def bulk_write(self, table: pa.Table) -> None:
        self.open()
        types = ", ".join(f"{field.name} {'REAL' if pa.types.is_floating(field.type) else 'INTEGER'}" for field in table.schema)
        self._sql.execute(f"CREATE TABLE IF NOT EXISTS readings ({types})")
        self.small_write(table)
        self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def small_write(self, table: pa.Table) -> None:
        places = ", ".join("?" * table.num_columns)
        columns = [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in table.columns]
        with self._sql:
            self._sql.executemany(f"INSERT INTO readings VALUES ({places})", zip(*(column.to_pylist() for column in columns), strict=True))

    def open(self) -> None:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path)
            self._sql.execute("PRAGMA journal_mode = WAL")
            self._sql.execute("PRAGMA synchronous = FULL")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def scan(self, columns: Sequence[str]) -> list[float]:
        return list(self._sql.execute(f"SELECT {', '.join(f'sum({name})' for name in columns)} FROM readings").fetchone())

    def read(self, columns: Sequence[str]) -> pa.Table:
        rows = self._sql.execute(f"SELECT {', '.join(columns)} FROM readings").fetchall()
        return pa.table(dict(zip(columns, (list(values) for values in zip(*rows, strict=True)), strict=True)))

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._path.parent.iterdir())

    @property
    def _sql(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the SQLite file is closed")
        return self._connection

"""DuckDB in its own file format: rows go in from the same Arrow table, and the log is synced at every commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa


class Engine:
    """One table, no index; a bulk write ends in a checkpoint, so that the rows are in the file and not only in its log."""

    version = duckdb.__version__

    def __init__(self, folder: Path) -> None:
        self._path = folder / "readings.duckdb"
        self._connection: duckdb.DuckDBPyConnection | None = None

    def bulk_write(self, table: pa.Table) -> None:
        self.open()
        self._sql.register("incoming", table)
        if not self._sql.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'readings'").fetchall():
            self._sql.execute("CREATE TABLE readings AS SELECT * FROM incoming LIMIT 0")
        self._sql.execute("INSERT INTO readings SELECT * FROM incoming")
        self._sql.unregister("incoming")
        self._sql.execute("CHECKPOINT")

    def small_write(self, table: pa.Table) -> None:
        self._sql.register("incoming", table)
        self._sql.execute("INSERT INTO readings SELECT * FROM incoming")
        self._sql.unregister("incoming")

    def open(self) -> None:
        if self._connection is None:
            self._connection = duckdb.connect(str(self._path))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def scan(self, columns: Sequence[str]) -> list[float]:
        [sums] = self._sql.execute(f"SELECT {', '.join(f'sum({name})' for name in columns)} FROM readings").fetchall()
        return [float(value) for value in sums]

    def read(self, columns: Sequence[str]) -> pa.Table:
        return self._sql.sql(f"SELECT {', '.join(columns)} FROM readings").to_arrow_table()

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._path.parent.iterdir())

    @property
    def _sql(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise RuntimeError("the DuckDB file is closed")
        return self._connection

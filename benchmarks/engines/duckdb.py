"""DuckDB in its own file format: rows go in from the same Arrow table, and the log is synced at every commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.events import AMOUNT, LENGTHS_US, Events
from benchmarks.history import KEY, ROW, TIME, History

STORE = "history.duckdb"
VIEWS = tuple(view.name for view in History(0).views)


class Engine:
    """One table, no index; a bulk write ends in a checkpoint, so that the rows are in the file and not only in its log."""

    version = duckdb.__version__
    keeps_open = True

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

    def build_views(self, history: History, store: Path) -> None:
        """One table for each view, in the order of (key, time): it sorts again at every join, and faster what is sorted already."""
        with duckdb.connect(str(store / STORE)) as connection:
            for view in history.views:
                connection.register("incoming", history.reader(view))
                connection.execute(f"CREATE TABLE {view.name} AS SELECT * FROM incoming ORDER BY {KEY}, {TIME}")
                connection.unregister("incoming")

    def open_views(self, store: Path) -> None:
        self._connection = duckdb.connect(str(store / STORE), read_only=True)
        self._sql.execute("SET TimeZone = 'UTC'")

    def join(self, labels: pa.Table) -> pa.Table:
        self._sql.register("labels", labels)
        joined = self._sql.sql(join_query(list(VIEWS))).to_arrow_table()
        self._sql.unregister("labels")
        return joined

    def join_tables(self, labels: pa.Table, views: Mapping[str, pa.Table]) -> pa.Table:
        with duckdb.connect(":memory:") as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for name, table in {"labels": labels, **views}.items():
                connection.register(name, table)
            return connection.sql(join_query(list(views))).to_arrow_table()

    def build_events(self, events: Events, store: Path) -> None:
        with duckdb.connect(str(store / STORE)) as connection:
            connection.register("incoming", events.reader())
            connection.execute(f"CREATE TABLE events AS SELECT * FROM incoming ORDER BY {KEY}, {TIME}")
            connection.unregister("incoming")

    def open_events(self, store: Path) -> None:
        self.open_views(store)

    def aggregate(self, labels: pa.Table) -> pa.Table:
        self._sql.register("labels", labels)
        answer = self._sql.sql(WINDOWS_QUERY).to_arrow_table()
        self._sql.unregister("labels")
        return answer

    @property
    def _sql(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise RuntimeError("the DuckDB file is closed")
        return self._connection


def join_query(views: Sequence[str]) -> str:
    """ASOF LEFT JOIN takes, for each label, the newest row of a view that is not newer than the label."""
    joins = "".join(f" ASOF LEFT JOIN {view} ON labels.{KEY} = {view}.{KEY} AND labels.{TIME} >= {view}.{TIME}" for view in views)
    features = ", ".join(f"{view}.* EXCLUDE ({KEY}, {TIME})" for view in views)
    return f"SELECT labels.*, {features} FROM labels{joins}"


def windows_query() -> str:
    """Labels among the events as rows without an amount, so that each is the end of windows; a frame leaves out what is exactly so old."""
    functions = {"count": "count", "sum": "sum", "mean": "avg", "max": "max"}
    columns = ", ".join(
        f"{sql}({AMOUNT}) OVER w{window} AS {AMOUNT}_{function}_{window}" for window in LENGTHS_US for function, sql in functions.items()
    )
    frames = ", ".join(
        f"w{window} AS (PARTITION BY {KEY} ORDER BY {TIME} RANGE BETWEEN INTERVAL {length - 1} MICROSECONDS PRECEDING AND CURRENT ROW)"
        for window, length in LENGTHS_US.items()
    )
    asked = f"SELECT {KEY}, {TIME}, {AMOUNT}, NULL AS {ROW} FROM events UNION ALL SELECT {KEY}, {TIME}, NULL, {ROW} FROM labels"
    return f"SELECT * FROM (SELECT {ROW}, {columns} FROM ({asked}) WINDOW {frames}) WHERE {ROW} IS NOT NULL"


WINDOWS_QUERY = windows_query()

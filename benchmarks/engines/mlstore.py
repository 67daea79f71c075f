"""mlstore: one view; every write keeps history and the online row of each entity, in one durable commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pyarrow as pa

import mlstore as ml
from benchmarks.history import KEY, TIME, History, View
from benchmarks.workload import NotHere

STORE = "history.mls"
# With layout "many": so many rows at most stay in the tail, in writes of so many; the other late rows come in up to so many writes,
# none smaller than what goes straight to a segment.
TAIL_ROWS, TAIL_WRITE_ROWS = 60_000, 10_000
LATE_WRITES, LATE_WRITE_ROWS = 10, 1 << 14


def installed_version() -> str:
    try:
        return version("mlstore")
    except PackageNotFoundError:
        return "from source"


VIEWS = tuple(view.name for view in History(0).views)


class Engine:
    """Only the public face is used."""

    version = installed_version()
    keeps_open = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "readings.mls"
        self._opened: ml.Store | None = None

    def bulk_write(self, table: pa.Table) -> None:
        self.open()
        features = {name: ml.float64 for name in table.column_names if name not in ("entity", "event_timestamp")}
        entity = ml.Entity("entity", keys={"entity": ml.int64})
        self._store.apply(entity, ml.FeatureView("readings", entity=entity, schema=features, timestamp="event_timestamp"))
        self._store.write("readings", table)

    def small_write(self, table: pa.Table) -> None:
        self._store.write("readings", table)

    def open(self) -> None:
        if self._opened is None:
            self._opened = ml.open(self._path)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def scan(self, columns: Sequence[str]) -> list[float]:
        """Sums over the arrays as they lie in the file: nothing is copied."""
        table = self._store.read("readings", columns=list(columns)).table()
        return [sum(float(np.sum(chunk.to_numpy())) for chunk in table[name].chunks) for name in columns]

    def read(self, columns: Sequence[str]) -> pa.Table:
        return self._store.read("readings", columns=list(columns)).table()

    def size_bytes(self) -> int:
        return self._path.stat().st_size

    def make_cold(self) -> None:
        self._store.optimize(tier="cold")

    def compact(self) -> None:
        self._store.compact()

    def build_views(self, history: History, store: Path) -> None:
        entity = ml.Entity(KEY, keys={KEY: ml.int64 if history.keys == "int" else ml.string})
        with ml.open(store / STORE) as opened:
            for view in history.views:
                features = dict.fromkeys(view.features, ml.float64)
                opened.apply(entity, ml.FeatureView(view.name, entity=entity, schema=features, timestamp=TIME))
                write_view(opened, history, view)

    def open_views(self, store: Path) -> None:
        self._opened = ml.open(store / STORE, read_only=True)

    def join(self, labels: pa.Table) -> pa.Table:
        return self._store.training_set(labels, list(VIEWS))

    def join_tables(self, labels: pa.Table, views: Mapping[str, pa.Table]) -> pa.Table:
        asof_join: Callable[..., pa.Table] | None = getattr(ml, "asof_join", None)
        if asof_join is None:
            raise NotHere("this mlstore has no asof_join")
        for view in views.values():
            labels = asof_join(labels, view, on=TIME, by=KEY)
        return labels

    def describe(self) -> str:
        """How the history lies in the file."""
        tables = self._store.info()["tables"]
        return ", ".join(f"{table['name']}: {table['runs']} runs, {table['tail_rows']:,} rows in the tail" for table in tables)

    @property
    def _store(self) -> ml.Store:
        if self._opened is None:
            raise RuntimeError("the store is closed")
        return self._opened


def write_view(store: ml.Store, history: History, view: View) -> None:
    """One bulk write; or that of the punctual rows, several writes of late ones, and a tail that is nearly full."""
    if history.layout == "one":
        store.write(view.name, history.reader(view))
        return
    store.write(view.name, history.punctual(view))
    late = history.late(view)
    tail_rows = min(TAIL_ROWS, late.num_rows // 3)
    direct = late.num_rows - tail_rows
    for part in slices(late.slice(0, direct), max(LATE_WRITE_ROWS, -(-direct // LATE_WRITES))):
        store.write(view.name, part)
    for part in slices(late.slice(direct), TAIL_WRITE_ROWS):
        store.write(view.name, part)


def slices(table: pa.Table, rows: int) -> list[pa.Table]:
    return [table.slice(start, rows) for start in range(0, table.num_rows, rows)]

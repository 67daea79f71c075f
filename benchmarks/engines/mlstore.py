"""mlstore: one view; every write keeps history and the online row of each entity, in one durable commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import mlstore as ml
from benchmarks import features as online
from benchmarks.events import AMOUNT, FUNCTIONS, LENGTHS_US, Events
from benchmarks.history import KEY, TIME, History, View
from benchmarks.workload import NotHere

STORE = "history.mls"
# With layout "many": the last late rows stay in the tail, which is sealed at 1 << 16, and come in writes of these sizes, over and over.
TAIL_ROWS, TAIL_WRITES = 60_000, (4000, 1000, 100, 10)
# The late rows before them go straight to segments, for which a write must have this many, in so many writes. Eight runs of a level are
# merged into one of the next: beside the bulk, these numbers of writes leave as many runs as they can, 10 after 30.
RUN_ROWS, RUN_WRITES = 1 << 12, (30, 22, 14, 6, 5, 4, 3, 2, 1)


def installed_version() -> str:
    try:
        return version("mlstore")
    except PackageNotFoundError:
        return "from source"


# The types of the online workload's features.
TYPES = {pa.float64(): ml.float64, pa.int64(): ml.int64, pa.bool_(): ml.bool_, pa.string(): ml.string}
VIEWS = tuple(view.name for view in History(0).views)


class Engine:
    """Only the public face is used."""

    version = installed_version()
    keeps_open = True
    durabilities: tuple[online.Durability, ...] = ("full", "normal")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "readings.mls"
        self._opened: ml.Store | None = None
        self._live = 0

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

    # -- versions

    bears_many = True

    def begin(self, table: pa.Table) -> None:
        self.bulk_write(table)

    def append(self, table: pa.Table) -> None:
        self._store.write("readings", table)

    def upsert(self, table: pa.Table) -> None:
        self._store.write("readings", table, mode="upsert")

    def snapshot(self, name: str) -> None:
        self._store.snapshot(name)

    def read_version(self, name: str | None, columns: Sequence[str], span: tuple[int, int] | None = None) -> pa.Table:
        store = self._store if name is None else self._store.at(name)
        start, end = (None, None) if span is None else (pa.scalar(time, pa.timestamp("us", "UTC")).as_py() for time in span)
        return store.read("readings", columns=list(columns), start=start, end=end).table()

    def reopen(self) -> None:
        self.close()
        self.open()

    def diff(self, before: str, after: str) -> tuple[int, int, int]:
        counts = self._store.diff(before, after).summary()["readings"]
        return counts["added"], counts["removed"], counts["changed"]

    def branch(self, name: str) -> None:
        self._store.branch(name)

    def upsert_on(self, name: str, table: pa.Table) -> None:
        self._store.checkout(name).write("readings", table, mode="upsert")

    def merge(self, name: str) -> None:
        self._store.merge(name)

    def rollback(self, name: str) -> None:
        self._store.rollback(name)

    def make_small(self) -> None:
        self._store.optimize(tier="cold")
        self._store.compact()

    def let_go(self) -> None:
        self._store.retain(last=1)

    # -- training sets

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

    def build_events(self, events: Events, store: Path) -> None:
        with ml.open(store / STORE) as opened:
            opened.apply(*spending())
            opened.write("events", events.reader())
            opened.optimize()

    def open_events(self, store: Path) -> None:
        self.open_views(store)

    def aggregate(self, labels: pa.Table) -> pa.Table:
        return self._store.training_set(labels, ["spend"])

    def open_live(self, store: Path) -> None:
        """Each time in a folder of its own."""
        self._live += 1
        folder = self.folder / f"live-{self._live}"
        folder.mkdir()
        self._opened = ml.open(folder / STORE)
        self._opened.apply(*spending())
        self._stream = self._opened.stream("events")
        self._spend = self._opened.reader("spend")

    def append_events(self, rows: Sequence[dict[str, Any]]) -> None:
        append = self._stream.append
        for row in rows:
            append(row)

    def flush_events(self) -> None:
        self._stream.close()

    def write_events(self, table: pa.Table) -> None:
        self._store.write("events", table)

    def windows_of(self, key: int, now_us: int) -> Mapping[str, float | None]:
        answer: Mapping[str, float | None] = self._spend.online_features({KEY: key}, now=datetime.fromtimestamp(now_us / 1e6, UTC))
        return answer

    def put_plain(self, key: int, values: Mapping[str, float]) -> None:
        entity = ml.Entity(KEY, keys={KEY: ml.int64})
        self._store.apply(ml.FeatureView("plain", entity=entity, schema=dict.fromkeys(values, ml.float64)))
        self._store.write("plain", {KEY: key, "event_timestamp": "2024-01-01", **values})
        self._plain = self._store.reader("plain")

    def plain(self, key: int) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self._plain.online_features({KEY: key})
        return answer

    def describe(self) -> str:
        """How the history lies in the file."""
        tables = self._store.info()["tables"]
        return ", ".join(f"{table['name']}: {table['runs']} runs, {table['tail_rows']:,} rows in the tail" for table in tables)

    def open_online(self, features: online.Features, durability: online.Durability) -> None:
        self._opened = ml.open(self._path, durability=durability)
        user = ml.Entity("user", keys={online.KEY: ml.int64})
        schema = {name: TYPES[kind] for name, kind in zip(online.NAMES, online.TYPES, strict=True)}
        self._store.apply(user, ml.FeatureView(online.VIEW, entity=user, schema=schema, timestamp=online.TIME))
        self._reader = self._store.reader([online.VIEW])

    def open_to_read(self, features: online.Features) -> None:
        self._opened = ml.open(self._path, read_only=True)
        self._reader = self._store.reader([online.VIEW])

    def load_table(self, table: pa.Table) -> None:
        self._store.write(online.VIEW, table)

    def one(self, key: int) -> online.Answer:
        answer: online.Answer = self._reader.online_features({online.KEY: key})
        return answer

    def many(self, keys: Sequence[int]) -> pa.Table:
        return self._reader.online_features({online.KEY: keys})

    def one_by_name(self, key: int) -> online.Answer:
        """Without a prepared reader."""
        answer: online.Answer = self._store.online_features([online.VIEW], {online.KEY: key})
        return answer

    def write_row(self, row: dict[str, Any]) -> None:
        self._store.write(online.VIEW, row)

    def write_many(self, table: pa.Table) -> None:
        self._store.write(online.VIEW, table)

    def append_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        with self._store.stream(online.VIEW) as stream:
            for row in rows:
                stream.append(row)

    @property
    def _store(self) -> ml.Store:
        if self._opened is None:
            raise RuntimeError("the store is closed")
        return self._opened


def spending() -> tuple[ml.Entity, ml.Table, ml.WindowView]:
    """Events in the order of (key, time), and their sixteen windows."""
    entity = ml.Entity(KEY, keys={KEY: ml.int64})
    table = ml.Table("events", schema={KEY: ml.int64, AMOUNT: ml.float64}, key=[KEY], timestamp=TIME)
    amounts = ml.agg(AMOUNT, FUNCTIONS, windows=[*LENGTHS_US])
    return entity, table, ml.WindowView("spend", entity=entity, source=table, aggregations=[amounts])


def write_view(store: ml.Store, history: History, view: View) -> None:
    """One bulk write; or that of the punctual rows, several writes of late ones, and a tail that is nearly full."""
    if history.layout == "one":
        store.write(view.name, history.reader(view))
        return
    store.write(view.name, history.punctual(view))
    store.optimize(table=view.name)
    late, start = history.late(view), 0
    for rows in late_writes(late.num_rows):
        store.write(view.name, late.slice(start, rows))
        start += rows


def late_writes(rows: int) -> list[int]:
    """How many rows each late write has: first those that make a run each, then those that fill the tail."""
    tail_rows = rows if rows <= TAIL_ROWS else min(TAIL_ROWS, rows - RUN_ROWS)
    spare, writes = rows - tail_rows, list[int]()
    for left in range(next((count for count in RUN_WRITES if count * RUN_ROWS <= spare), 0), 0, -1):
        # The later, the larger; the last takes what is left.
        writes.append(spare if left == 1 else RUN_ROWS + (spare - left * RUN_ROWS) // (2 * left))
        spare -= writes[-1]
    for size in cycle(TAIL_WRITES):
        if not tail_rows:
            return writes
        writes.append(min(size, tail_rows))
        tail_rows -= writes[-1]
    return writes

"""Training sets: labels as a table in memory, a history of two views on the disk, and out comes a table with the fifteen features.

Each engine keeps the history as its documents advise and builds its files once, which is not measured. Measured is the way from closed
files to a table in memory with the files in the system's cache, and for engines that keep files open, the same with open files.
The order of the rows that come out is free: they are put in order before they are compared, which is not measured either.
A null and a NaN count as the same: no feature of the history is either.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from benchmarks.history import ROW, History
from benchmarks.memory import own_bytes, watch_memory
from benchmarks.meter import Meter
from benchmarks.workload import Engine
from benchmarks.workloads.storage import read_table, write_table

CALLS, ENOUGH_SECONDS = 3, 10
WARM_UP_LABELS = 1000
READ_BYTES = 1 << 24
CLOSED, OPENED = "from closed files", "from open files"
FLOOR = "floor"
# The memory that a join may take beside its table.
SPARE_SHARE, SPARE_BYTES = 0.25, 100_000_000


@runtime_checkable
class TimeTravel(Protocol):
    """Joins labels with the newest earlier row of each view."""

    def build_views(self, history: History, store: Path) -> None:
        """Keep the history in this empty folder, however the engine likes it best."""

    def open_views(self, store: Path) -> None: ...

    def join(self, labels: pa.Table) -> pa.Table:
        """The labels with all features, rows and columns in any order."""

    def close(self) -> None: ...


@runtime_checkable
class KeepsOpen(TimeTravel, Protocol):
    """Gains from leaving its files open between two joins."""

    keeps_open: bool


@runtime_checkable
class Losing(TimeTravel, Protocol):
    """Is known to drop labels that have no row in some view."""

    loses_labels: bool


@runtime_checkable
class Limited(TimeTravel, Protocol):
    """Needs so much time or memory that some sizes are out of its reach."""

    def bears(self, history: History, labels: int) -> bool: ...


@runtime_checkable
class Described(TimeTravel, Protocol):
    """Can say how its files, once opened, are laid out."""

    def describe(self) -> str: ...


@runtime_checkable
class Foreseeing(TimeTravel, Protocol):
    """Is told beforehand what will be asked: no rival, but a floor."""

    def foresee(self, labels: pa.Table) -> None: ...


@dataclass(frozen=True, slots=True)
class AsOf:
    """The workload; see the head of this file."""

    title: str = "point-in-time training sets"
    engines: tuple[str, ...] = ("mlstore", "floor", "polars", "polars_parquet", "duckdb", "pandas", "pyarrow", "feast", "feast_dask")
    max_rows: Mapping[str, int] = field(
        default_factory=lambda: {"pandas": 10_000_000, "pyarrow": 2_000_000, "feast": 1_000_000, "feast_dask": 100_000}
    )
    labels: tuple[int, ...] = (10_000, 100_000)
    history: History = field(default_factory=lambda: History(0))

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        add_label_option(parser, self.labels)
        add_history_options(parser)
        parser.add_argument("--layout", choices=["one", "many"], default="one", help="one bulk write, or many writes of all sizes after it")

    def configured(self, options: argparse.Namespace) -> AsOf:
        history = History(options.rows, options.keys, options.skew, options.layout)
        return replace(self, labels=tuple(sorted(set(options.labels))), history=history)

    def prepare(self, inputs: Path, *, rows: int) -> None:
        prepare_case(replace(self.history, rows=rows), self.labels, inputs)

    def build(self, engine: Engine, inputs: Path) -> None:
        build_case(engine, inputs)

    def run(self, engine: Engine, inputs: Path, meter: Meter) -> None:
        measure_case(engine, inputs, meter)

    def remarks(self, table: Mapping[str, Mapping[str, float]]) -> list[str]:
        return [remark for step in table if step.endswith((CLOSED, OPENED)) for remark in compare(step, table)]


WORKLOAD = AsOf()


def add_label_option(parser: argparse.ArgumentParser, default: tuple[int, ...]) -> None:
    parser.add_argument("--labels", nargs="+", type=lambda text: int(text.replace("_", "")), default=default, help="one size or several")


def add_history_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keys", choices=["int", "string"], default="int")
    parser.add_argument("--skew", choices=["uniform", "zipf"], default="uniform", help="how often each key comes, in history and labels")


def prepare_case(history: History, label_counts: tuple[int, ...], case: Path) -> None:
    history.save(case)
    for count in label_counts:
        write_table(history.labels(count), case / f"labels-{count:012}.arrow")


def label_paths(case: Path) -> list[Path]:
    """From the fewest labels to the most."""
    return sorted(case.glob("labels-*.arrow"))


def build_case(engine: Engine, case: Path) -> None:
    store = store_folder(engine, case)
    store.mkdir(parents=True)
    time_traveller(engine).build_views(History.load(case), store)


def measure_case(engine: Engine, case: Path, meter: Meter, *, prefix: str = "") -> None:
    """All sizes of labels, from the smallest."""
    joiner, history, store = time_traveller(engine), History.load(case), store_folder(engine, case)
    if isinstance(joiner, Described):
        joiner.open_views(store)
        meter.note(f"{prefix}{joiner.describe()}")
        joiner.close()
    meter.size(f"{prefix}files", sum(path.stat().st_size for path in store.rglob("*") if path.is_file()))
    own_before = own_bytes()
    for path in label_paths(case):
        labels = read_table(path)
        if isinstance(joiner, Limited) and not joiner.bears(history, labels.num_rows):
            meter.note(f"{prefix}left out at {labels.num_rows:,} labels, which it does not bear on this history")
            continue
        if isinstance(joiner, Foreseeing):
            joiner.open_views(store)
            joiner.foresee(labels)
            joiner.close()
        warm_up(joiner, store, labels)
        measure_memory(joiner, store, labels, history, meter, f"{prefix}{labels.num_rows:,} labels", own_before=own_before)
        measure_labels(joiner, store, labels, history, meter, f"{prefix}{labels.num_rows:,} labels")


def measure_memory(
    joiner: TimeTravel, store: Path, labels: pa.Table, history: History, meter: Meter, name: str, *, own_before: int
) -> None:
    """One call from closed files, whose answer is checked. own_before: without the labels, which lie in memory whatever the engine does."""
    with watch_memory(own_before + labels.nbytes) as peak:
        table = join_closed(joiner, store, labels)
    meter.size(f"{name}, table", labels.nbytes + table.select(history.features).nbytes)
    meter.size(f"{name}, memory of its own", peak.own_bytes)
    meter.size(f"{name}, pages mapped in", peak.mapped_bytes)
    check(f"{name}, {CLOSED}", joiner, table, labels, history, meter)


def measure_labels(joiner: TimeTravel, store: Path, labels: pa.Table, history: History, meter: Meter, name: str) -> None:
    measure_calls(f"{name}, {CLOSED}", partial(join_closed, joiner, store, labels), meter)
    if isinstance(joiner, KeepsOpen):
        joiner.open_views(store)
        check(f"{name}, {OPENED}", joiner, joiner.join(labels), labels, history, meter)
        measure_calls(f"{name}, {OPENED}", partial(joiner.join, labels), meter)
        joiner.close()


def join_closed(joiner: TimeTravel, store: Path, labels: pa.Table) -> pa.Table:
    joiner.open_views(store)
    table = joiner.join(labels)
    joiner.close()
    return table


def measure_calls(name: str, call: Callable[[], pa.Table], meter: Meter) -> None:
    """A few calls, or one if it takes long."""
    began = time.monotonic()
    for _ in range(CALLS):
        with meter.measure(name, cpu=True):
            table = call()
        del table
        if time.monotonic() - began > ENOUGH_SECONDS:
            return


def warm_up(joiner: TimeTravel, store: Path, labels: pa.Table) -> None:
    """Bring the files into the system's cache, and let the engine start its threads and load what it loads at the first call."""
    read_all(store)
    if not isinstance(joiner, Foreseeing):
        joiner.open_views(store)
        joiner.join(labels.slice(0, WARM_UP_LABELS))
        joiner.close()


def read_all(store: Path) -> None:
    """Bring the files into the system's cache."""
    for path in store.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(READ_BYTES):
                    pass


def check(name: str, joiner: TimeTravel, table: pa.Table, labels: pa.Table, history: History, meter: Meter) -> None:
    """Note the answer. One without some of the labels is told below the table if the engine is known to lose them, and an error if not."""
    missing = labels.num_rows - table.num_rows
    if missing > 0 and isinstance(joiner, Losing):
        meter.note(f"{name}: {missing:,} label rows are missing from the answer, so it is not compared with the others'")
    else:
        meter.check(name, checksum(table, history, labels.num_rows))


def checksum(table: pa.Table, history: History, count: int) -> str:
    """A digest of every feature in the order of the labels, nulls included; the same however an engine represents them."""
    rows = table[ROW].to_numpy()
    if not np.array_equal(np.sort(rows), np.arange(count)):
        raise ValueError(f"{len(rows):,} rows came out of {count:,} labels: some are missing, or there twice")
    digest = hashlib.blake2b(digest_size=8)
    for feature in history.features:
        values = np.full(count, np.nan)
        values[rows] = table[feature].to_numpy()
        digest.update(values.tobytes())
    return digest.hexdigest()


def compare(step: str, table: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """How the first engine does beside the fastest rival and the floor, and how much memory it takes beside its table."""
    ours = next(iter(table[step]))
    rivals = {engine: seconds for engine, seconds in table[step].items() if engine not in (ours, FLOOR)}
    if rivals:
        fastest = min(rivals, key=lambda engine: rivals[engine])
        yield f"{step}: {fastest}, the fastest rival, takes {rivals[fastest] / table[step][ours]:.3g}x the time of {ours}"
    name, _, state = step.rpartition(", ")
    if (floor := table[step].get(FLOOR)) and ours != FLOOR:
        yield f"{step}: {ours} takes {table[step][ours] / floor:.3g}x the time of the floor"
    memory, size = table.get(f"{name}, memory of its own", {}).get(ours), table.get(f"{name}, table", {}).get(ours)
    if memory and size and state == CLOSED:
        allowed = size * (1 + SPARE_SHARE) + SPARE_BYTES
        yield f"{name}: {ours} takes {memory / 1e6:,.0f} MB of its own; the table + 25 % + 100 MB are {allowed / 1e6:,.0f} MB"


def time_traveller(engine: Engine) -> TimeTravel:
    if not isinstance(engine, TimeTravel):
        raise TypeError(f"{type(engine).__module__} cannot join as of a time")
    return engine


def store_folder(engine: Engine, case: Path) -> Path:
    return case / "stores" / type(engine).__module__.rsplit(".", 1)[-1]

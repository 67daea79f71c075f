"""Windows at label times: the count, sum, mean and maximum of what the last hour, day, week and 30 days before each label held.

Exact to the microsecond: an event is in the window until it is exactly so old. Each engine keeps the events as it likes them best and
builds its files once, which is not measured. Measured is the way from files in the system's cache to a table in memory. All sixteen
columns are compared; over nothing a count is 0 and all else null.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from benchmarks.events import OUTPUTS, Events
from benchmarks.history import ROW
from benchmarks.memory import own_bytes, watch_memory
from benchmarks.meter import Meter
from benchmarks.workload import Engine
from benchmarks.workloads.asof import CLOSED, FLOOR, OPENED, add_label_option, label_paths, measure_calls, read_all, store_folder
from benchmarks.workloads.storage import read_table, write_table


@runtime_checkable
class Aggregating(Engine, Protocol):
    """Gives the windows of labels."""

    def build_events(self, events: Events, store: Path) -> None:
        """Keep the events in this empty folder, however the engine likes it best."""

    def open_events(self, store: Path) -> None: ...

    def aggregate(self, labels: pa.Table) -> pa.Table:
        """The labels with all windows, rows and columns in any order."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Windows:
    """The workload; see the head of this file."""

    title: str = "windows at label times"
    engines: tuple[str, ...] = ("mlstore", "floor", "polars", "duckdb", "pandas")
    max_rows: Mapping[str, int] = field(default_factory=lambda: {"pandas": 1_000_000})
    labels: tuple[int, ...] = (100_000,)

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        add_label_option(parser, self.labels)

    def configured(self, options: argparse.Namespace) -> Windows:
        return replace(self, labels=tuple(sorted(set(options.labels))))

    def prepare(self, inputs: Path, *, rows: int) -> None:
        events = Events(rows)
        events.save(inputs)
        for count in self.labels:
            write_table(events.labels(count), inputs / f"labels-{count:012}.arrow")

    def build(self, engine: Engine, inputs: Path) -> None:
        store = store_folder(engine, inputs)
        store.mkdir(parents=True)
        aggregating(engine).build_events(Events.load(inputs), store)

    def run(self, engine: Engine, inputs: Path, meter: Meter) -> None:
        aggregator, store = aggregating(engine), store_folder(engine, inputs)
        read_all(store)
        meter.size("files", sum(path.stat().st_size for path in store.rglob("*") if path.is_file()))
        own_before = own_bytes()
        for path in label_paths(inputs):
            labels = read_table(path)
            measure_labels(aggregator, store, labels, meter, f"{labels.num_rows:,} labels", own_before=own_before + labels.nbytes)

    def remarks(self, table: Mapping[str, Mapping[str, float]]) -> list[str]:
        return [remark for step in table if step.endswith((CLOSED, OPENED)) for remark in compare(step, table[step])]


WORKLOAD = Windows()


def measure_labels(aggregator: Aggregating, store: Path, labels: pa.Table, meter: Meter, name: str, *, own_before: int) -> None:
    def closed() -> pa.Table:
        aggregator.open_events(store)
        table = aggregator.aggregate(labels)
        aggregator.close()
        return table

    with watch_memory(own_before) as peak:
        table = closed()
    meter.size(f"{name}, memory of its own", peak.own_bytes)
    meter.check(f"{name}, {CLOSED}", checksum(table, labels.num_rows))
    del table
    measure_calls(f"{name}, {CLOSED}", closed, meter)
    aggregator.open_events(store)
    again: Callable[[], pa.Table] = partial(aggregator.aggregate, labels)
    meter.check(f"{name}, {OPENED}", checksum(again(), labels.num_rows))
    measure_calls(f"{name}, {OPENED}", again, meter)
    aggregator.close()


def checksum(table: pa.Table, count: int) -> str:
    """A digest of every window in the order of the labels, nulls included; the same however an engine represents them."""
    rows = table[ROW].to_numpy()
    if not np.array_equal(np.sort(rows), np.arange(count)):
        raise ValueError(f"{len(rows):,} rows came out of {count:,} labels: some are missing, or there twice")
    digest = hashlib.blake2b(digest_size=8)
    for output in OUTPUTS:
        values = np.full(count, np.nan)
        values[rows] = table[output].cast(pa.float64()).to_numpy()
        digest.update((values + 0.0).tobytes())
    return digest.hexdigest()


def compare(step: str, seconds: Mapping[str, float]) -> list[str]:
    """How the first engine does beside the fastest rival, and the floor."""
    ours = next(iter(seconds))
    rivals = {engine: taken for engine, taken in seconds.items() if engine not in (ours, FLOOR)}
    told = (
        [f"{step}: {ours} takes {seconds[ours] / seconds[FLOOR]:.3g}x the time of the floor"] if FLOOR in seconds and ours != FLOOR else []
    )
    if rivals:
        fastest = min(rivals, key=lambda engine: rivals[engine])
        told.append(f"{step}: {fastest}, the fastest rival, takes {rivals[fastest] / seconds[ours]:.3g}x the time of {ours}")
    return told


def aggregating(engine: Engine) -> Aggregating:
    if not isinstance(engine, Aggregating):
        raise TypeError(f"{type(engine).__module__} cannot aggregate windows")
    return engine

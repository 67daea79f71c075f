"""The join alone: labels and two views as tables in memory, in the order of time, and out comes a table with the fifteen features.

The rows and labels are those of the as-of workload; nothing is stored.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from benchmarks.history import History
from benchmarks.meter import Meter
from benchmarks.workload import Engine
from benchmarks.workloads.asof import (
    WARM_UP_LABELS,
    add_history_options,
    add_label_option,
    checksum,
    label_paths,
    measure_calls,
    prepare_case,
)
from benchmarks.workloads.storage import read_table


@runtime_checkable
class JoinsTables(Protocol):
    """Joins tables that it has never seen before."""

    def join_tables(self, labels: pa.Table, views: Mapping[str, pa.Table]) -> pa.Table:
        """The labels with the features of the newest earlier row of each view, rows and columns in any order."""


@dataclass(frozen=True, slots=True)
class AsOfKernel:
    """The workload; see the head of this file."""

    title: str = "as-of join of tables in memory"
    engines: tuple[str, ...] = ("mlstore", "polars", "duckdb", "pyarrow")
    max_rows: Mapping[str, int] = field(default_factory=lambda: {"pyarrow": 2_000_000})
    labels: tuple[int, ...] = (10_000, 100_000)
    history: History = field(default_factory=lambda: History(0))

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        add_label_option(parser, self.labels)
        add_history_options(parser)

    def configured(self, options: argparse.Namespace) -> AsOfKernel:
        history = History(options.rows, options.keys, options.skew)
        return replace(self, labels=tuple(sorted(set(options.labels))), history=history)

    def prepare(self, inputs: Path, *, rows: int) -> None:
        prepare_case(replace(self.history, rows=rows), self.labels, inputs)

    def run(self, engine: Engine, inputs: Path, meter: Meter) -> None:
        if not isinstance(engine, JoinsTables):
            raise TypeError(f"{type(engine).__module__} cannot join tables in memory")
        history = History.load(inputs)
        views = {view.name: history.table(view) for view in history.views}
        for path in label_paths(inputs):
            labels = read_table(path)
            engine.join_tables(labels.slice(0, WARM_UP_LABELS), views)
            name = f"{labels.num_rows:,} labels"
            meter.check(name, checksum(engine.join_tables(labels, views), history, labels.num_rows))
            measure_calls(name, partial(engine.join_tables, labels, views), meter)


WORKLOAD = AsOfKernel()

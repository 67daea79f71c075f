"""Versions: what it costs to keep them, to read and compare them, and whether that grows as they become many.

Readings as in the storage workload, in the order of time: a bulk, appends of one in a hundred with a snapshot each, one in a hundred
replaced, then many small commits with a snapshot each, and a branch that is changed and merged where the engine can.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from benchmarks.meter import Meter
from benchmarks.workload import Engine
from benchmarks.workloads.storage import COLUMNS, EPOCH_US, FEATURES, ROWS_PER_ENTITY, checksum, read_table, write_table

APPENDS = 20
PART = 100  # an append, an upsert and a branch's change are one in so many rows
READS = 3
ENDS = 20  # of the many versions, so many of the first and of the last are shown
STEP_US = 1_000_000
ROW = bytes(8 * len(COLUMNS))

Counts = tuple[int, int, int]  # rows added, removed, changed
Table = Mapping[str, Mapping[str, float]]


@runtime_checkable
class Versioned(Protocol):
    """Keeps versions under names."""

    def begin(self, table: pa.Table) -> None:
        """Make the empty store, put everything in, durably, and leave it open."""

    def append(self, table: pa.Table) -> None:
        """Add rows that are newer than all there are."""

    def upsert(self, table: pa.Table) -> None:
        """Replace all rows of a stretch of time by as many of the same entities and times."""

    def snapshot(self, name: str) -> None:
        """Give the present version a name for good."""

    def read_version(self, name: str | None, columns: Sequence[str], span: tuple[int, int] | None = None) -> pa.Table:
        """Columns of a version's rows, in any order; of a span of time, in µs, the end not included. None: the newest."""

    def reopen(self) -> None:
        """Close the store and open it anew, ready to answer."""

    def size_bytes(self) -> int:
        """Bytes of all files of the store."""


@runtime_checkable
class Many(Versioned, Protocol):
    """Bears thousands of versions."""

    bears_many: bool


@runtime_checkable
class Differing(Versioned, Protocol):
    """Knows what has changed from one version to another."""

    def diff(self, before: str, after: str) -> Counts: ...


@runtime_checkable
class Branching(Differing, Protocol):
    """Has branches that can be merged."""

    def branch(self, name: str) -> None:
        """A line of its own, from the present version."""

    def upsert_on(self, name: str, table: pa.Table) -> None: ...

    def merge(self, name: str) -> None:
        """Three ways: both sides have changed."""

    def rollback(self, name: str) -> None:
        """Go back to a snapshot."""


@runtime_checkable
class Shrinking(Versioned, Protocol):
    """Has a small tier, and can let old versions go."""

    def make_small(self) -> None:
        """The smallest form that keeps all versions."""

    def let_go(self) -> None:
        """Keep the newest version only."""


@runtime_checkable
class Floor(Protocol):
    """Only commits: no store can do less for a small write or a name."""

    def commit(self, key: bytes, value: bytes) -> None:
        """One small record, durably."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The workload; see the head of this file."""

    title: str = "versions"
    engines: tuple[str, ...] = ("mlstore", "arcticdb", "lance", "delta", "parquet_copies", "lmdb")
    max_rows: Mapping[str, int] = field(default_factory=dict)
    versions: int = 1000

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--versions", type=int, default=self.versions, help="how many small commits, each with a snapshot")

    def configured(self, options: argparse.Namespace) -> Versions:
        return replace(self, versions=options.versions)

    def prepare(self, inputs: Path, *, rows: int) -> None:
        part = max(1, rows // PART)
        write_table(make_readings(0, rows), inputs / "bulk.arrow")
        for number in range(APPENDS):
            write_table(make_readings(rows + number * part, part), inputs / f"append-{number:02}.arrow")
        newest = rows + APPENDS * part
        write_table(make_readings(rows // 2, part, seed=1), inputs / "upsert.arrow")
        write_table(make_readings(newest, self.versions), inputs / "small.arrow")
        write_table(make_readings(rows // 4, part, seed=2), inputs / "branch.arrow")
        write_table(make_readings(newest + self.versions, part), inputs / "meanwhile.arrow")

    def run(self, engine: Engine, inputs: Path, meter: Meter) -> None:
        if isinstance(engine, Floor):
            measure_floor(engine, self.versions, meter)
            return
        if not isinstance(engine, Versioned):
            raise TypeError(f"{type(engine).__module__} keeps no versions")
        measure_versions(engine, inputs, meter)

    def remarks(self, table: Table) -> list[str]:
        told = _growth(table, "append of one row"), _growth(table, "snapshot"), _old_and_new(table), _diff(table)
        return [remark for remark in told if remark]


WORKLOAD = Versions()


def measure_versions(engine: Versioned, inputs: Path, meter: Meter) -> None:
    """All steps that the engine offers, in the order of a store's life."""
    bulk = read_table(inputs / "bulk.arrow")
    with meter.measure("bulk write", rows=bulk.num_rows):
        engine.begin(bulk)
    engine.snapshot("bulk")
    for number in range(APPENDS):
        part = read_table(inputs / f"append-{number:02}.arrow")
        with meter.measure("append of 1 %"):
            engine.append(part)
        with meter.measure("snapshot, few versions"):
            engine.snapshot(f"append-{number}")
    upsert = read_table(inputs / "upsert.arrow")
    with meter.measure("upsert of 1 %"):
        engine.upsert(upsert)
    engine.snapshot("upsert")
    measure_reads(engine, bulk, meter)
    measure_comparison(engine, meter)
    if isinstance(engine, Many):
        measure_growth(engine, read_table(inputs / "small.arrow"), meter)
    meter.size("all versions", engine.size_bytes())
    if isinstance(engine, Branching):
        measure_branch(engine, read_table(inputs / "branch.arrow"), read_table(inputs / "meanwhile.arrow"), meter)
    if isinstance(engine, Shrinking):
        measure_shrinking(engine, meter)


def measure_reads(engine: Versioned, bulk: pa.Table, meter: Meter) -> None:
    middle = EPOCH_US + bulk.num_rows // 2 * STEP_US
    span = middle, middle + max(1, bulk.num_rows // PART) * STEP_US
    engine.reopen()
    for name, told in (("append-0", "old version"), ("upsert", "newest version")):
        for _ in range(READS):
            with meter.measure(f"read {told}, whole"):
                whole = engine.read_version(name, COLUMNS)
            with meter.measure(f"read {told}, one column"):
                column = engine.read_version(name, ["f0"])
            with meter.measure(f"read {told}, 1 % of the time"):
                stretch = engine.read_version(name, COLUMNS, span)
        meter.check(f"{told}, whole", checksum(whole))
        meter.check(f"{told}, one column", repr((column.num_rows, sum(float(np.sum(chunk.to_numpy())) for chunk in column["f0"].chunks))))
        meter.check(f"{told}, a stretch of time", checksum(stretch))


def measure_comparison(engine: Versioned, meter: Meter) -> None:
    """What has changed by the upsert: as the engine knows it, and by comparing two tables that were read."""
    before, after = f"append-{APPENDS - 1}", "upsert"
    for _ in range(READS):
        with meter.measure("compare two versions, row by row"):
            told = compare(engine.read_version(before, COLUMNS), engine.read_version(after, COLUMNS))
    meter.check("changed rows", repr(told))
    if isinstance(engine, Differing):
        for _ in range(READS):
            with meter.measure("diff of 1 %"):
                told = engine.diff(before, after)
        meter.check("changed rows", repr(told))


def measure_growth(engine: Many, table: pa.Table, meter: Meter) -> None:
    for number in range(table.num_rows):
        row = table.slice(number, 1)
        if ENDS <= number < table.num_rows - ENDS:
            engine.append(row)
            engine.snapshot(f"small-{number}")
            continue
        when = "the first" if number < ENDS else "the last"
        with meter.measure(f"append of one row, {when}"):
            engine.append(row)
        with meter.measure(f"snapshot, {when}"):
            engine.snapshot(f"small-{number}")
    for _ in range(READS):
        with meter.measure("open, many versions"):
            engine.reopen()
    with meter.measure("read the oldest of many versions, one column"):
        column = engine.read_version("bulk", ["f0"])
    meter.check("oldest of many", repr((column.num_rows, sum(float(np.sum(chunk.to_numpy())) for chunk in column["f0"].chunks))))
    meter.check("newest of many", checksum(engine.read_version(None, COLUMNS)))
    if isinstance(engine, Differing):
        for _ in range(READS):
            with meter.measure("diff of one row, many versions"):
                told = engine.diff(f"small-{table.num_rows - 2}", f"small-{table.num_rows - 1}")
        meter.check("changed by one row", repr(told))


def measure_floor(engine: Floor, versions: int, meter: Meter) -> None:
    for number in range(versions):
        key, when = number.to_bytes(8, "big"), "the first" if number < ENDS else "the last"
        if ENDS <= number < versions - ENDS:
            engine.commit(key, ROW)
            continue
        with meter.measure(f"append of one row, {when}"):
            engine.commit(key + b"r", ROW)
        with meter.measure(f"snapshot, {when}"):
            engine.commit(key + b"s", ROW)


def measure_branch(engine: Branching, change: pa.Table, meanwhile: pa.Table, meter: Meter) -> None:
    with meter.measure("branch"):
        engine.branch("trial")
    with meter.measure("upsert of 1 % on the branch"):
        engine.upsert_on("trial", change)
    engine.append(meanwhile)
    engine.snapshot("before the merge")
    with meter.measure("merge of 1 %"):
        engine.merge("trial")
    meter.check("merged", checksum(engine.read_version(None, COLUMNS)))
    with meter.measure("rollback of the merge"):
        engine.rollback("before the merge")
    meter.check("rolled back", checksum(engine.read_version(None, COLUMNS)))


def measure_shrinking(engine: Shrinking, meter: Meter) -> None:
    with meter.measure("to the small tier"):
        engine.make_small()
    meter.size("all versions, small tier", engine.size_bytes())
    meter.check("old version, whole", checksum(engine.read_version("append-0", COLUMNS)))
    with meter.measure("let old versions go"):
        engine.let_go()


def make_readings(first: int, rows: int, *, seed: int = 0) -> pa.Table:
    """Readings number `first` and on: one every second, of random entities; another seed changes only the values."""
    numbers = np.arange(first, first + rows)
    entity = (numbers * 2_654_435_761) % (1 << 32) % max(1, 1_000_000 // ROWS_PER_ENTITY)
    random = np.random.default_rng([first, rows, seed])
    columns = {"entity": pa.array(entity), "event_timestamp": pa.array(EPOCH_US + numbers * STEP_US, pa.timestamp("us", "UTC"))}
    for number, name in enumerate(FEATURES):
        columns[name] = pa.array(np.round(random.standard_normal(rows) * 100 / 2**number * 256) / 256)
    return pa.table(columns)


def compare(before: pa.Table, after: pa.Table) -> Counts:
    """What anybody can do who has two tables: match their rows by one number for entity and time, and compare the values."""
    (old_keys, old), (new_keys, new) = _by_key(before), _by_key(after)
    _, mine, theirs = np.intersect1d(old_keys, new_keys, assume_unique=True, return_indices=True)
    changed = np.zeros(len(mine), np.bool_)
    for name in FEATURES:
        changed |= old[name].to_numpy()[mine] != new[name].to_numpy()[theirs]
    return len(new_keys) - len(mine), len(old_keys) - len(mine), int(changed.sum())


def _by_key(table: pa.Table) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], pa.Table]:
    times = table["event_timestamp"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    return (times - EPOCH_US) * (1 << 14) + table["entity"].to_numpy(), table


def _growth(table: Table, step: str) -> str:
    """How much more a step costs when versions are many."""
    first, last = (_median(table, f"{step}, {when}") for when in ("the first", "the last"))
    told = [f"{engine} {last[engine] / first[engine]:.2f}x" for engine in first if engine in last]
    return f"{step}, the last over the first: {', '.join(told)}" if told else ""


def _old_and_new(table: Table) -> str:
    old, new = (_median(table, f"read {told} version, whole") for told in ("old", "newest"))
    told = [f"{engine} {old[engine] / new[engine]:.2f}x" for engine in old if engine in new]
    return f"reading an old version over reading the newest: {', '.join(told)}" if told else ""


def _diff(table: Table) -> str:
    diffs, compared = _median(table, "diff of 1 %"), _median(table, "compare two versions, row by row")
    told = [f"{engine} {compared[engine] / diffs[engine]:.1f}x" for engine in diffs if engine in compared]
    return f"comparing two tables over a diff: {', '.join(told)}" if told else ""


def _median(table: Table, step: str) -> Mapping[str, float]:
    return table.get(f"{step}, p50") or table.get(step) or {}

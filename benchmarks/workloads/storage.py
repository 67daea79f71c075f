"""Bulk write, opening, scan, small writes and file size: what a store costs before anything clever is asked of it.

Rows are `entity, event_timestamp, f0..f9` in random order, a hundred to an entity. Every value is a multiple of 1/256, so that
sums are exact in any order and checksums can be compared bit for bit. Every write is on the disk when it returns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from benchmarks.meter import Meter
from benchmarks.workload import Engine

FEATURES = [f"f{number}" for number in range(10)]
COLUMNS = ["entity", "event_timestamp", *FEATURES]
SCANNED = ["f0", "f1"]
ROWS_PER_ENTITY = 100
SMALL_WRITES, SMALL_ROWS = 200, 10
OPENINGS, SCANS = 50, 5
EPOCH_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000
CHUNK_ROWS = 1 << 20


@runtime_checkable
class Scanned(Protocol):
    """Takes a table in and sums columns of it: the least an engine must do to take part."""

    def bulk_write(self, table: pa.Table) -> None:
        """Make the empty store and put everything in, durably."""

    def scan(self, columns: Sequence[str]) -> list[float]:
        """The sum of each column over all rows."""

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Columns of all rows, in any order."""


@runtime_checkable
class Stored(Scanned, Protocol):
    """Keeps its rows on the disk."""

    def open(self) -> None:
        """Open what is there, ready to answer."""

    def close(self) -> None: ...

    def small_write(self, table: pa.Table) -> None:
        """Add a few rows, durably."""

    def size_bytes(self) -> int:
        """Bytes of all files of the store."""


@runtime_checkable
class Tiered(Stored, Protocol):
    """Can trade speed of reading for size."""

    def make_cold(self) -> None:
        """Move everything to the compressed tier."""

    def compact(self) -> None:
        """Give free pages, which a file keeps for later writes, back to the disk."""


@dataclass(frozen=True, slots=True)
class Storage:
    """The workload; see the head of this file."""

    title: str = "storage"
    engines: tuple[str, ...] = ("mlstore", "duckdb", "sqlite", "parquet", "arrays")
    max_rows: Mapping[str, int] = field(default_factory=lambda: {"sqlite": 1_000_000})

    def prepare(self, inputs: Path, *, rows: int) -> None:
        write_table(make_rows(rows, seed=1), inputs / "bulk.arrow")
        write_table(make_rows(SMALL_WRITES * SMALL_ROWS, seed=2), inputs / "small.arrow")

    def run(self, engine: Engine, inputs: Path, meter: Meter) -> None:
        if not isinstance(engine, Scanned):
            raise TypeError(f"{type(engine).__module__} cannot write and scan a table")
        measure_storage(engine, inputs, meter)


WORKLOAD = Storage()


def measure_storage(engine: Scanned, inputs: Path, meter: Meter) -> None:
    """All steps that the engine offers, in the order of a store's life."""
    table = read_table(inputs / "bulk.arrow")
    with meter.measure("bulk write", rows=table.num_rows):
        engine.bulk_write(table)
    del table
    if isinstance(engine, Stored):
        meter.size("file", engine.size_bytes())
        measure_opening(engine, meter)
        engine.open()
    measure_scans(engine, meter)
    if isinstance(engine, Stored):
        measure_small_writes(engine, read_table(inputs / "small.arrow"), meter)
    if isinstance(engine, Tiered):
        measure_cold_tier(engine, meter)


def measure_opening(engine: Stored, meter: Meter) -> None:
    engine.close()
    for _ in range(OPENINGS):
        with meter.measure("open"):
            engine.open()
        engine.close()


def measure_scans(engine: Scanned, meter: Meter) -> None:
    """The first scan after opening pays for mapping pages in; the later ones show memory speed."""
    with meter.measure("scan, first"):
        sums = engine.scan(SCANNED)
    for _ in range(SCANS):
        with meter.measure("scan, again"):
            again = engine.scan(SCANNED)
    meter.check("scan", repr([float(value) for value in sums]))
    meter.check("scan again", repr([float(value) for value in again]))
    meter.check("bulk write", checksum(engine.read(COLUMNS)))


def measure_small_writes(engine: Stored, table: pa.Table, meter: Meter) -> None:
    for start in range(0, table.num_rows, SMALL_ROWS):
        rows = table.slice(start, SMALL_ROWS)
        with meter.measure(f"small write, {SMALL_ROWS} rows"):
            engine.small_write(rows)
    meter.check("small writes", checksum(engine.read(COLUMNS)))


def measure_cold_tier(engine: Tiered, meter: Meter) -> None:
    with meter.measure("to cold tier"):
        engine.make_cold()
    engine.close()
    meter.size("file, cold tier", engine.size_bytes())
    engine.open()
    with meter.measure("scan, cold tier"):
        engine.scan(SCANNED)
    with meter.measure("compact"):
        engine.compact()
    meter.size("file, cold tier, compacted", engine.size_bytes())
    meter.check("small writes", checksum(engine.read(COLUMNS)))


def make_rows(rows: int, *, seed: int) -> pa.Table:
    """Hourly readings of each entity, shuffled; from one column to the next the values have a bit less to say."""
    random = np.random.default_rng(seed)
    arrival = random.permutation(rows)
    time_us = EPOCH_US + arrival % ROWS_PER_ENTITY * HOUR_US + random.integers(0, HOUR_US, rows)
    columns = {"entity": pa.array(arrival // ROWS_PER_ENTITY), "event_timestamp": pa.array(time_us, pa.timestamp("us", "UTC"))}
    for number, name in enumerate(FEATURES):
        spread = 100 / 2**number
        columns[name] = pa.array(np.round(random.standard_normal(rows) * spread * 256) / 256)
    return pa.table(columns)


def checksum(table: pa.Table) -> str:
    """A digest of the rows as a set: sums of all columns, and one that changes if columns are paired wrongly."""
    values = {name: np.concatenate([chunk.to_numpy() for chunk in as_numbers(table[name])]) for name in COLUMNS}
    parts: list[object] = [table.num_rows, int(values["entity"].sum()), int(values["event_timestamp"].sum())]
    parts += [float(values[name].sum()) for name in FEATURES]
    parts += [float((values["entity"] % 127 * values[name]).sum()) for name in FEATURES]
    parts += [float((values["event_timestamp"] % 127 * values["f0"]).sum())]
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def as_numbers(column: pa.ChunkedArray) -> list[pa.Array]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    return list(column.chunks)


def write_table(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=CHUNK_ROWS)


def read_table(path: Path) -> pa.Table:
    """The table in memory, not mapped: no engine reads it from a disk."""
    with pa.OSFile(str(path), "rb") as source, pa.ipc.open_file(source) as reader:
        return reader.read_all()

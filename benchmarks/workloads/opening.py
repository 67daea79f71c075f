"""Opening a big file: it must cost the same whatever the size. `--rows 100_000_000` makes about 10 GB.

The rows of the storage workload, written in parts that fit in memory; then the file is opened again and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.meter import Meter
from benchmarks.workload import Engine
from benchmarks.workloads.storage import SCANNED, Stored, make_rows, measure_opening, read_table, write_table

PART_ROWS = 5_000_000


@dataclass(frozen=True, slots=True)
class Opening:
    """The workload; see the head of this file."""

    title: str = "opening"
    engines: tuple[str, ...] = ("mlstore", "duckdb", "sqlite", "parquet")
    max_rows: Mapping[str, int] = field(default_factory=lambda: {"sqlite": 5_000_000})

    def prepare(self, inputs: Path, *, rows: int) -> None:
        for number, start in enumerate(range(0, rows, PART_ROWS)):
            write_table(make_rows(min(PART_ROWS, rows - start), seed=number), inputs / f"part-{number:04}.arrow")

    def run(self, engine: Engine, inputs: Path, meter: Meter) -> None:
        if not isinstance(engine, Stored):
            raise TypeError(f"{type(engine).__module__} keeps nothing that could be opened")
        for path in sorted(inputs.glob("part-*.arrow")):
            table = read_table(path)
            with meter.measure("write a part", rows=table.num_rows):
                engine.bulk_write(table)
            del table
        meter.size("file", engine.size_bytes())
        measure_opening(engine, meter)
        engine.open()
        meter.check("scan", repr([float(value) for value in engine.scan(SCANNED)]))


WORKLOAD = Opening()

"""Polars over Parquet files: as over Arrow IPC, but compressed with zstd, as Polars writes them unless told otherwise."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from benchmarks.engines import polars


class Engine(polars.Engine):
    """The same query over other files."""

    suffix = "parquet"

    def write_file(self, frame: pl.DataFrame, path: Path) -> None:
        frame.write_parquet(path)

    def scan_file(self, path: Path) -> pl.LazyFrame:
        return pl.scan_parquet(path)

"""Polars over Parquet files: as over Arrow IPC, but compressed with zstd, as Polars writes them unless told otherwise."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from benchmarks.engines import polars
from benchmarks.history import History, View


class Engine(polars.Engine):
    """The same query over other files."""

    suffix = "parquet"

    def write_file(self, history: History, view: View, path: Path) -> None:
        with pq.ParquetWriter(path, history.schema(view), compression="zstd") as writer:
            for piece in history.pieces(view):
                writer.write_batch(piece)

    def scan_file(self, path: Path) -> pl.LazyFrame:
        return pl.scan_parquet(path)

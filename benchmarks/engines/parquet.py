"""Parquet with zstd through pyarrow: a folder of files, one for each write, each synced with its folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class Engine:
    """No transactions and no index: what a careful script would do."""

    version = f"pyarrow {pa.__version__}"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: list[pq.ParquetFile] = []

    def bulk_write(self, table: pa.Table) -> None:
        self.small_write(table)

    def small_write(self, table: pa.Table) -> None:
        path = self._folder / f"part-{len(self._paths()):06}.parquet"
        with path.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._folder)

    def open(self) -> None:
        self._parts = [pq.ParquetFile(path) for path in self._paths()]

    def close(self) -> None:
        for part in self._parts:
            part.close()
        self._parts = []

    def scan(self, columns: Sequence[str]) -> list[float]:
        table = pa.concat_tables(part.read(columns=list(columns)) for part in self._parts)
        return [sum(float(np.sum(chunk.to_numpy())) for chunk in table[name].chunks) for name in columns]

    def read(self, columns: Sequence[str]) -> pa.Table:
        return pa.concat_tables(pq.read_table(path, columns=list(columns)) for path in self._paths())

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._paths())

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("part-*.parquet"))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, not only the bytes of its files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Versions by hand: Parquet files with zstd, and a snapshot is a copy of all of them in a folder of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.engines.parquet import sync_folder

NEWEST = "newest"


class Engine:
    """What many do who have nothing else. Thousands of copies are left out: nobody has the room."""

    version = f"pyarrow {pa.__version__}"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / NEWEST).mkdir()

    def begin(self, table: pa.Table) -> None:
        self.append(table)

    def append(self, table: pa.Table) -> None:
        self._write(table, f"part-{len(self._paths(NEWEST)):06}.parquet")

    def upsert(self, table: pa.Table) -> None:
        """Every file that has rows of the time is written anew."""
        first, last = pc.min_max(table["event_timestamp"]).as_py().values()
        for path in self._paths(NEWEST):
            old = pq.read_table(path)
            is_kept = pc.or_(pc.less(old["event_timestamp"], first), pc.greater(old["event_timestamp"], last))
            if not pc.all(is_kept).as_py():
                self._write(pa.concat_tables([old.filter(is_kept), table]), path.name)

    def snapshot(self, name: str) -> None:
        target = self._folder / name
        shutil.copytree(self._folder / NEWEST, target)
        for path in target.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(target)
        sync_folder(self._folder)

    def read_version(self, name: str | None, columns: Sequence[str], span: tuple[int, int] | None = None) -> pa.Table:
        filters = None
        if span is not None:
            start, end = (pa.scalar(time, pa.timestamp("us", "UTC")) for time in span)
            filters = (pc.field("event_timestamp") >= start) & (pc.field("event_timestamp") < end)
        return pa.concat_tables(pq.read_table(path, columns=list(columns), filters=filters) for path in self._paths(name or NEWEST))

    def reopen(self) -> None:
        """There is nothing to open."""

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())

    def _write(self, table: pa.Table, name: str) -> None:
        new = self._folder / f"{name}.new"
        with new.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._folder / NEWEST / name)
        sync_folder(self._folder / NEWEST)

    def _paths(self, name: str) -> list[Path]:
        return sorted((self._folder / name).glob("part-*.parquet"))

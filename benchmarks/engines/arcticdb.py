"""ArcticDB on LMDB, as its documents advise: one symbol in the order of time, an update by a range of time, named snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import arcticdb
import pandas as pd
import pyarrow as pa

SYMBOL, TIME = "readings", "event_timestamp"


class Engine:
    """A frame is indexed by time; entities are a column. Rows come and go as pandas frames, its own form."""

    version = f"arcticdb {arcticdb.__version__}"
    bears_many = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.reopen()

    def begin(self, table: pa.Table) -> None:
        self._library.write(SYMBOL, to_frame(table))

    def append(self, table: pa.Table) -> None:
        self._library.append(SYMBOL, to_frame(table))

    def upsert(self, table: pa.Table) -> None:
        self._library.update(SYMBOL, to_frame(table))

    def snapshot(self, name: str) -> None:
        self._library.snapshot(name)

    def read_version(self, name: str | None, columns: Sequence[str], span: tuple[int, int] | None = None) -> pa.Table:
        wanted = [column for column in columns if column != TIME]
        # Both ends of a range belong to it.
        dates = None if span is None else tuple(pd.Timestamp(time, unit="us") for time in (span[0], span[1] - 1))
        frame = self._library.read(SYMBOL, as_of=name, columns=wanted, date_range=dates).data
        return pa.table({column: pa.array(frame.index if column == TIME else frame[column]) for column in columns})

    def reopen(self) -> None:
        self._library = arcticdb.Arctic(f"lmdb://{self._folder / 'arctic'}?map_size=64GB").get_library("readings", create_if_missing=True)

    def size_bytes(self) -> int:
        return sum(path.stat().st_blocks * 512 for path in self._folder.rglob("*") if path.is_file())


def to_frame(table: pa.Table) -> pd.DataFrame:
    frame = table.to_pandas().set_index(TIME)
    frame.index = frame.index.tz_localize(None)
    return frame

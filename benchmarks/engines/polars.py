"""Polars over Arrow IPC files, mapped into memory: uncompressed, in the order of (key, time).

With `by`, `join_asof` wants its sides in the order of time within each key. The order of (key, time) is that too, and as the rows of a key
lie together, it is faster than the order of time alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa

from benchmarks.history import KEY, TIME, History


class Engine:
    """One lazy query over both views; only the labels are sorted."""

    version = pl.__version__
    suffix = "arrow"

    def __init__(self, folder: Path) -> None:
        self._views: list[pl.LazyFrame] = []

    def build_views(self, history: History, store: Path) -> None:
        for view in history.views:
            self.write_file(pl.DataFrame(history.table(view)).sort(KEY, TIME), store / f"{view.name}.{self.suffix}")

    def write_file(self, frame: pl.DataFrame, path: Path) -> None:
        frame.write_ipc(path, compression="uncompressed")

    def open_views(self, store: Path) -> None:
        self._views = [self.scan_file(path) for path in sorted(store.iterdir())]

    def scan_file(self, path: Path) -> pl.LazyFrame:
        return pl.scan_ipc(path)

    def join(self, labels: pa.Table) -> pa.Table:
        return join_views(pl.DataFrame(labels).lazy().sort(KEY, TIME), self._views).collect().to_arrow()

    def join_tables(self, labels: pa.Table, views: Mapping[str, pa.Table]) -> pa.Table:
        """The views are in the order of time."""
        frames = [pl.DataFrame(view).lazy().set_sorted(TIME) for view in views.values()]
        return join_views(pl.DataFrame(labels).lazy().sort(TIME), frames).collect().to_arrow()

    def close(self) -> None:
        self._views = []


def join_views(labels: pl.LazyFrame, views: list[pl.LazyFrame]) -> pl.LazyFrame:
    """Labels and views are in the order of time within each key."""
    joined = labels
    for view in views:
        # With `by` it cannot check that; it would only warn that it did not.
        joined = joined.join_asof(view, on=TIME, by=KEY, check_sortedness=False)
    return joined

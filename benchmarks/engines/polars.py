"""Polars over Arrow IPC files, mapped into memory: uncompressed, in the order of time, as `join_asof` wants its right side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa

from benchmarks.history import KEY, TIME, History, View


class Engine:
    """One lazy query over both views, with the files' order declared, so that only the labels are sorted."""

    version = pl.__version__
    suffix = "arrow"

    def __init__(self, folder: Path) -> None:
        self._views: list[pl.LazyFrame] = []

    def build_views(self, history: History, store: Path) -> None:
        for view in history.views:
            self.write_file(history, view, store / f"{view.name}.{self.suffix}")

    def write_file(self, history: History, view: View, path: Path) -> None:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, history.schema(view)) as writer:
            for piece in history.reader(view):
                writer.write_batch(piece)

    def open_views(self, store: Path) -> None:
        self._views = [self.scan_file(path).set_sorted(TIME) for path in sorted(store.iterdir())]

    def scan_file(self, path: Path) -> pl.LazyFrame:
        return pl.scan_ipc(path)

    def join(self, labels: pa.Table) -> pa.Table:
        return join_views(pl.DataFrame(labels).lazy(), self._views).collect().to_arrow()

    def join_tables(self, labels: pa.Table, views: Mapping[str, pa.Table]) -> pa.Table:
        frames = [pl.DataFrame(view).lazy().set_sorted(TIME) for view in views.values()]
        return join_views(pl.DataFrame(labels).lazy(), frames).collect().to_arrow()

    def close(self) -> None:
        self._views = []


def join_views(labels: pl.LazyFrame, views: list[pl.LazyFrame]) -> pl.LazyFrame:
    """The views are in the order of time, and so are the labels after this."""
    joined = labels.sort(TIME)
    for view in views:
        # What it would check, for each key, is what the order of the files says already.
        joined = joined.join_asof(view, on=TIME, by=KEY, check_sortedness=False)
    return joined

"""Polars over Arrow IPC files, mapped into memory: uncompressed, in the order of (key, time).

With `by`, `join_asof` wants its sides in the order of time within each key. The order of (key, time) is that too, and as the rows of a key
lie together, it is faster than the order of time alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from benchmarks.events import AMOUNT, LENGTHS_US, Events
from benchmarks.history import KEY, ROW, TIME, History


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

    def build_events(self, events: Events, store: Path) -> None:
        self.write_file(pl.DataFrame(events.table()).sort(KEY, TIME), store / f"events.{self.suffix}")

    def open_events(self, store: Path) -> None:
        self.open_views(store)

    def aggregate(self, labels: pa.Table) -> pa.Table:
        """Labels among the events as rows without an amount, so that each is the end of windows."""
        [events] = self._views
        asked = pl.concat([events, pl.DataFrame(labels).lazy()], how="diagonal").sort(KEY, TIME)
        ones = pl.col(AMOUNT).is_not_null().cast(pl.Int64)
        columns = []
        for window, length in LENGTHS_US.items():
            frame: dict[str, Any] = {"by": TIME, "window_size": f"{length}us", "closed": "right"}
            count, total = ones.rolling_sum_by(**frame).over(KEY), pl.col(AMOUNT).rolling_sum_by(**frame).over(KEY)
            columns += [
                count.alias(f"{AMOUNT}_count_{window}"),
                pl.when(count > 0).then(total).alias(f"{AMOUNT}_sum_{window}"),
                pl.col(AMOUNT).rolling_mean_by(**frame).over(KEY).alias(f"{AMOUNT}_mean_{window}"),
                pl.col(AMOUNT).rolling_max_by(**frame).over(KEY).alias(f"{AMOUNT}_max_{window}"),
            ]
        return asked.select(ROW, *columns).filter(pl.col(ROW).is_not_null()).collect().to_arrow()

    def close(self) -> None:
        self._views = []


def join_views(labels: pl.LazyFrame, views: list[pl.LazyFrame]) -> pl.LazyFrame:
    """Labels and views are in the order of time within each key."""
    joined = labels
    for view in views:
        # With `by` it cannot check that; it would only warn that it did not.
        joined = joined.join_asof(view, on=TIME, by=KEY, check_sortedness=False)
    return joined

"""pyarrow `Table.join_asof` over Arrow IPC files, mapped into memory and in the order of time, as it wants them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from benchmarks.history import KEY, TIME, YEAR_US, History

# It looks back no further than it is told, and the whole history is a year.
TOLERANCE_US = -YEAR_US


class Engine:
    """One join for each view."""

    version = pa.__version__

    def __init__(self, folder: Path) -> None:
        self._views: list[pa.Table] = []

    def build_views(self, history: History, store: Path) -> None:
        write_in_order_of_time(history, store)

    def open_views(self, store: Path) -> None:
        self._views = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in sorted(store.iterdir())]

    def join(self, labels: pa.Table) -> pa.Table:
        return join_views(labels, self._views)

    def join_tables(self, labels: pa.Table, views: Mapping[str, pa.Table]) -> pa.Table:
        return join_views(labels, views.values())

    def close(self) -> None:
        self._views = []


def write_in_order_of_time(history: History, store: Path) -> None:
    for view in history.views:
        with pa.OSFile(str(store / f"{view.name}.arrow"), "wb") as sink, pa.ipc.new_file(sink, history.schema(view)) as writer:
            for piece in history.pieces(view):
                writer.write_batch(piece)


def join_views(labels: pa.Table, views: Iterable[pa.Table]) -> pa.Table:
    """Both sides have to be in the order of time."""
    joined = labels.sort_by(TIME)
    for view in views:
        joined = joined.join_asof(view, on=TIME, by=KEY, tolerance=TOLERANCE_US)
    return joined

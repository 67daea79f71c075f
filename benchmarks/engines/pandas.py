"""pandas `merge_asof` over Feather files, uncompressed and in the order of time, as it wants them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import feather

from benchmarks.engines.pyarrow import write_in_order_of_time
from benchmarks.events import AMOUNT, LENGTHS_US, Events
from benchmarks.history import KEY, ROW, TIME, History


class Engine:
    """The files are mapped into memory, and pandas makes frames of them; text stays in Arrow."""

    version = pd.__version__

    def __init__(self, folder: Path) -> None:
        self._paths: list[Path] = []

    def build_views(self, history: History, store: Path) -> None:
        write_in_order_of_time(history, store)

    def open_views(self, store: Path) -> None:
        self._paths = sorted(store.iterdir())

    def join(self, labels: pa.Table) -> pa.Table:
        joined = labels.to_pandas().sort_values(TIME)
        for path in self._paths:
            joined = pd.merge_asof(joined, feather.read_table(path).to_pandas(), on=TIME, by=KEY)
        return pa.Table.from_pandas(joined, preserve_index=False)

    def build_events(self, events: Events, store: Path) -> None:
        feather.write_feather(events.table(), str(store / "events.arrow"), compression="uncompressed")

    def open_events(self, store: Path) -> None:
        self.open_views(store)

    def aggregate(self, labels: pa.Table) -> pa.Table:
        """Labels among the events as rows without an amount; `rolling` leaves out what is exactly so old."""
        [path] = self._paths
        asked = pd.concat([feather.read_table(path).to_pandas(), labels.to_pandas()]).sort_values(
            [KEY, TIME], kind="stable", ignore_index=True
        )
        answer = {ROW: asked[ROW]}
        for window, length in LENGTHS_US.items():
            rolling = asked.groupby(KEY).rolling(pd.Timedelta(length, "us"), on=TIME, min_periods=0)[AMOUNT]
            for function in ("count", "sum", "mean", "max"):
                answer[f"{AMOUNT}_{function}_{window}"] = getattr(rolling, function)().reset_index(drop=True)
            nothing = answer[f"{AMOUNT}_count_{window}"] == 0
            answer[f"{AMOUNT}_sum_{window}"] = answer[f"{AMOUNT}_sum_{window}"].mask(nothing)
        table = pd.DataFrame(answer)
        return pa.Table.from_pandas(table[table[ROW].notna()].astype({ROW: int}), preserve_index=False)

    def close(self) -> None:
        self._paths = []

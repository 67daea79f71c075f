"""pandas `merge_asof` over Feather files, uncompressed and in the order of time, as it wants them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import feather

from benchmarks.engines.pyarrow import write_in_order_of_time
from benchmarks.history import KEY, TIME, History


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

    def close(self) -> None:
        self._paths = []

"""mlstore: one view; every write keeps history and the online row of each entity, in one durable commit."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pyarrow as pa

import mlstore as ml


def installed_version() -> str:
    try:
        return version("mlstore")
    except PackageNotFoundError:
        return "from source"


class Engine:
    """Only the public face is used."""

    version = installed_version()

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "readings.mls"
        self._opened: ml.Store | None = None

    def bulk_write(self, table: pa.Table) -> None:
        self.open()
        features = {name: ml.float64 for name in table.column_names if name not in ("entity", "event_timestamp")}
        entity = ml.Entity("entity", keys={"entity": ml.int64})
        self._store.apply(entity, ml.FeatureView("readings", entity=entity, schema=features, timestamp="event_timestamp"))
        self._store.write("readings", table)

    def small_write(self, table: pa.Table) -> None:
        self._store.write("readings", table)

    def open(self) -> None:
        if self._opened is None:
            self._opened = ml.open(self._path)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def scan(self, columns: Sequence[str]) -> list[float]:
        """Sums over the arrays as they lie in the file: nothing is copied."""
        table = self._store.read("readings", columns=list(columns)).table()
        return [sum(float(np.sum(chunk.to_numpy())) for chunk in table[name].chunks) for name in columns]

    def read(self, columns: Sequence[str]) -> pa.Table:
        return self._store.read("readings", columns=list(columns)).table()

    def size_bytes(self) -> int:
        return self._path.stat().st_size

    def make_cold(self) -> None:
        self._store.optimize(tier="cold")

    def compact(self) -> None:
        self._store.compact()

    @property
    def _store(self) -> ml.Store:
        if self._opened is None:
            raise RuntimeError("the store is closed")
        return self._opened

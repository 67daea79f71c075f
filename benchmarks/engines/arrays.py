"""Bare NumPy arrays in memory: the floor under every scan. Nothing is stored, so nothing else is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class Engine:
    """One contiguous array for each column; a bulk write is a copy."""

    version = f"numpy {np.__version__}"

    def __init__(self, folder: Path) -> None:
        self._arrays: dict[str, NDArray[np.generic]] = {}

    def bulk_write(self, table: pa.Table) -> None:
        self._arrays = {name: np.concatenate([chunk.to_numpy() for chunk in table[name].chunks]) for name in table.column_names}

    def scan(self, columns: Sequence[str]) -> list[float]:
        return [float(np.sum(self._arrays[name])) for name in columns]

    def read(self, columns: Sequence[str]) -> pa.Table:
        return pa.table({name: pa.array(self._arrays[name]) for name in columns})

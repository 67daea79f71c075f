"""Events and moments as the aggregating function takes them, made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Rows:
    """Events of groups, sorted."""

    offsets: np.ndarray
    time: np.ndarray
    created: np.ndarray
    columns: Mapping[str, Any]


NO_EVENTS = Rows(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), {"v": pa.array([], pa.float64())})

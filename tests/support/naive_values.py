"""A row of Python values as an entry, by the long way: through a table of one row, its casts, and the codecs of columns."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from mlstore.errors import MlstoreError
from mlstore.format.keys import KeySpec, encode_key
from mlstore.format.rows import RowPlan
from mlstore.schema.conform import conform
from mlstore.schema.frames import to_table
from mlstore.schema.layout import Layout


def entry_through_arrow(layout: Layout, plan: RowPlan, row: dict[str, Any]) -> bytes | None:
    """u16 size of the key, key, row; None if the row is refused."""
    try:
        fitted = conform(layout, to_table([row], what="data", layout=layout))
        key = encode_key(KeySpec(tuple(field.dtype for field in layout.keys)), [scalar_of(column) for column in fitted.keys])
    except MlstoreError:
        return None
    assert key is not None
    none_told = np.zeros(1, np.int64)
    time, created = (none_told if clock is None else clock for clock in (fitted.event_time, fitted.created))
    return struct.pack("<H", len(key)) + key + plan.encode(time, created, none_told, fitted.features)[0]


def scalar_of(column: Any) -> object:
    """The one value of a column, in a type that loses nothing."""
    return column.chunk(0).to_numpy(zero_copy_only=False)[0] if str(column.type).startswith("timestamp") else column[0].as_py()

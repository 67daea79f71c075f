"""Rows: the features of one moment packed into one run of bytes, and back. Layout: see mlstore.format.rows.

Buffers are objects of the buffer protocol. Row bytes need not be trusted: `unpack_row` checks them first and raises CorruptionError.
Arrow buffers that are too short raise ValueError.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlstore._core.row_layout import RowLayout

def pack_rows(
    compiled: RowLayout,
    event_time: NDArray[np.int64],
    created: NDArray[np.int64],
    seq: NDArray[np.int64],
    columns: list[tuple[Any, Any, Any, int]],
    lead: int = 0,
) -> list[bytes]:
    """Pack n rows, each behind `lead` bytes of zero. A column is (values, validity or None, int32 offsets or None, first row), as Arrow has
    them."""

def unpack_row(compiled: RowLayout, row: bytes, wanted: Sequence[int] | None = None) -> list[Any]:
    """The features of one row as Python objects, all of them or those at the wanted positions."""

def peek_rows(
    rows: tuple[bytes | None, ...],
    address: NDArray[np.uintp],
    size: NDArray[np.int64],
    found: NDArray[np.uint8],
    revision: NDArray[np.uint16],
    event_time: NDArray[np.int64],
    created: NDArray[np.int64],
    seq: NDArray[np.int64],
) -> None:
    """Fill the addresses (valid while `rows` lives; 0 = no row) and heads of many rows. A row shorter than a head is corrupt."""

"""Gather: copy chosen rows of a column to chosen slots of the answer. Rows and slots must be in range: callers made them."""

import numpy as np
from numpy.typing import NDArray

def gather_fixed(
    source: NDArray[np.uint8], width: int, rows: NDArray[np.int64], slots: NDArray[np.int64], answer: NDArray[np.uint8]
) -> None:
    """answer[slots[i]] = source[rows[i]], values of `width` bytes."""

def gather_bits(
    bitmap: NDArray[np.uint8], bit_offset: int, rows: NDArray[np.int64], slots: NDArray[np.int64], answer: NDArray[np.uint8]
) -> None:
    """answer[slots[i]] = bit of rows[i], as a byte 0 or 1."""

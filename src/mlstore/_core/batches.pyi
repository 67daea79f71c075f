"""Batches: the wanted features of many rows as one Arrow array of structs, by way of Arrow's C data interface.

Row bytes need not be trusted: each row is checked first. Columns own their memory one by one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlstore._core.row_layout import RowLayout

class Batch:
    """An array of structs, its columns the wanted features. Nested features are columns of their packed bytes."""

    wide_texts: list[int]
    """Columns of bytes that are not all ASCII: what is no UTF-8 is among them."""

    def capsule(self) -> Any:
        """The array as the C data interface has it; it can be given away once."""

def read_batch(
    compiled: RowLayout, address: NDArray[np.uintp], size: NDArray[np.int64], wanted: tuple[int, ...], items: tuple[int, ...]
) -> Batch:
    """The features of rows that the caller keeps alive (address 0: no row, all null).

    items: of each wanted feature how many a vector has, or 0. What does not add up is a CorruptionError.
    """

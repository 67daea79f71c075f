"""Waiting events: those of one key, picked from packed entries that hold the events of many; docs/format.md tells their bytes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

def pick_waiting(
    packed: Sequence[bytes], key: bytes, has_values: Sequence[bool]
) -> tuple[bool, Int64, Int64, list[Int64], list[NDArray[np.uint8]]] | None:
    """The events of a key in entries, oldest first, as they were written: whether they ascend by (time, created), times, created, the words
    of each column (without: empty), and what counts of each. None: there are none. ValueError: an entry is not of this form.
    """

"""Offsets: whether numbers that cut a buffer into pieces can be followed without leaving it."""

import numpy as np
from numpy.typing import NDArray

def are_offsets(offsets: NDArray[np.int32] | NDArray[np.int64], end: int) -> bool:
    """Whether there is a first one, none lies below 0 or the one before it, and the last not behind the end."""

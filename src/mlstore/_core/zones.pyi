"""Zone maps: what min and max cannot tell of a column of floats."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

def has_nan(values: NDArray[np.floating[Any]]) -> bool:
    """Whether any value of a float32 or float64 array is NaN."""

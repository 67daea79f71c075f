"""Arrays that are filled right after they are made, in memory of Arrow's pool.

The pool keeps what it is given back for the next call; NumPy hands it to the system, which clears every page again.
"""

from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def unfilled(length: int, dtype: type[Scalar]) -> NDArray[Scalar]:
    """An array with anything in it."""
    made: NDArray[Any] = np.frombuffer(pa.allocate_buffer(length * np.dtype(dtype).itemsize), dtype)
    return made


def filled(length: int, dtype: type[Scalar], value: int) -> NDArray[Scalar]:
    """An array with the same value everywhere."""
    made = unfilled(length, dtype)
    made.fill(value)
    return made

"""Runs: questions about the values in rows [begin, end), for what does not merge.

Questions of a group come together; fastest if begin and end ascend within it. Codes go from 0 to below code_count, and are equal where values are.
"""

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

def count_distinct(codes: Int64, code_count: int, begin: Int64, end: Int64, counts: Int64) -> None:
    """How many distinct values each run holds."""

def list_latest(codes: Int64, code_count: int, begin: Int64, end: Int64, most: int, lengths: Int64) -> Int64:
    """The last rows of up to `most` distinct values, the latest first: one question's after the other's."""

def list_commonest(codes: Int64, code_count: int, begin: Int64, end: Int64, most: int, lengths: Int64) -> Int64:
    """The last rows of the `most` commonest values, the commonest first and of equals the one seen last: one question's after the other's."""

def find_quantiles(
    offsets: Int64, ranks: Int64, ask_offsets: Int64, begin: Int64, end: Int64, shares: Float64, lower: Int64, upper: Int64
) -> None:
    """Where the quantiles of runs lie, as in numpy: at (n - 1) * share among n values in ascending order.

    ranks: the place of a value among those of its group, from 0. lower, upper: [quantiles, questions], -1 over nothing.
    """

def sum_decayed(time: Int64, values: Float64, begin: Int64, end: Int64, moment: Int64, half_life: float, sums: Float64) -> None:
    """The sum of values halved with every half-life of age, added in the order of the rows."""

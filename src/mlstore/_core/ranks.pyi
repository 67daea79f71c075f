"""Ranks: the place of each value among the distinct values of its column."""

import numpy as np
from numpy.typing import NDArray

def survey_ints(values: NDArray[np.int64]) -> tuple[int, int]:
    """(lowest, highest) of values; there must be one."""

def rank_ordered(values: NDArray[np.int64], ranks: NDArray[np.int32], uniques: NDArray[np.int64]) -> int:
    """Rank values that never fall. The count of distinct ones, or -1 when a value falls."""

def mark_present(values: NDArray[np.int64], low: int, table: NDArray[np.int32]) -> int:
    """Set table[value - low] = 1 for the values that occur; table comes as zeros. How many distinct ones."""

def rank_present(
    values: NDArray[np.int64], low: int, table: NDArray[np.int32], ranks: NDArray[np.int32], uniques: NDArray[np.int64]
) -> None:
    """Rank values by the table mark_present left; uniques is as long as the count it returned."""

def number_hashed(values: NDArray[np.int64], table: NDArray[np.int64], numbers: NDArray[np.int32], uniques: NDArray[np.int64]) -> int:
    """Number distinct values in the order they are met: uniques[numbers] == values.

    The table, [slots, 2], comes as all -1; slots are a power of two above the length of uniques. The count of distinct values, or -1
    (nothing usable) when there are more than uniques holds or they collide too often.
    """

def find_narrow(values: NDArray[np.int64], low: int, table: NDArray[np.int32], numbers: NDArray[np.int32]) -> None:
    """numbers[i] = table[values[i] - low], or -1 outside of the table."""

def find_hashed(values: NDArray[np.int64], table: NDArray[np.int64], numbers: NDArray[np.int32]) -> None:
    """The number that number_hashed gave each value, by the table it left; -1 if it never met it."""

def rank_sorted(words: NDArray[np.uint64], rows: NDArray[np.uint32], low: int, ranks: NDArray[np.int32], uniques: NDArray[np.int64]) -> int:
    """Rank values by their sorted words, value - low, and the rows these come from. The count of distinct ones."""

def combine_ranks(combined: NDArray[np.int64], ranks: NDArray[np.int32], radix: int) -> None:
    """combined = combined * radix + ranks, in place, or -1 where either is."""

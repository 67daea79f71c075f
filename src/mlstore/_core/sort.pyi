"""Sorting: the stable order of rows by (code, time, created), by counting and radix passes, never by comparison."""

import numpy as np
from numpy.typing import NDArray

def sort_rows(
    codes: NDArray[np.int32],
    n_groups: int,
    time: NDArray[np.int64] | None,
    created: NDArray[np.int64] | None,
    order: NDArray[np.uint32],
    offsets: NDArray[np.int64],
) -> None:
    """Order rows by (code, time, created, position), and find where each group begins.

    codes are group numbers in [0, n_groups); time and created are any int64, or None. Fills order, the row numbers in their new order, and
    offsets, [n_groups + 1]: group g is order[offsets[g]:offsets[g + 1]]. Rows in order already, and rows whose times are in order, take one
    pass; others need scratch of 20 bytes a row. At most 2^32 - 1 rows.
    """

def survey_times(codes: NDArray[np.int32], n_groups: int, time: NDArray[np.int64]) -> tuple[bool, bool, int, int]:
    """(in order of code and time, in order of time, lowest time, highest time) of at least one row."""

def part_rows(
    codes: NDArray[np.int32],
    time: NDArray[np.int64],
    low: int,
    time_bits: int,
    shift: int,
    words: NDArray[np.uint64],
    order: NDArray[np.uint32],
    ends: NDArray[np.uint32],
) -> None:
    """Lay each row's code and time into a word, `code << time_bits | time - low`, and part the words by their bits from `shift` up.

    Stable. Fills words, order (the row of each word) and ends (where each part ends: as many as there can be).
    """

def sort_parts(
    words: NDArray[np.uint64],
    order: NDArray[np.uint32],
    ends: NDArray[np.uint32],
    first: int,
    stop: int,
    bits: int,
    spare_words: NDArray[np.uint64],
    spare_rows: NDArray[np.uint32],
) -> None:
    """Sort the words of the parts [first, stop) by their lowest `bits`, carrying order along; stable.

    The spares are scratch as long as the largest of these parts. Threads may sort other parts meanwhile.
    """

def split_words(words: NDArray[np.uint64], low: int, time_bits: int, offsets: NDArray[np.int64]) -> None:
    """Sorted words become times in their place, and offsets, [n_groups + 1], say where each group begins."""

def sort_words(
    words: NDArray[np.uint64], rows: NDArray[np.uint32], spare_words: NDArray[np.uint64], spare_rows: NDArray[np.uint32], bits: int
) -> bool:
    """Sort words (all below 2^bits), carrying rows along; stable. True if the answer is in the spare arrays, else in words and rows."""

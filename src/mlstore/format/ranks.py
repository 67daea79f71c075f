"""Ranks: integers replaced by their place among the distinct ones, by the cheapest of four exact ways.

Strings and tuples are brought here as integers, so equal ranks always mean equal values: nothing rests on a hash.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlstore._core.ranks import (
    combine_ranks,
    find_hashed,
    find_narrow,
    mark_present,
    number_hashed,
    rank_ordered,
    rank_present,
    rank_sorted,
    survey_ints,
)
from mlstore._core.sort import sort_words
from mlstore.errors import InvalidDataError

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]

# A hash table of more distinct values leaves the cache; sorting is faster from there on.
HASHED_VALUES = 1 << 20
MOST_RANKS = 2**31 - 1
MOST_COMBINED = 2**62


def rank_ints(values: Ints, valid: NDArray[np.bool_] | None = None) -> tuple[Ints, Codes]:
    """(distinct values in order, rank of each value or -1 where it is not valid)."""
    if valid is not None and not valid.all():
        uniques, kept_ranks = rank_ints(values[valid])
        ranks = np.full(len(values), -1, np.int32)
        ranks[valid] = kept_ranks
        return uniques, ranks
    if len(values) > MOST_RANKS:
        raise InvalidDataError(f"{len(values)} rows in one call: at most {MOST_RANKS} fit", hint="write the table in parts")
    values = np.ascontiguousarray(values)
    if len(values) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int32)
    answer = _rank_ordered(values)
    if answer is not None:
        return answer
    low, high = survey_ints(values)
    if high - low <= 2 * len(values) + 1024:
        return _rank_narrow(values, low, high)
    return _rank_few(values) or _rank_many(values, low, high)


def _rank_ordered(values: Ints) -> tuple[Ints, Codes] | None:
    ranks, uniques = np.empty(len(values), np.int32), np.empty(len(values), np.int64)
    count = rank_ordered(values, ranks, uniques)
    return (uniques[:count].copy(), ranks) if count >= 0 else None


def _rank_narrow(values: Ints, low: int, high: int) -> tuple[Ints, Codes]:
    table = np.zeros(high - low + 1, np.int32)
    uniques = np.empty(mark_present(values, low, table), np.int64)
    ranks = np.empty(len(values), np.int32)
    rank_present(values, low, table, ranks, uniques)
    return uniques, ranks


def _rank_few(values: Ints) -> tuple[Ints, Codes] | None:
    uniques = np.empty(min(len(values), HASHED_VALUES), np.int64)
    slots = 1 << (2 * len(uniques)).bit_length()
    numbers = np.empty(len(values), np.int32)
    count = number_hashed(values, np.full((slots, 2), -1, np.int64), numbers, uniques)
    if count < 0:
        return None
    order = np.argsort(uniques[:count])
    rank_of_number = np.empty(count, np.int32)
    rank_of_number[order] = np.arange(count, dtype=np.int32)
    return uniques[order], rank_of_number[numbers]


def _rank_many(values: Ints, low: int, high: int) -> tuple[Ints, Codes]:
    words = values.view(np.uint64) - np.uint64(low % 2**64)
    rows = np.arange(len(values), dtype=np.uint32)
    spare_words, spare_rows = np.empty_like(words), np.empty_like(rows)
    if sort_words(words, rows, spare_words, spare_rows, (high - low).bit_length()):
        words, rows = spare_words, spare_rows
    ranks, uniques = np.empty(len(values), np.int32), np.empty(len(values), np.int64)
    count = rank_sorted(words, rows, low, ranks, uniques)
    return uniques[:count].copy(), ranks


def finder_of(uniques: Ints) -> Callable[[Ints], Codes]:
    """What finds the place of each value among distinct ones in order, -1 where it is none of them; many threads may ask it at once."""
    count = len(uniques)
    low, high = (int(uniques[0]), int(uniques[-1])) if count else (0, 0)
    if high - low <= 4 * count + 1024:
        table = np.full(high - low + 1 if count else 0, -1, np.int32)
        table[uniques - low] = np.arange(count, dtype=np.int32)
        return lambda values: _found(values, lambda ints, numbers: find_narrow(ints, low, table, numbers))
    slots = np.full((1 << (2 * count).bit_length(), 2), -1, np.int64)
    if number_hashed(uniques, slots, np.empty(count, np.int32), np.empty(count, np.int64)) == count:
        return lambda values: _found(values, lambda ints, numbers: find_hashed(ints, slots, numbers))
    return lambda values: _bisected(uniques, values)


def _found(values: Ints, find: Callable[[Ints, Codes], None]) -> Codes:
    numbers = np.empty(len(values), np.int32)
    find(np.ascontiguousarray(values), numbers)
    return numbers


def _bisected(uniques: Ints, values: Ints) -> Codes:
    """For values made to collide in a hash table."""
    places = np.minimum(np.searchsorted(uniques, values), len(uniques) - 1)
    return np.where(uniques[places] == values, places, -1).astype(np.int32)


def rank_tuples(columns: list[tuple[int, Codes]]) -> tuple[list[Ints], Codes]:
    """Rank tuples of ranks, given as (distinct values, rank or -1) of each column.

    (for each column its ranks in the distinct tuples, in the tuples' order; the rank of each row's tuple, or -1).
    """
    parts: list[Ints] = [np.arange(columns[0][0], dtype=np.int64)]
    radices: list[int] = []
    combined = columns[0][1].astype(np.int64)
    size = columns[0][0]
    for count, ranks in columns[1:]:
        if size * count > MOST_COMBINED:
            uniques, dense = rank_ints(combined, combined >= 0)
            parts, radices = _split(uniques, parts, radices), []
            combined, size = dense.astype(np.int64), len(uniques)
        combine_ranks(combined, ranks, count)
        radices.append(count)
        size *= count
    uniques, codes = rank_ints(combined, combined >= 0)
    return _split(uniques, parts, radices), codes


def _split(combined: Ints, parts: list[Ints], radices: list[int]) -> list[Ints]:
    """The ranks of each column in combined numbers: `parts` are those of the columns behind the leading digit, radices of the rest."""
    digits: list[Ints] = []
    for radix in reversed(radices):
        combined, digit = np.divmod(combined, max(radix, 1))
        digits.append(digit)
    return [part[combined] for part in parts] + digits[::-1]

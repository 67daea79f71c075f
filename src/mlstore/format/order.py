"""Order: the rows of a table by (key, event time, created, position), the order segments are written in."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mlstore._core.gather import take_fixed
from mlstore._core.sort import part_rows, sort_parts, sort_rows, split_words, survey_times

Ints = NDArray[np.int64]
Order = NDArray[np.uint32]
Job = Callable[[], None]

PART_ROWS = 1 << 12  # rows of a part, which is sorted in the cache
MOST_PART_BITS = 11
SHARES = 8  # jobs that the parts are dealt to
WORD_BITS = 63


def order_rows(
    codes: NDArray[np.int32], n_groups: int, time: Ints | None, created: Ints | None = None, *, drop_null: bool = False
) -> tuple[NDArray[np.uint32], Ints]:
    """(order, offsets): the rows of group g, oldest first, are order[offsets[g]:offsets[g + 1]].

    Ties of time, and of created if given, stay in the order they came in; without time, all rows of a group do. With drop_null, rows of
    code -1 are left out; without, they are a ValueError.
    """
    kept = np.flatnonzero(codes >= 0) if drop_null and codes.size and codes.min() < 0 else None
    if kept is not None:
        codes = codes[kept]
        time = None if time is None else time[kept]
        created = None if created is None else created[kept]
    order = np.empty(len(codes), np.uint32)
    offsets = np.empty(n_groups + 1, np.int64)
    sort_rows(
        np.ascontiguousarray(codes),
        n_groups,
        None if time is None else np.ascontiguousarray(time),
        None if created is None else np.ascontiguousarray(created),
        order,
        offsets,
    )
    return (order if kept is None else kept[order].astype(np.uint32)), offsets


def order_by_time(
    codes: NDArray[np.int32], n_groups: int, time: Ints, do_all: Callable[[Sequence[Job], int], object]
) -> tuple[Order | None, Ints, Ints]:
    """(order, time in that order, offsets) of many rows, as by `order_rows`; the order is None where the rows are in it already.

    Needs no memory but for the answer, where code and time fit one word. `do_all` does jobs, of so many rows in all, maybe side by side.
    """
    codes, time, count = np.ascontiguousarray(codes), np.ascontiguousarray(time), len(codes)
    offsets = np.zeros(n_groups + 1, np.int64)
    if not count:
        return None, time, offsets
    is_ordered, is_by_time, low, high = survey_times(codes, n_groups, time)
    if is_ordered:
        np.cumsum(np.bincount(codes, minlength=n_groups), out=offsets[1:])
        return None, time, offsets
    time_bits = (high - low).bit_length()
    bits = time_bits + (n_groups - 1).bit_length()
    if is_by_time or bits > WORD_BITS:
        order, offsets = order_rows(codes, n_groups, time)
        return order, take_ints(time, order), offsets
    part_bits = min(MOST_PART_BITS, bits, (count // PART_ROWS).bit_length())
    words, order, ends = np.empty(count, np.uint64), np.empty(count, np.uint32), np.empty(1 << part_bits, np.uint32)
    part_rows(codes, time, low, time_bits, bits - part_bits, words, order, ends)
    dealt = np.linspace(0, len(ends), SHARES + 1).astype(int).tolist()
    do_all([partial(_sort_share, words, order, ends, *share, bits - part_bits) for share in pairwise(dealt)], count)
    split_words(words, low, time_bits, offsets)
    return order, words.view(np.int64), offsets


def _sort_share(words: NDArray[np.uint64], order: Order, ends: NDArray[np.uint32], first: int, stop: int, bits: int) -> None:
    largest = int(np.diff(ends[first:stop], prepend=ends[first - 1] if first else 0).max(initial=0))
    sort_parts(words, order, ends, first, stop, bits, np.empty(largest, np.uint64), np.empty(largest, np.uint32))


def take_ints(values: Ints, places: NDArray[np.uint32]) -> Ints:
    """values[places], by memory fetched ahead."""
    taken = np.empty(len(places), np.int64)
    take_fixed(np.ascontiguousarray(values).view(np.uint8), 8, places, taken.view(np.uint8))
    return taken

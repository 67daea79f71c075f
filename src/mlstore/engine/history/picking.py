"""Picking: which rows of some blocks are meant, by key and time or by a filter."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mlstore._core.asof import find_ranges
from mlstore.engine.history.block import Block, Int64
from mlstore.format.keys import Keys

Pick = tuple[Block, Int64]  # rows of a block, ascending


def pick_ranges(blocks: Sequence[Block], keys: Keys, codes: Int64, first: Int64, last: Int64) -> Iterable[Pick]:
    """Rows of key codes[i] with first[i] <= time <= last[i], for any i."""
    for block in blocks:
        begin, end = np.empty(len(codes), np.int64), np.empty(len(codes), np.int64)
        find_ranges(block.keys.search(keys)[codes], first, last, block.offsets, block.content.time, begin, end)
        lengths = end - begin
        total = int(lengths.sum())
        if total:
            starts = np.repeat(begin - (np.cumsum(lengths) - lengths), lengths)
            yield block, np.unique(starts + np.arange(total))


def pick_where(
    blocks: Sequence[Block], first: int, last: int, matches: Callable[[Block, Int64], NDArray[np.bool_]] | None
) -> Iterable[Pick]:
    """Rows of any key with first <= time <= last that match."""
    for block in blocks:
        rows = np.flatnonzero((block.content.time >= first) & (block.content.time <= last))
        if matches is not None and rows.size:
            rows = rows[matches(block, rows)]
        if rows.size:
            yield block, rows

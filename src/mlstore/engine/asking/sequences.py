"""Sequences: the newest n rows of each key, oldest first, whatever segments and tail they lie in.

Rows are given as they were written: features that reach back (`nulls="last_valid"`) do not do so here, and rows of one event time are
rows each. Order is the total order of a key: event time, created, order of writing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.asking.point import oldest_tick
from mlstore.engine.asking.selection import Selected, status_names
from mlstore.engine.asking.serving import Ask, AskedKeys, one_key
from mlstore.engine.history.asof import Winners
from mlstore.engine.history.block import Block, Int64
from mlstore.engine.history.gather import Gatherer
from mlstore.engine.history.offline import MIN_TIME, History
from mlstore.engine.session import ReadContext
from mlstore.engine.versions import LIVE
from mlstore.errors import UsageError
from mlstore.format.answers import IS_NOT_FOUND, IS_OUTSIDE_TTL, IS_PRESENT, STATUSES
from mlstore.format.keys import Factorized, Keys

MOST = 1 << 20


def require_length(last_n: object) -> int:
    """Refuse a number of rows that makes no sense."""
    if isinstance(last_n, bool) or not isinstance(last_n, int) or not 1 <= last_n <= MOST:
        raise UsageError(f"last_n={last_n!r}", hint=f"give how many rows of each key you want, 1 to {MOST}")
    return last_n


def last_rows(context: ReadContext, selection: Sequence[Selected], table: pa.Table, ask: Ask, last_n: int) -> pa.Table:
    """The keys with a list of each feature's values in the newest rows, in their order."""
    names, columns = table.column_names, table.columns
    asked = AskedKeys(table)
    for selected in selection:
        found = _named_lists(context, selected, asked.of(selected, is_sorted=True), ask, last_n)
        names = [*names, *found]
        columns = [*columns, *found.values()]
    return pa.Table.from_arrays(columns, names=names)


def last_rows_of_one(context: ReadContext, selection: Sequence[Selected], keys: Mapping[str, Any], ask: Ask, last_n: int) -> dict[str, Any]:
    """The same of one key, as a dict."""
    answer = dict(keys)
    for selected in selection:
        found = _named_lists(context, selected, one_key(selected, keys), ask, last_n)
        answer |= {name: column[0].as_py() for name, column in found.items()}
    return answer


def _named_lists(context: ReadContext, selected: Selected, asked: Factorized, ask: Ask, last_n: int) -> dict[str, pa.Array]:
    selected.relation.require_rows("list with last_n=")
    found = _Newest(context.history(selected.relation), asked.keys, last_n, oldest_tick(selected, ask.now_ns))
    rows = pa.array(np.where(asked.codes < 0, len(asked.keys), asked.codes))
    named = {name: found.lists(number).take(rows) for name, number in zip(selected.outputs, selected.numbers, strict=True)}
    if ask.status:
        named |= dict(zip(status_names(selected)[:2], (found.status().take(rows), found.times().take(rows)), strict=True))
    return named


class _Newest:
    """The newest rows of distinct keys: where they lie, key by key, oldest first; and an empty list more, for a key that is null."""

    def __init__(self, history: History, keys: Keys, last_n: int, oldest: int) -> None:
        self._relation = history.relation
        self._blocks = history.blocks(keys=keys) if len(keys) else []
        group, source, row, clocks = _candidates(self._blocks, keys, last_n)
        lists = len(keys) + 1
        self._are_known = np.zeros(lists, np.bool_)
        self._are_known[group] = True
        fresh = clocks[0] >= oldest if oldest != MIN_TIME else np.ones(len(group), np.bool_)
        group, source, row, clocks = group[fresh], source[fresh], row[fresh], clocks[:, fresh]
        # Rows equal in all clocks keep the order of blocks and places, as everywhere.
        order = np.lexsort((row, source, clocks[2], clocks[1], clocks[0], group))
        counts = np.bincount(group, minlength=lists)
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        order = order[place >= np.repeat(counts - last_n, counts)]
        self._counts = np.minimum(counts, last_n)
        self._offsets = pa.array(np.concatenate([[0], np.cumsum(self._counts)]), pa.int32())
        self._time = clocks[0][order]
        slots = np.arange(len(order), dtype=np.uint32)
        winners = Winners(self._time, clocks[1][order], clocks[2][order], source[order].astype(np.int32), row[order].astype(np.uint32))
        self._gatherer = Gatherer(self._blocks, winners, slots, len(order))

    def lists(self, number: int) -> pa.Array:
        """A feature's values, a list per key."""
        return pa.ListArray.from_arrays(self._offsets, self._gatherer.column(number, self._relation.layout.features[number].dtype))

    def times(self) -> pa.Array:
        """The event times, a list per key."""
        return pa.ListArray.from_arrays(self._offsets, pa.array(self._time).view(pa.timestamp(self._relation.layout.time_unit, "UTC")))

    def status(self) -> pa.Array:
        codes = np.where(self._counts > 0, IS_PRESENT, np.where(self._are_known, IS_OUTSIDE_TTL, IS_NOT_FOUND))
        return pa.array(STATUSES).take(pa.array(codes))


def _candidates(blocks: Sequence[Block], keys: Keys, last_n: int) -> tuple[Int64, Int64, Int64, NDArray[np.int64]]:
    """(key, block, row, clocks) of the newest visible rows in each block, in no order, at least the newest `last_n` of each key."""
    parts = [_of_block(source, block, keys, last_n) for source, block in enumerate(blocks)]
    if not parts:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing, np.zeros((3, 0), np.int64)
    group, source, row = (np.concatenate([part[place] for part in parts]) for place in range(3))
    return group, source, row, np.concatenate([part[3] for part in parts], axis=1)


def _of_block(source: int, block: Block, keys: Keys, last_n: int) -> tuple[Int64, Int64, Int64, NDArray[np.int64]]:
    position = block.keys.search(keys)
    group = np.flatnonzero(position >= 0)
    start, stop = block.offsets[position[group]], block.offsets[position[group] + 1]
    content, hidden = block.content, block.hidden
    is_whole = not hidden.size and (block.bound == LIVE or not content.seq.size)
    if is_whole:
        start = np.maximum(start, stop - last_n)
    counts = stop - start
    group = np.repeat(group, counts)
    row = np.arange(len(group)) + np.repeat(start - (np.cumsum(counts) - counts), counts)
    if not is_whole:
        seen = block.seq_of(row) <= block.bound
        if hidden.size:
            seen &= hidden[row] == 0
        group, row = group[seen], row[seen]
    clocks = np.stack([content.time[row], block.created_of(row), block.seq_of(row)])
    return group, np.full(len(row), source, np.int64), row, clocks

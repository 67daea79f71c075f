"""Hiding rows: which rows a delete or an upsert means, and marking them deleted from a sequence on.

Nothing is taken away: versions before the mark still see the rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlstore._core.asof import find_ranges
from mlstore.engine.block import Block, Deletes, Int64
from mlstore.engine.offline import History, load_state, put_state
from mlstore.engine.segments import list_deletes, put_deletes
from mlstore.engine.session import WriteContext
from mlstore.engine.tail import TailContent, hide_rows
from mlstore.format.keys import Keys

Pick = tuple[Block, Int64]  # rows of a block, ascending


@dataclass(frozen=True, slots=True)
class Hidden:
    """How many rows were hidden, and of which keys (sorted, unique)."""

    rows: int
    keys: Keys


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


def hide(context: WriteContext, history: History, picks: Iterable[Pick], seq: int) -> Hidden:
    """Mark the picked rows that are visible now as deleted from `seq` on."""
    table, line = history.relation.table, context.scope.line
    deletes = list_deletes(context.writer, table, line)
    count, keys = 0, set[bytes]()
    for block, picked in picks:
        rows = picked if block.visible is None else picked[block.visible[picked]]
        if not rows.size:
            continue
        if isinstance(block.content, TailContent):
            hide_rows(context.writer, [block.content.records[row] for row in rows.tolist()], seq)
        else:
            assert block.segment is not None
            merged = _merge(deletes.get(block.segment), rows, seq)
            put_deletes(context.writer, table, line, block.segment, merged)
        count += len(rows)
        keys.update(block.keys.take(np.unique(block.key_of(rows))).encoded())
    if count:
        state = load_state(context.writer, table, line)
        put_state(context.writer, table, line, state.changed(rows=state.rows - count, deleted_rows=state.deleted_rows + count))
    return Hidden(count, Keys.from_encoded(sorted(keys), history.relation.key_spec.kind))


def _merge(held: Deletes | None, rows: Int64, seq: int) -> Deletes:
    seqs = np.full(len(rows), seq, np.int64)
    if held is not None:
        rows, seqs = np.concatenate([held[0], rows]), np.concatenate([held[1], seqs])
    order = np.argsort(rows, kind="stable")
    return rows[order], seqs[order]

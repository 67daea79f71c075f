"""Hiding rows: which rows a delete or an upsert means, and marking them deleted from a sequence on.

Nothing is taken away: versions before the mark still see the rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Deletes, Int64
from mlstore.engine.history.namesakes import find_namesakes, name_rows
from mlstore.engine.history.offline import History, load_state, put_state
from mlstore.engine.history.picking import Pick
from mlstore.engine.history.segments import list_deletes, put_deletes
from mlstore.engine.history.shadows import put_shadows
from mlstore.engine.history.tail import TailContent, hide_rows, put_laid
from mlstore.engine.session import WriteContext
from mlstore.engine.versions import take_numbers
from mlstore.engine.writing.batch import lay, sort
from mlstore.engine.writing.packing import Packed, Told, encode_entries, rank_keys
from mlstore.format.keys import Keys


@dataclass(frozen=True, slots=True)
class Hidden:
    """How many rows were hidden, and of which keys (sorted, unique)."""

    rows: int
    keys: Keys


def hide(context: WriteContext, history: History, picks: Iterable[Pick], seq: int) -> Hidden:
    """Mark the picked rows that are visible now as deleted from `seq` on."""
    seen = _visible(picks)
    staying: list[Pick] = []
    if history.scope.ancestry:
        seen = list(seen)
        staying = find_namesakes(history, [pick for pick in seen if pick[0].line != context.scope.line])
    hidden = _mark(context, history, [*seen, *staying] if staying else seen, seq)
    if staying:
        _write_again(context, history.relation, staying)
    return Hidden(hidden.rows - sum(len(rows) for _, rows in staying), hidden.keys)


def _visible(picks: Iterable[Pick]) -> Iterable[Pick]:
    for block, picked in picks:
        rows = picked if block.visible is None else picked[block.visible[picked]]
        if rows.size:
            yield block, rows


def _mark(context: WriteContext, history: History, picks: Iterable[Pick], seq: int) -> Hidden:
    table, line = history.relation.table, context.scope.line
    deletes = list_deletes(context.writer, table, line)
    count, keys, inherited = 0, set[bytes](), list[Pick]()
    for block, rows in picks:
        if block.line != line:
            inherited.append((block, rows))
        elif isinstance(block.content, TailContent):
            hide_rows(context.writer, [block.content.record(row) for row in rows.tolist()], seq)
        else:
            assert block.segment is not None
            deletes[block.segment] = _merge(deletes.get(block.segment), rows, seq)
            put_deletes(context.writer, table, line, block.segment, deletes[block.segment])
        count += len(rows)
        keys.update(block.keys.take(np.unique(block.key_of(rows))).encoded())
    if inherited:
        put_shadows(context.writer, table, line, name_rows(inherited, history.relation.key_spec.kind, seq))
    if count:
        state = load_state(context.writer, table, line)
        put_state(context.writer, table, line, state.changed(rows=state.rows - count, deleted_rows=state.deleted_rows + count))
    return Hidden(count, Keys.from_encoded(sorted(keys), history.relation.key_spec.kind))


def _write_again(context: WriteContext, relation: Relation, picks: Sequence[Pick]) -> None:
    """Put rows of ancestors that share their name with a hidden one into the own tail, in the order they had."""
    writer, line = context.writer, context.scope.line
    keys = [key for block, rows in picks for key in block.keys.take(block.key_of(rows)).encoded()]
    time, created, written = (
        np.concatenate(clock)
        for clock in zip(*((block.content.time[rows], block.created_of(rows), block.seq_of(rows)) for block, rows in picks), strict=True)
    )
    order = np.argsort(written, kind="stable")
    columns = [
        pa.chunked_array([block.column(number).take(pa.array(rows)) for block, rows in picks], field.dtype.arrow).take(pa.array(order))
        for number, field in enumerate(relation.layout.features)
    ]
    count = len(order)
    clocks = time[order], created[order]
    named = [keys[place] for place in order.tolist()]
    distinct, codes = rank_keys(relation, b"".join(named), np.fromiter(map(len, named), np.int64, count))
    packed = Packed(relation, encode_entries(relation, *clocks, columns), Told(distinct, codes, *clocks))
    rows = sort(relation, len(distinct), codes, *clocks, mode="append", now_us=context.now_us)
    batch = lay(relation, packed, rows, take_numbers(writer, "seq", count))
    put_laid(writer, relation, line, batch.encoded, rows.offsets, batch.cuts, batch.laid)
    state = load_state(writer, relation.table, line)
    size = state.tail_bytes + batch.laid.size
    put_state(writer, relation.table, line, state.changed(rows=state.rows + count, tail_rows=state.tail_rows + count, tail_bytes=size))


def _merge(held: Deletes | None, rows: Int64, seq: int) -> Deletes:
    seqs = np.full(len(rows), seq, np.int64)
    if held is not None:
        rows, seqs = np.concatenate([held[0], rows]), np.concatenate([held[1], seqs])
    order = np.argsort(rows, kind="stable")
    return rows[order], seqs[order]

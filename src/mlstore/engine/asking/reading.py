"""The reading journey: history rows, block by block, lent from the map where they are stored raw.

What is read is fixed when the call returns: each segment is leased then, and read when its turn comes, without a transaction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlstore.engine.asking.filters import Condition, RowFilter, row_filter
from mlstore.engine.asking.lookup import Answer
from mlstore.engine.asking.questions import latest_ticks
from mlstore.engine.asking.selection import Selected
from mlstore.engine.catalog import Relation, suggest
from mlstore.engine.history.asof import group_questions
from mlstore.engine.history.block import NO_NUMBERS, Block, Int64, Lend
from mlstore.engine.history.extents import is_stored
from mlstore.engine.history.offline import MAX_TIME, MIN_TIME, History
from mlstore.engine.history.pruning import keep_promising
from mlstore.engine.session import ReadContext, Session
from mlstore.errors import UnknownNameError, UsageError
from mlstore.format.keymerge import merge_keys, places_in
from mlstore.format.keys import decode_keys
from mlstore.schema.layout import Layout
from mlstore.schema.reference import Reference
from mlstore.schema.timestamps import NULL_TIME, ceil_to_unit, instant_ns
from mlstore.storage.lease import Lease

TimeLike = str | date


@dataclass(frozen=True, slots=True)
class Query:
    """What is read: output columns, the columns needed on the way, and the bounds."""

    relation: Relation
    output: tuple[str, ...]
    needed: tuple[str, ...]
    where: RowFilter | None
    first_time: int
    last_time: int

    full_schema: pa.Schema  # of the columns needed
    schema: pa.Schema  # of the output


class Rows:
    """Rows read from a store. Stands for the `pyarrow.Table` it reads (`num_rows`, `column`, `to_pandas`, ...), and streams.

    Nothing is loaded until asked for: `table()` gives all rows, `batches()` one record batch after the other in bounded memory;
    anything that speaks the Arrow C stream (polars, duckdb, pandas) takes it as it is. Rows ascend by (key, event time,
    created, order of writing): in a table throughout, in a view within each batch. Later writes do not change it.
    """

    def __init__(self, schema: pa.Schema, pieces: Sequence["Piece"]) -> None:
        self.schema = schema
        self._pieces = pieces
        self._table: pa.Table | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, batch by batch."""
        for piece in self._pieces:
            yield from (batch for batch in piece.read(self.schema) if batch.num_rows)

    def table(self) -> pa.Table:
        """All rows."""
        if self._table is None:
            self._table = pa.Table.from_batches(list(self.batches()), self.schema)
        return self._table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pa.RecordBatchReader.from_batches(self.schema, self.batches()).__arrow_c_stream__(requested_schema)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.table(), name)

    def __getitem__(self, key: Any) -> Any:
        return self.table()[key]

    def __len__(self) -> int:
        return int(self.table().num_rows)

    def __eq__(self, other: object) -> bool:
        return bool(self.table().equals(other.table() if isinstance(other, Rows) else other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<mlstore.Rows of {', '.join(self.schema.names)}>"


@dataclass(frozen=True, slots=True)
class Piece:
    """One block of an answer: still to be read under a lease, or read already."""

    query: Query
    block: Block | None
    lend: Lend | None
    ready: tuple[pa.RecordBatch, ...] = ()

    def read(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        if self.block is None:
            yield from self.ready
        else:
            yield from read_block(self.query, self.block, self.lend)


def read(
    session: Session,
    name: str,
    *,
    columns: Sequence[str] | None,
    where: Condition | None,
    start: TimeLike | None,
    end: TimeLike | None,
    as_of: TimeLike | None,
) -> Rows:
    """History rows of a view or table; see Store.read."""
    with session.reading() as context:
        relation = context.catalog.stored(name, doing="read")
        query = plan_query(relation, columns, where, start, end)
        history = context.history(relation)
        if as_of is not None:
            return _read_as_of(history, query, as_of)
        blocks = history.blocks(first_time=query.first_time, last_time=query.last_time)
        if query.where is not None and query.where.implied is not None and blocks:
            blocks = keep_promising(blocks, relation.layout, query.where.implied, full_schema(relation.layout))
        blocks.sort(key=_place)
        if not relation.layout.is_online and _interleave(blocks):
            return Rows(query.schema, [Piece(query, None, None, _in_order(query, blocks))])
        return Rows(query.schema, _take_hold(session, context, query, blocks))


def read_block(query: Query, block: Block, lend: Lend | None) -> Iterator[pa.RecordBatch]:
    """The rows of a block that answer the query."""
    rows = _matching_rows(query, block)
    if rows is not None and not rows.size:
        return
    table = read_rows(query, block, rows, lend)
    if query.where is not None:
        table = query.where.keep(table).select(list(query.output))
    yield from table.to_batches()


def read_rows(query: Query, block: Block, rows: Int64 | None, lend: Lend | None = None) -> pa.Table:
    """The columns a query needs, of these rows of a block (None: all)."""
    arrays = [_block_column(query.relation, block, name, rows, lend) for name in query.needed]
    return pa.Table.from_arrays(arrays, schema=query.full_schema)


def full_schema(layout: Layout) -> pa.Schema:
    """Every column that can be read: keys, event time, created, features."""
    fields = [(field.name, field.dtype.arrow) for field in layout.keys]
    clock = pa.timestamp(layout.time_unit, "UTC")
    if layout.timestamp is not None:
        fields.append((layout.timestamp, clock))
    created = created_name(layout)
    if created is not None:
        fields.append((created, clock))
    return pa.schema(fields + [(field.name, field.dtype.arrow) for field in layout.features])


def created_name(layout: Layout) -> str | None:
    """The column that says when a row became known; a plain table has one only if it declares it."""
    if layout.created_timestamp is not None or not layout.is_online:
        return layout.created_timestamp
    taken = {field.name for field in (*layout.keys, *layout.features)} | {layout.timestamp}
    return next(name for name in ("created", "created_timestamp", "__created") if name not in taken)


def plan_query(
    relation: Relation, columns: Sequence[str] | None, where: Condition | None, start: TimeLike | None, end: TimeLike | None
) -> Query:
    schema = full_schema(relation.layout)
    if isinstance(columns, str):
        columns = [columns]
    output = tuple(schema.names) if columns is None else tuple(dict.fromkeys(columns))
    for column in output:
        if column not in schema.names:
            raise UnknownNameError(f"{relation.label} has no column {column!r}", hint=suggest(column, schema.names))
    condition = None if where is None else row_filter(where, schema, label=relation.label, at_hand=output)
    # A condition that is about no column needs one, too: a table of none does not know how many rows it has.
    needed = output if condition is None else tuple(dict.fromkeys((*output, *condition.columns))) or (schema.names[0],)
    first, last = time_bounds(relation, start, end)
    chosen = (pa.schema([schema.field(name) for name in names]) for names in (needed, output))
    return Query(relation, output, needed, condition, first, last, *chosen)


def time_bounds(relation: Relation, start: TimeLike | None, end: TimeLike | None) -> tuple[int, int]:
    """[start, end) in the relation's ticks, both ends inclusive."""
    if (start is not None or end is not None) and relation.layout.timestamp is None:
        raise UsageError(f"{relation.label} has no time column, so start and end mean nothing", hint="filter with where=")
    ticks = 1 if relation.layout.time_unit == "ns" else 1000
    first = MIN_TIME if start is None else -(-instant_ns(start) // ticks)
    last = MAX_TIME if end is None else -(-instant_ns(end) // ticks) - 1
    return max(first, MIN_TIME), min(last, MAX_TIME)


def _take_hold(session: Session, context: ReadContext, query: Query, blocks: Sequence[Block]) -> list[Piece]:
    """Lease each segment; what cannot be leased is read now, while the transaction still sees it."""
    leases: dict[int, Lease | None] = {}
    for block in blocks:
        if block.segment is not None:
            leases[block.segment] = context.reader.leases.acquire(block.segment) if session.lends else None
    with session.reading() as fresh:
        # A collector may have been faster than the lease: then only this transaction still sees the segment.
        gone = {segment for segment, lease in leases.items() if lease is not None and not is_stored(fresh.reader, segment)}
    pieces = []
    numbers = [query.relation.numbers[name] for name in query.needed if name in query.relation.numbers]
    for block in blocks:
        block.open(numbers)
        lease = None if block.segment is None else leases[block.segment]
        if block.segment is None:
            pieces.append(Piece(query, block, None))
        elif lease is None or block.segment in gone:
            pieces.append(Piece(query, None, None, tuple(_copied(batch) for batch in read_block(query, block, None))))
        else:
            pieces.append(Piece(query, block, lease.buffer))
    return pieces


def _interleave(blocks: Sequence[Block]) -> bool:
    """Whether rows of one block belong between those of another."""
    return any(_end(block) > _place(following) for block, following in pairwise(blocks))


def _in_order(query: Query, blocks: Sequence[Block]) -> tuple[pa.RecordBatch, ...]:
    """The rows of a table in the order of (key, event time, created, writing), whatever block they lie in."""
    picked = [np.arange(block.content.rows) if rows is None else rows for block in blocks for rows in (_matching_rows(query, block),)]
    parts = list(zip(blocks, picked, strict=True))
    keys = merge_keys([block.keys for block in blocks])
    codes = [places_in(keys, block.keys)[block.key_of(rows)] for block, rows in parts]
    times = [block.content.time[rows] for block, rows in parts]
    created = [block.created_of(rows) for block, rows in parts]
    seqs = [block.seq_of(rows) for block, rows in parts]
    order = np.lexsort([np.concatenate(clock) for clock in (seqs, created, times, codes)])
    table = pa.concat_tables([read_rows(query, block, rows) for block, rows in parts]).take(pa.array(order))
    if query.where is not None:
        table = query.where.keep(table)
    return tuple(table.select(list(query.output)).combine_chunks().to_batches())


def _copied(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.take(pa.array(np.arange(batch.num_rows)))


def _matching_rows(query: Query, block: Block) -> Int64 | None:
    """Rows that the version and the times admit; None: all."""
    time = block.content.time
    mask = block.visible
    if query.first_time > MIN_TIME or query.last_time < MAX_TIME:
        inside = (time >= query.first_time) & (time <= query.last_time)
        mask = inside if mask is None else mask & inside
    return None if mask is None or mask.all() else np.flatnonzero(mask)


def _block_column(relation: Relation, block: Block, name: str, rows: Int64 | None, lend: Lend | None) -> pa.Array:
    layout = relation.layout
    for place, field in enumerate(layout.keys):
        if field.name == name:
            picked = np.arange(block.content.rows) if rows is None else rows
            return decode_keys(relation.key_spec, block.keys)[place].take(pa.array(block.key_of(picked)))
    clock = pa.timestamp(layout.time_unit, "UTC")
    if name == layout.timestamp:
        column = block.content.lent_time(lend).view(clock)
    elif name == created_name(layout):
        created = block.created_of(np.arange(block.content.rows))
        column = pa.array(created, mask=created == NULL_TIME).view(clock)
    else:
        column = block.column(relation.numbers[name], lend)
    return column if rows is None else column.take(pa.array(rows))


def _place(block: Block) -> tuple[bytes, int, int]:
    """(key, event time, seq) of its first row."""
    first = np.array([block.start])
    return block.keys.encoded_at(0), int(block.content.time[first][0]), int(block.seq_of(first)[0])


def _end(block: Block) -> tuple[bytes, int, int]:
    """(key, event time, seq) of its last row."""
    last = np.array([block.content.rows - 1])
    return block.keys.encoded_at(len(block.keys) - 1), int(block.content.time[last][0]), int(block.seq_of(last)[0])


def _read_as_of(history: History, query: Query, as_of: TimeLike) -> Rows:
    """The winning row of every key at a time."""
    relation = history.relation
    layout = relation.layout
    time = pa.chunked_array([pa.array([instant_ns(as_of)], pa.timestamp("ns"))])
    latest = int(latest_ticks(time, layout)[0])
    blocks = history.blocks(last_time=latest)
    if not blocks:
        return Rows(query.schema, [])
    keys = merge_keys([block.keys for block in blocks])
    count = len(keys)
    oldest = NO_NUMBERS
    if layout.ttl_ns is not None:
        oldest = np.full(count, ceil_to_unit(time, layout.time_unit, minus_ns=layout.ttl_ns)[0], np.int64)
    questions = group_questions(keys, np.arange(count, dtype=np.int32), np.full(count, latest), oldest, NO_NUMBERS)
    features = [name for name in query.needed if name in relation.numbers]
    selected = Selected(relation, tuple(relation.numbers[name] for name in features), tuple(features), Reference(relation.entry.name))
    answer = Answer(history, selected, questions, count)
    columns = dict(zip(features, answer.columns, strict=True))
    columns |= {field.name: column for field, column in zip(layout.keys, decode_keys(relation.key_spec, keys), strict=True)}
    columns[layout.timestamp or ""] = answer.event_time
    columns[created_name(layout) or ""] = answer.created
    table = pa.table({name: columns[name] for name in query.needed}).filter(pa.array(answer.found))
    if layout.timestamp is not None and (query.first_time > MIN_TIME or query.last_time < MAX_TIME):
        ticks = answer.event_time.filter(pa.array(answer.found)).view(pa.int64())
        table = table.filter(pc.and_(pc.greater_equal(ticks, query.first_time), pc.less_equal(ticks, query.last_time)))
    if query.where is not None:
        table = query.where.keep(table)
    batches = table.select(list(query.output)).cast(query.schema).to_batches()
    return Rows(query.schema, [Piece(query, None, None, tuple(batches))])

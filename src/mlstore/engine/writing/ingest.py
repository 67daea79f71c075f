"""The write journey: rows in, one commit for the online row, the history, the manifest and the change feed.

A small write goes to the tail. A large one is sorted, staged as segments in transactions of bounded size that nobody can see, and
published by one last transaction.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history import online, tail
from mlstore.engine.history.block import Int64
from mlstore.engine.history.offline import MAX_TIME, MIN_TIME, load_state, put_state
from mlstore.engine.history.picking import pick_ranges
from mlstore.engine.history.runs import Placement, Rows, level_of, plan_cuts, write_run
from mlstore.engine.history.segments import SegmentContent, load_extents, put_entry, put_extent
from mlstore.engine.history.staging import Stage
from mlstore.engine.session import Session, WriteContext
from mlstore.engine.versions import take_numbers
from mlstore.engine.writing import upkeep
from mlstore.engine.writing.removal import hide
from mlstore.errors import InvalidDataError, UsageError
from mlstore.format.keys import Factorized, Keys, factorize
from mlstore.format.manifest import Commit, SegmentEntry, TableChange
from mlstore.format.order import order_rows, take_ints
from mlstore.schema.conform import Conformed, conform
from mlstore.schema.frames import is_stream, to_batches, to_table

Mode = Literal["append", "upsert"]
Progress = Callable[[int, int | None], None]


def write(session: Session, name: str, data: Any, *, mode: Mode, author: str, message: str, progress: Progress | None) -> Commit:
    """Write rows to a view or table; see Store.write."""
    with session.reading() as reading:
        relation = reading.catalog.stored(name, doing="write")
    tables, total = _tables(data, relation)
    ahead = list(islice(tables, 2))
    if len(ahead) < 2 and sum(table.num_rows for table in ahead) < limits.DIRECT_ROWS:

        def fitted(current: Relation) -> Conformed | None:
            return conform(current.layout, ahead[0]) if ahead else None

        commit, relation, owed = write_few(session, name, fitted, mode=mode, author=author, message=message)
        upkeep.pay(session, relation, owed)
        return commit
    return _load(session, relation, _unread(ahead, tables), total, mode, author, message, progress)


def write_few(
    session: Session, name: str, fitted: Callable[[Relation], Conformed | None], *, mode: Mode = "append", author: str, message: str
) -> tuple[Commit, Relation, int]:
    """One commit of rows that go to the tail; what it owes to merging is the caller's to pay, after telling of the commit."""
    with session.writing() as context:
        relation = context.catalog.stored(name, doing="write")
        rows = fitted(relation)
        change = write_rows(context, relation, rows, mode) if rows and rows.rows else _nothing(relation, mode)
        owed = upkeep.run(context, relation, change.rows)
        commit = context.commit(change, author=author, message=message)
    return commit, relation, owed


def write_rows(context: WriteContext, relation: Relation, rows: Conformed, mode: Mode) -> TableChange:
    """Add a few rows to the tail."""
    writer, line = context.writer, context.scope.line
    first_seq = take_numbers(writer, "seq", rows.rows)
    batch = _order(relation, rows, mode, context.now_us)
    if mode == "upsert":
        _hide_replaced(context, relation, batch.keys, batch.codes(), batch.time, first_seq)
    count = len(batch.time)
    seq = first_seq + batch.order_or_identity().astype(np.int64)
    created = batch.created if batch.created is not None else np.full(count, batch.same_created, np.int64)
    columns = rows.features if batch.order is None else [pc.take(column, pa.array(batch.order)) for column in rows.features]
    packed = relation.plan.encode(batch.time, created, seq, columns)
    encoded = batch.keys.encoded()
    tail.put_rows(writer, relation, line, [encoded[code] for code in batch.codes().tolist()], (batch.time, created, seq), packed)
    late = 0
    if relation.layout.is_online:
        late = online.put_latest(writer, relation, context.scope, encoded, [packed[end - 1] for end in batch.offsets[1:].tolist()])
    digest = hashlib.blake2b(b"".join(packed), digest_size=16).digest()
    _grow(context, relation, batch.time, late, tail_rows=count, tail_bytes=sum(map(len, packed)))
    return TableChange(mode, relation.label, relation.table, count, first_seq, first_seq + rows.rows - 1, digest)


def write_here(context: WriteContext, relation: Relation, rows: Conformed) -> TableChange:
    """Append rows, few or many, in the transaction at hand: what is written waits in memory for its commit."""
    if rows.rows < limits.DIRECT_ROWS:
        return write_rows(context, relation, rows, "append")
    writer, batch = context.writer, _order(relation, rows, "append", context.now_us)
    count = len(batch.time)
    cuts = plan_cuts(count, [column.nbytes for column in rows.features])
    placement = Placement(take_numbers(writer, "run"), level_of(count), first_segment=take_numbers(writer, "segment", len(cuts)))
    sorted_rows = Rows(batch.keys, batch.offsets, batch.time, batch.created, batch.same_created, None, 0, batch.order, rows.features)
    run = write_run(lambda segment, extent, value: put_extent(writer, segment, extent, value), relation, sorted_rows, placement, cuts)
    return _publish(context, relation, [run], "append")


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one write in the order of segments: sorted unique keys, first row of each, clocks; `order` leads back to the input."""

    keys: Keys
    offsets: Int64
    time: Int64
    created: Int64 | None
    same_created: int
    order: NDArray[np.uint32] | None

    def codes(self) -> Int64:
        """Position in `keys` of each row's key."""
        return np.repeat(np.arange(len(self.keys)), np.diff(self.offsets))

    def order_or_identity(self) -> NDArray[np.uint32]:
        return np.arange(len(self.time), dtype=np.uint32) if self.order is None else self.order


def _order(relation: Relation, rows: Conformed, mode: Mode, now_us: int) -> Batch:
    """Sort a write by (key, event time, created, place); an upsert keeps of the rows that replace each other only the last."""
    layout = relation.layout
    now = _now(relation, now_us)
    time = np.full(rows.rows, now, np.int64) if rows.event_time is None else rows.event_time
    factored = _factorize(relation, rows)
    keys, codes = factored.keys, factored.codes
    order: NDArray[np.uint32] | None
    if mode == "upsert":
        replaces_key = not layout.is_online and bool(layout.keys)
        order, offsets = order_rows(codes, len(keys), np.zeros_like(time) if replaces_key else time)
        order, offsets = _keep_last(order, offsets, codes, None if replaces_key else time)
    else:
        order, offsets = order_rows(codes, len(keys), time, rows.created)
    if len(order) == len(time) and _is_identity(order):
        order = None
    created = rows.created
    if order is not None:
        time, created = take_ints(time, order), None if created is None else take_ints(created, order)
    return Batch(keys, offsets, time, created, now, order)


def _now(relation: Relation, now_us: int) -> int:
    return now_us * 1000 if relation.layout.time_unit == "ns" else now_us


def _stamped(entry: SegmentEntry, seq: int, now: int) -> SegmentEntry:
    """A staged entry with its place in the order of writing; rows that did not say when they became known did so now."""
    entry = replace(entry, seq=seq, min_seq=seq, max_seq=seq)
    return entry if entry.created is None else replace(entry, created=now, min_created=now, max_created=now)


def _factorize(relation: Relation, rows: Conformed) -> Factorized:
    try:
        return factorize(relation.key_spec, rows.keys, rows.rows)
    except InvalidDataError as error:
        names = ", ".join(field.name for field in relation.layout.keys)
        raise InvalidDataError(f"{relation.label}: key {names}, {error.message}", hint=error.hint) from error


def _keep_last(order: NDArray[np.uint32], offsets: Int64, codes: NDArray[np.int32], time: Int64 | None) -> tuple[NDArray[np.uint32], Int64]:
    if not len(order):
        return order, offsets
    sorted_codes = codes[order]
    differs = sorted_codes[1:] != sorted_codes[:-1]
    if time is not None:
        differs |= time[order][1:] != time[order][:-1]
    keep = np.append(differs, True)
    kept = np.concatenate([[0], np.cumsum(keep)])
    return order[keep], kept[offsets]


def _is_identity(order: NDArray[np.uint32]) -> bool:
    return bool(order.size == 0 or (order[0] == 0 and (np.diff(order.astype(np.int64)) == 1).all()))


def _hide_replaced(context: WriteContext, relation: Relation, keys: Keys, codes: Int64, time: Int64, seq: int) -> None:
    """Hide what an upsert replaces: rows of the same key and event time; in a keyed table, of the same key."""
    layout, history = relation.layout, context.history(relation)
    if not layout.is_online and layout.keys:
        codes, first, last = np.arange(len(keys)), np.full(len(keys), MIN_TIME, np.int64), np.full(len(keys), MAX_TIME, np.int64)
    else:
        first = last = time
    hidden = hide(context, history, pick_ranges(history.blocks(keys=keys), keys, codes, first, last), seq)
    if hidden.rows and layout.is_online:
        online.refresh(context.writer, context.history(relation), hidden.keys)


def _grow(context: WriteContext, relation: Relation, time: Int64, late: int, **sizes: int) -> None:
    """Count rows just written in the table's state."""
    state = load_state(context.writer, relation.table, context.scope.line)
    grown = {name: getattr(state, name) + size for name, size in sizes.items()}
    low, high = int(time.min()), int(time.max())
    state = state.changed(
        rows=state.rows + len(time),
        late_rows=state.late_rows + late,
        min_time=low if state.min_time is None else min(low, state.min_time),
        max_time=high if state.max_time is None else max(high, state.max_time),
        **grown,
    )
    put_state(context.writer, relation.table, context.scope.line, state)


def _load(
    session: Session,
    relation: Relation,
    tables: Iterator[pa.Table],
    total: int | None,
    mode: Mode,
    author: str,
    message: str,
    progress: Progress | None,
) -> Commit:
    done = 0
    with Stage(session) as stage:
        for table in tables:
            done += _stage_table(stage, relation, table, done, mode, Teller(progress, done, total))
            del table  # before the next one is made
        stage.settle()
        with session.writing() as context:
            change = _publish(context, relation, stage.publish(context.writer), mode)
            owed = upkeep.run(context, relation, change.rows)
            commit = context.commit(change, author=author, message=message)
    upkeep.pay(session, relation, owed)
    Teller(progress, done, done).tell(0)
    return commit


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells how far one of several tables has come."""

    progress: Progress | None
    done_before: int
    total: int | None

    def tell(self, done: int) -> None:
        if self.progress is not None:
            self.progress(self.done_before + done, self.total)


def _stage_table(stage: Stage, relation: Relation, table: pa.Table, first_row: int, mode: Mode, teller: Teller) -> int:
    """Sort and stage one table as one run; its rows."""
    rows = conform(relation.layout, table, first_row=first_row)
    if not rows.rows:
        return 0
    batch = _order(relation, rows, mode, stage.now_us)
    count = len(batch.time)
    sorted_rows = Rows(batch.keys, batch.offsets, batch.time, batch.created, batch.same_created, None, 0, batch.order, rows.features)
    cuts = plan_cuts(count, [column.nbytes for column in rows.features])
    cells, all_cells = 0, count * max(1, len(rows.features))

    def written(cell_rows: int) -> None:
        nonlocal cells
        cells += cell_rows
        teller.tell(rows.rows * cells // all_cells)

    placement = Placement(0, level_of(count), first_segment=stage.next_segment)
    with ThreadPoolExecutor(limits.WRITE_THREADS, "mlstore-write") as workers:
        stage.add_run(write_run(stage.put, relation, sorted_rows, placement, cuts, workers=workers, tell=written))
    return rows.rows


def _publish(context: WriteContext, relation: Relation, runs: list[list[SegmentEntry]], mode: Mode) -> TableChange:
    """Make the staged segments part of the table. Each run takes one number of the sequence: ties inside are settled by place."""
    relation = upkeep.current(context, relation)  # it may have evolved meanwhile, or a rollback may have undone that
    if not all(relation.knows(entry.revision) for run in runs for entry in run):
        raise UsageError(f"{relation.label}: the branch was moved back while the data was sorted; nothing was written", hint="write again")
    first_seq = take_numbers(context.writer, "seq", max(1, len(runs)))
    digest, count = hashlib.blake2b(digest_size=16), 0
    now = _now(relation, context.now_us)
    for seq, run in enumerate(runs, first_seq):
        run = [_stamped(entry, seq, now) for entry in run]
        contents = [SegmentContent(entry, load_extents(context.writer, entry.segment)) for entry in run]
        if mode == "upsert":
            for content in contents:
                codes = np.repeat(np.arange(len(content.keys)), np.diff(content.offsets))
                _hide_replaced(context, relation, content.keys, codes, content.time, seq)
        for entry, content in zip(run, contents, strict=True):
            put_entry(context.writer, relation.table, context.scope.line, entry)
            late = _put_newest(context, relation, content, seq) if relation.layout.is_online else 0
            digest.update(entry.header_checksum.to_bytes(8, "little"))
            _grow(context, relation, content.time, late, segments=1, size_bytes=entry.size_bytes)
            count += entry.rows
    last_seq = first_seq + max(1, len(runs)) - 1
    return TableChange(mode, relation.label, relation.table, count, first_seq, last_seq, digest.digest())


def _put_newest(context: WriteContext, relation: Relation, content: SegmentContent, seq: int) -> int:
    """Offer the newest row of each key of a segment to the online rows."""
    last = content.offsets[1:] - 1
    created = content.created[last] if content.created.size else np.full(len(last), content.same_created, np.int64)
    index = pa.array(last)
    columns = [pc.take(content.column(relation, number), index) for number in range(len(relation.layout.features))]
    packed = relation.plan.encode(content.time[last], created, np.full(len(last), seq, np.int64), columns)
    return online.put_latest(context.writer, relation, context.scope, content.keys.encoded(), packed)


def _tables(data: Any, relation: Relation) -> tuple[Iterator[pa.Table], int | None]:
    """The data as tables of bounded size, and the number of rows if it is known."""
    what = f"data for {relation.label}"
    if is_stream(data):
        return _chunked(to_batches(data, what=what)), None
    table = to_table(data, what=what, layout=relation.layout)
    return _split(table), table.num_rows


def _chunked(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= limits.CHUNK_BYTES:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _unread(ahead: list[pa.Table], rest: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Tables read ahead, then the rest; each is let go as soon as it is taken."""
    while ahead:
        yield ahead.pop(0)
    yield from rest


def _split(table: pa.Table) -> Iterator[pa.Table]:
    """A table as one piece, unless a column of texts is larger than 32-bit offsets reach."""
    widest = max((column.nbytes for column in table.columns if not pa.types.is_primitive(column.type)), default=0)
    pieces = max(1, -(-widest // (1 << 30)))
    step = max(1, -(-table.num_rows // pieces))
    yield from (table.slice(start, step) for start in range(0, table.num_rows, step))


def _nothing(relation: Relation, mode: Mode) -> TableChange:
    return TableChange(mode, relation.label, relation.table, 0, 0, 0, b"")

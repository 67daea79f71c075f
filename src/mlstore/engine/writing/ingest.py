"""The write journey: rows in, one commit for the online row, the history, the manifest and the change feed.

A small write goes to the tail. A large one is sorted, staged as segments in transactions of bounded size that nobody can see, and
published by one last transaction.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history import online
from mlstore.engine.history.block import Int64
from mlstore.engine.history.extents import put_extent
from mlstore.engine.history.offline import MAX_TIME, MIN_TIME
from mlstore.engine.history.picking import pick_ranges
from mlstore.engine.history.runs import Placement, Rows, level_of, plan_cuts, write_run
from mlstore.engine.history.segments import SegmentContent, load_extents, put_entry
from mlstore.engine.history.staging import Stage
from mlstore.engine.history.tail import digest_rows
from mlstore.engine.session import Session, WriteContext
from mlstore.engine.versions import take_numbers
from mlstore.engine.windows.tilekeeping import Keeper, following
from mlstore.engine.writing import alone, upkeep
from mlstore.engine.writing.batch import Mode, Sorted, lay, newest_of_run, replaces_key, sort, ticks_of
from mlstore.engine.writing.growing import grow, span_of
from mlstore.engine.writing.packing import Packed, factorize_rows, pack_columns, pack_dicts
from mlstore.engine.writing.placing import place
from mlstore.engine.writing.removal import hide
from mlstore.errors import MlstoreError, UsageError
from mlstore.format.keys import Keys
from mlstore.format.manifest import Commit, SegmentEntry, TableChange
from mlstore.schema.conform import Conformed, conform
from mlstore.schema.frames import is_stream, to_batches, to_table

ONLINE_ROWS = 1 << 14  # online rows packed at a time

Progress = Callable[[int, int | None], None]
Newest = Callable[[int], tuple[list[bytes], list[bytes]]]  # of a run with this seq: its keys, and the newest row of each
Fit = Callable[[Relation], Packed | None]  # the rows of a write as a relation wants them


def write(session: Session, name: str, data: Any, *, mode: Mode, author: str, message: str, progress: Progress | None) -> Commit:
    """Write rows to a view or table; see Store.write."""
    guess = session.guess(name) if _is_small(data) else None
    if guess is not None:
        guess.require_rows("write")
    entries = None if guess is None else pack_dicts(guess, data)
    fit: Fit
    if guess is not None and entries is not None:
        fit = partial(_fit_dicts, data)
        ahead = fitted(guess, Packed(guess, entries), fit)
    else:
        relation = session.target(name)
        tables, total = _tables(data, relation)
        held = list(islice(tables, 2))
        if len(held) >= 2 or sum(table.num_rows for table in held) >= limits.DIRECT_ROWS:
            return _load(session, relation, _unread(held, tables), total, mode, author, message, progress)
        fit = partial(_fit_table, held[0] if held else None)
        ahead = fitted(relation, _tried(fit, relation), fit)
    commit, relation, owed = write_few(session, name, ahead, mode=mode, author=author, message=message)
    upkeep.pay(session, relation, owed)
    return commit


def fitted(relation: Relation, packed: Packed | None, fit: Fit) -> Fit:
    """What was packed ahead, where the relation still is what it was then; else packed anew."""

    def again(current: Relation) -> Packed | None:
        return packed if packed is not None and current.is_same(relation) else fit(current)

    return again


def write_few(session: Session, name: str, fit: Fit, *, mode: Mode = "append", author: str, message: str) -> tuple[Commit, Relation, int]:
    """One commit of rows that were packed ahead; what it owes to merging is the caller's to pay, after telling of the commit."""
    with session.writing() as context:
        relation = context.catalog.stored(name, doing="write")
        packed = fit(relation)
        change = write_packed(context, relation, packed, mode) if packed is not None and packed.entries else _nothing(relation, mode)
        owed = upkeep.run(context, relation, change.rows)
        commit = context.commit(change, author=author, message=message)
    return commit, relation, owed


def write_packed(context: WriteContext, relation: Relation, packed: Packed, mode: Mode = "append") -> TableChange:
    """Add rows: a few to the tail, many as a run."""
    if mode == "append" and alone.is_alone(context, relation, packed):
        return alone.write_alone(context, relation, packed.entries[0])
    told = packed.told
    rows = sort(relation, len(told.keys), told.codes, told.time, told.created, mode=mode, now_us=context.now_us)
    if len(packed.entries) >= limits.DIRECT_ROWS:
        keys = Keys.from_encoded(told.keys, relation.key_spec.kind)
        columns = [pa.chunked_array([column]) for column in packed.columns()]
        return _write_run(context, relation, keys, rows, columns, mode, partial(newest_of_run, packed, rows))
    first_seq = take_numbers(context.writer, "seq", len(packed.entries))
    batch = lay(relation, packed, rows, first_seq)
    with following(context, relation) as keeper:
        if mode == "upsert":
            _hide_replaced(context, relation, batch.keys, rows.codes(), rows.time, first_seq, keeper)
        late = place(context, batch)
        grow(context, relation, len(batch), span_of(rows.time), late, tail_rows=len(batch), tail_bytes=batch.laid.size)
        if keeper.is_awake:
            keeper.added(batch.keys, rows.offsets, rows.time, rows.created_of_each(), batch.columns)
    digest = digest_rows(batch.laid.data, rows.offsets.data, batch.encoded)
    return TableChange(mode, relation.label, relation.table, len(batch), first_seq, first_seq + len(packed.entries) - 1, digest)


def write_here(context: WriteContext, relation: Relation, rows: Conformed) -> TableChange:
    """Append rows, few or many, in the transaction at hand: what is written waits in memory for its commit."""
    if rows.rows < limits.DIRECT_ROWS:
        return write_packed(context, relation, pack_columns(relation, rows))
    keys, ordered = _sort_columns(relation, rows, "append", context.now_us)
    return _write_run(context, relation, keys, ordered, rows.features, "append")


def _write_run(
    context: WriteContext,
    relation: Relation,
    keys: Keys,
    rows: Sorted,
    columns: Sequence[pa.ChunkedArray],
    mode: Mode,
    newest: Newest | None = None,
) -> TableChange:
    """Add rows as a run of segments; `newest`: where the rows are packed already."""
    writer, count = context.writer, len(rows.time)
    cuts = plan_cuts(count, [column.nbytes for column in columns])
    placement = Placement(take_numbers(writer, "run"), level_of(count), first_segment=take_numbers(writer, "segment", len(cuts)))
    run = write_run(
        lambda segment, extent, value: put_extent(writer, segment, extent, value), relation, _run_rows(keys, rows, columns), placement, cuts
    )
    return _publish(context, relation, [run], mode, newest)


def _run_rows(keys: Keys, rows: Sorted, columns: Sequence[pa.ChunkedArray]) -> Rows:
    return Rows(keys, rows.offsets, rows.time, rows.created, rows.same_created, None, 0, rows.order, columns)


def _sort_columns(relation: Relation, rows: Conformed, mode: Mode, now_us: int) -> tuple[Keys, Sorted]:
    """The distinct keys of rows, and how the rows lie in order."""
    found = factorize_rows(relation, rows)
    return found.keys, sort(relation, len(found.keys), found.codes, rows.event_time, rows.created, mode=mode, now_us=now_us)


def _stamped(entry: SegmentEntry, seq: int, now: int) -> SegmentEntry:
    """A staged entry with its place in the order of writing; rows that did not say when they became known did so now."""
    entry = replace(entry, seq=seq, min_seq=seq, max_seq=seq)
    return entry if entry.created is None else replace(entry, created=now, min_created=now, max_created=now)


def _hide_replaced(context: WriteContext, relation: Relation, keys: Keys, codes: Int64, time: Int64, seq: int, keeper: Keeper) -> None:
    """Hide what an upsert replaces: rows of the same key and event time; in a keyed table, of the same key."""
    layout, history = relation.layout, context.history(relation)
    if replaces_key(relation):
        codes, first, last = np.arange(len(keys)), np.full(len(keys), MIN_TIME, np.int64), np.full(len(keys), MAX_TIME, np.int64)
    else:
        first = last = time
    hidden = hide(context, history, pick_ranges(history.blocks(keys=keys), keys, codes, first, last), seq)
    keeper.hidden(hidden.rows, hidden.keys)
    if hidden.rows and layout.is_online:
        online.refresh(context.writer, context.history(relation), hidden.keys)


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
    keys, ordered = _sort_columns(relation, rows, mode, stage.now_us)
    count = len(ordered.time)
    sorted_rows = _run_rows(keys, ordered, rows.features)
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


def _publish(
    context: WriteContext, relation: Relation, runs: list[list[SegmentEntry]], mode: Mode, newest: Newest | None = None
) -> TableChange:
    """Make the staged segments part of the table. Each run takes one number of the sequence: ties inside are settled by place."""
    relation = upkeep.current(context, relation)  # it may have evolved meanwhile, or a rollback may have undone that
    if not all(relation.knows(entry.revision) for run in runs for entry in run):
        raise UsageError(f"{relation.label}: the branch was moved back while the data was sorted; nothing was written", hint="write again")
    first_seq = take_numbers(context.writer, "seq", max(1, len(runs)))
    digest, count = hashlib.blake2b(digest_size=16), 0
    now = ticks_of(relation, context.now_us)
    with following(context, relation, adding=sum(entry.rows for run in runs for entry in run), since=first_seq) as keeper:
        for seq, run in enumerate(runs, first_seq):
            run = [_stamped(entry, seq, now) for entry in run]
            contents = [SegmentContent(entry, load_extents(context.writer, entry.segment)) for entry in run]
            if mode == "upsert":
                for content in contents:
                    codes = np.repeat(np.arange(len(content.keys)), np.diff(content.offsets))
                    _hide_replaced(context, relation, content.keys, codes, content.time, seq, keeper)
            late = 0
            if newest is not None and relation.layout.is_online:
                late = online.put_latest(context.writer, relation, context.scope, *newest(seq))
            for entry, content in zip(run, contents, strict=True):
                put_entry(context.writer, relation.table, context.scope.line, entry)
                late += _put_newest(context, relation, content, seq) if newest is None and relation.layout.is_online else 0
                digest.update(entry.header_checksum.to_bytes(8, "little"))
                grow(context, relation, entry.rows, span_of(content.time), late, segments=1, size_bytes=entry.size_bytes)
                _tell(keeper, relation, content)
                count, late = count + entry.rows, 0
    last_seq = first_seq + max(1, len(runs)) - 1
    return TableChange(mode, relation.label, relation.table, count, first_seq, last_seq, digest.digest())


def _tell(keeper: Keeper, relation: Relation, content: SegmentContent) -> None:
    """Let tiles follow the rows of a segment that was added."""
    if not keeper.is_awake:
        keeper.passed(content.rows)
    else:
        created = content.created if content.created.size else np.full(content.rows, content.same_created, np.int64)
        columns = [content.column(relation, number) for number in range(len(relation.layout.features))]
        keeper.added(content.keys, content.offsets, content.time, created, columns)


def _put_newest(context: WriteContext, relation: Relation, content: SegmentContent, seq: int) -> int:
    """Offer the newest row of each key of a segment to the online rows; block by block, so that what is packed stays in the cache."""
    late, features = 0, range(len(relation.layout.features))
    for start in range(0, len(content.keys), ONLINE_ROWS):
        keys = content.keys.slice(start, min(start + ONLINE_ROWS, len(content.keys)))
        last = content.offsets[start + 1 : start + 1 + len(keys)] - 1
        created = content.created[last] if content.created.size else np.full(len(last), content.same_created, np.int64)
        columns = [_at(content.column(relation, number), last) for number in features]
        packed = relation.plan.encode(content.time[last], created, np.full(len(last), seq, np.int64), columns)
        late += online.put_latest(context.writer, relation, context.scope, keys.encoded(), packed)
    return late


def _at(column: pa.Array, places: Int64) -> pa.Array:
    """The values at places that rise."""
    first, last = int(places[0]), int(places[-1])
    return column.slice(first, len(places)) if last - first + 1 == len(places) else pc.take(column, pa.array(places))


def _is_small(data: Any) -> bool:
    return not isinstance(data, list | tuple) or len(data) < limits.BATCH_ROWS


def _fit_dicts(data: Any, relation: Relation) -> Packed | None:
    entries = pack_dicts(relation, data)
    if entries is not None:
        return Packed(relation, entries)
    return _fit_table(to_table(data, what=f"data for {relation.label}", layout=relation.layout), relation)


def _fit_table(table: pa.Table | None, relation: Relation) -> Packed | None:
    return None if table is None else pack_columns(relation, conform(relation.layout, table))


def _tried(fit: Fit, relation: Relation) -> Packed | None:
    """What can be packed ahead of the transaction; what is refused now is judged again there, by the catalogue of that moment."""
    try:
        return fit(relation)
    except MlstoreError:
        return None


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

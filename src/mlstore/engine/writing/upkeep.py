"""Upkeep: sealing the tail, merging runs step by step, letting expired rows go, collecting what nobody needs.

It rides on the write path: the work of one call is bounded by what the call wrote, so no user ever owes a compaction.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history import online
from mlstore.engine.history.block import ERASED, Block, Deletes, Int64
from mlstore.engine.history.extents import drop_extents, put_extent
from mlstore.engine.history.offline import MIN_TIME, load_state, put_state
from mlstore.engine.history.picking import pick_where
from mlstore.engine.history.runs import Placement, Rows, plan_cuts, write_run
from mlstore.engine.history.segments import (
    SegmentContent,
    drop_entry,
    list_deletes,
    list_entries,
    load_extents,
    put_deletes,
    put_entry,
)
from mlstore.engine.history.tail import clear_tail, load_tail
from mlstore.engine.retained import Spans, load_spans
from mlstore.engine.session import ReadContext, Session, WriteContext
from mlstore.engine.versions import LIVE, forks, tags, take_numbers
from mlstore.engine.windows.tilekeeping import following
from mlstore.engine.writing.catching import catch_up
from mlstore.engine.writing.removal import hide
from mlstore.errors import CorruptionError
from mlstore.format.keymerge import merge_keys, places_in
from mlstore.format.manifest import SegmentEntry, TableChange, TableState
from mlstore.format.order import order_rows
from mlstore.format.packed import CURE, FixedFields
from mlstore.storage.keyspace import declare
from mlstore.storage.transaction import Reader, Writer

TRASH = declare("trash")  # segments out of every manifest that some reader still holds

_SEGMENT = FixedFields(">Q")

Slice = tuple[Block, int, int]  # rows [first, last) of a block
MergePlan = Callable[[TableState, Sequence[SegmentEntry], Callable[[], int]], TableState]


def run(context: WriteContext, relation: Relation, rows_written: int) -> int:
    """Seal a full tail; how many rows the write owes to merging: what it added to segments, once for each level."""
    line = context.scope.line
    state = load_state(context.writer, relation.table, line)
    if state.tail_rows >= limits.TAIL_ROWS or state.tail_bytes >= limits.TAIL_BYTES:
        rows_written = max(rows_written, state.tail_rows)
        expire(context, relation)
        seal(context, relation)
    elif rows_written < limits.DIRECT_ROWS:
        return 0
    levels = 1 + max((entry.level for entry in list_entries(context.writer, relation.table, line)), default=0)
    return levels * max(rows_written, limits.SEGMENT_ROWS)


def pay(session: Session, relation: Relation, owed: int) -> None:
    """Let tiles catch up, and merge about as many rows as a write owes, in transactions of their own and of bounded size."""
    if owed <= 0 or session.defer(lambda after: pay(after, relation, owed)):
        return
    catch_up(session, relation)
    with session.reading() as context:
        is_due = _is_due(context, relation)
    while is_due:
        with session.writing() as writing:
            while owed > 0 and writing.writer.dirty_bytes < limits.STAGE_BYTES:
                moved = merge_once(writing, current(writing, relation), plan_merges)
                owed -= moved
                if not moved:
                    break
            is_due = bool(moved) and owed > 0
            collect(writing.writer)


def current(context: ReadContext, relation: Relation) -> Relation:
    """The relation as the catalogue of this transaction has it."""
    return context.catalog.store(relation.table)


def seal(context: WriteContext, relation: Relation) -> None:
    """Turn the tail into segments, rows deleted from it included: versions before the delete still see them."""
    writer, line = context.writer, context.scope.line
    content = load_tail(writer, relation.whole, line)
    if content is None:
        return
    block = Block(relation.whole, content, bound=LIVE, deletes=content.deletes)
    placement = Placement(take_numbers(writer, "run"), 0)
    with following(context, relation):
        rewrite(context, relation, [(block, 0, content.rows)], placement)
        clear_tail(writer, relation, line, content.rows)
        state = load_state(writer, relation.table, line)
        put_state(writer, relation.table, line, state.changed(tail_rows=0, tail_bytes=0))


def expire(context: WriteContext, relation: Relation) -> TableChange | None:
    """Delete the rows that have outlived the retention; the change to be committed, if any."""
    horizon = horizon_of(relation, context.now_us)
    if horizon is None:
        return None
    history = context.history(relation)
    seq = take_numbers(context.writer, "seq")
    with following(context, relation) as keeper:
        hidden = hide(context, history, pick_where(history.blocks(last_time=horizon - 1), MIN_TIME, horizon - 1, None), seq)
        keeper.hidden(hidden.rows, hidden.keys)
    if hidden.rows and relation.layout.is_online:
        online.refresh(context.writer, context.history(relation), hidden.keys)
    return TableChange("expire", relation.label, relation.table, hidden.rows, seq, seq, b"") if hidden.rows else None


def merge_once(context: WriteContext, relation: Relation, plan: MergePlan, *, tier: str | None = None) -> int:
    """One step of one merge, if the plan knows of one to make; the rows it moved."""
    with following(context, relation):
        return _merge_once(context, relation, plan, tier)


def _merge_once(context: WriteContext, relation: Relation, plan: MergePlan, tier: str | None) -> int:
    writer, line = context.writer, context.scope.line
    state = load_state(writer, relation.table, line)
    entries = list_entries(writer, relation.table, line)
    state = plan(state, entries, lambda: take_numbers(writer, "run"))
    if not state.merges:
        return 0
    deletes = list_deletes(writer, relation.table, line)
    level, run_number, inputs = state.merges[0]
    queues = _queues(entries, inputs)
    if not queues:
        put_state(writer, relation.table, line, state.changed(merges=state.merges[1:]))
        return 0
    put_state(writer, relation.table, line, state.changed())
    takes = _take(queues, lambda entry: open_block(writer, relation, entry, deletes.get(entry.segment)))
    if not takes:
        # Rows in order leave at least one to take: the first of those the cut lies at.
        raise CorruptionError(f"{relation.label}: segments whose rows are not in order", hint=CURE)
    slices = [(block, block.start, stop) for _, block, stop in takes]
    rewrite(context, relation, slices, Placement(run_number, level + 1, tier=tier or queues[0][0].tier))
    for entry, _, stop in takes:
        _move_start(context, relation, entry, stop)
    if sum(stop - first for _, first, stop in slices) == sum(entry.live_rows for queue in queues for entry in queue):
        state = load_state(writer, relation.table, line)
        put_state(writer, relation.table, line, state.changed(merges=state.merges[1:]))
    return sum(stop - first for _, first, stop in slices)


def open_block(reader: Reader, relation: Relation, entry: SegmentEntry, deletes: Deletes | None) -> Block:
    """All that a segment holds, whatever the version."""
    content = SegmentContent(entry, load_extents(reader, entry.segment))
    return Block(relation.whole, content, bound=LIVE, deletes=deletes, start=entry.start_row, segment=entry.segment)


def plan_merges(state: TableState, entries: Sequence[SegmentEntry], take_run: Callable[[], int]) -> TableState:
    """The state with a merge for each level that has `FANOUT` runs which no merge under way makes or takes."""
    busy = {number for _, made, inputs in state.merges for number in (made, *inputs)}
    free: dict[int, set[int]] = {}
    for entry in entries:
        if entry.run not in busy:
            free.setdefault(entry.level, set()).add(entry.run)
    merges = list(state.merges)
    for level in sorted(free):
        runs = sorted(free[level])
        if len(runs) >= limits.FANOUT:
            merges.append((level, _new_run(entries, take_run), tuple(runs[: limits.FANOUT])))
    return replace(state, merges=tuple(merges))


def plan_full_merge(state: TableState, entries: Sequence[SegmentEntry], take_run: Callable[[], int]) -> TableState:
    """The state with a merge of the smallest runs, until one run is left; merges under way come first."""
    sizes: Counter[int] = Counter()
    for entry in entries:
        sizes[entry.run] += entry.live_rows
    if state.merges or len(sizes) < 2:
        return state
    inputs = sorted(sizes, key=lambda number: sizes[number])[: widest_merge()]
    level = max(entry.level for entry in entries if entry.run in inputs)
    return replace(state, merges=((level, _new_run(entries, take_run), tuple(sorted(inputs))),))


def _new_run(entries: Sequence[SegmentEntry], take_run: Callable[[], int]) -> int:
    number = take_run()
    if any(entry.run == number for entry in entries):
        # A run merged into itself would never come to an end.
        raise CorruptionError(f"run {number} is there already, and its number is to be given now", hint=CURE)
    return number


def widest_merge() -> int:
    """How many runs a full merge takes at a time."""
    return 2 * limits.FANOUT


def plan_cut(blocks: Sequence[Block], has_more: Sequence[bool]) -> tuple[bytes, int] | None:
    """The place (key, time) up to which a step takes all rows, about a segment's worth; None: everything that is left.

    `blocks`: the first segment of each input. One that has more behind it caps the place at its last row.
    """
    quota = max(1, limits.SEGMENT_ROWS // len(blocks))
    ends = [min(block.start + quota, block.content.rows) - 1 for block in blocks]
    caps = [
        (_key_at(block, end), int(block.content.time[end]))
        for block, end, more in zip(blocks, ends, has_more, strict=True)
        if more or end + 1 < block.content.rows
    ]
    return min(caps, default=None)


def rewrite(context: WriteContext, relation: Relation, slices: Sequence[Slice], placement: Placement) -> list[SegmentEntry]:
    """Write rows of several blocks as one run, deletes included, without the rows that may leave the file."""
    writer, line, relation = context.writer, context.scope.line, relation.whole
    rows, deleted = _merge_rows(relation, slices, droppable_rows(context, relation, context.now_us, load_spans(writer, line)))
    if not rows.count:
        return []
    cuts = plan_cuts(rows.count, [column.nbytes for column in rows.columns])
    placement = replace(placement, first_segment=take_numbers(writer, "segment", len(cuts)))
    entries = write_run(lambda segment, extent, value: put_extent(writer, segment, extent, value), relation, rows, placement, cuts)
    for entry, (start, stop) in zip(entries, cuts, strict=True):
        put_entry(writer, relation.table, line, entry)
        hidden = np.flatnonzero(deleted[start:stop] != LIVE)
        if hidden.size:
            put_deletes(writer, relation.table, line, entry.segment, (hidden, deleted[start:stop][hidden]))
    state = load_state(writer, relation.table, line)
    size = sum(entry.size_bytes for entry in entries)
    put_state(writer, relation.table, line, state.changed(segments=state.segments + len(entries), size_bytes=state.size_bytes + size))
    return entries


def drop_segment(context: WriteContext, relation: Relation, entry: SegmentEntry) -> None:
    """Take a segment out of the manifest, and out of the file as soon as nobody holds it."""
    writer, line = context.writer, context.scope.line
    drop_entry(writer, relation.table, line, entry.segment)
    writer.put(TRASH, _SEGMENT.pack(entry.segment), b"")
    state = load_state(writer, relation.table, line)
    put_state(writer, relation.table, line, state.changed(segments=state.segments - 1, size_bytes=state.size_bytes - entry.size_bytes))


def collect(writer: Writer) -> int:
    """Free the extents of dropped segments that no reader holds; how many segments."""
    dropped = [_SEGMENT.unpack(key)[0] for key, _ in writer.scan(TRASH)]
    if not dropped:
        return 0
    # The locks must outlast the commit: a reader that asks in between is refused and copies.
    stack = ExitStack()
    free = stack.enter_context(writer.leases.collecting(dropped))
    writer.on_commit(stack.close)
    writer.on_abort(stack.close)
    for segment in free:
        drop_extents(writer, segment)
        writer.delete(TRASH, _SEGMENT.pack(segment))
    return len(free)


def _is_due(context: ReadContext, relation: Relation) -> bool:
    """Whether there is a merge to make or a segment to free."""
    state = load_state(context.reader, relation.table, context.scope.line)
    entries = list_entries(context.reader, relation.table, context.scope.line)
    return bool(plan_merges(state, entries, lambda: 0).merges) or context.reader.first(TRASH) is not None


def _queues(entries: Sequence[SegmentEntry], inputs: Sequence[int]) -> list[list[SegmentEntry]]:
    """The segments left of each input run, in order; inputs used up are left out."""
    queues = [sorted((entry for entry in entries if entry.run == number), key=SegmentEntry.order) for number in inputs]
    return [queue for queue in queues if queue]


def _take(queues: Sequence[Sequence[SegmentEntry]], open_entry: Callable[[SegmentEntry], Block]) -> list[tuple[SegmentEntry, Block, int]]:
    """(entry, block, row behind the last one taken) of each segment that a step takes rows from.

    Rows of one (key, time) are taken together, also from the segments behind: what is left never ties with what has moved.
    """
    first = [open_entry(queue[0]) for queue in queues]
    cut = plan_cut(first, [len(queue) > 1 for queue in queues])
    takes = []
    for queue, block in zip(queues, first, strict=True):
        for entry in queue:
            block = block if entry is queue[0] else open_entry(entry)
            stop = block.content.rows if cut is None else _row_after(block, *cut)
            if stop > block.start:
                takes.append((entry, block, stop))
            if stop < block.content.rows:
                break
    return takes


def _move_start(context: WriteContext, relation: Relation, entry: SegmentEntry, stop: int) -> None:
    if stop == entry.rows:
        drop_segment(context, relation, entry)
    elif stop > entry.start_row:
        put_entry(context.writer, relation.table, context.scope.line, replace(entry, start_row=stop))


def _key_at(block: Block, row: int) -> bytes:
    return block.keys.encoded_at(int(block.key_of(np.array([row]))[0]))


def _row_after(block: Block, key: bytes, time: int) -> int:
    """First row whose (key, time) is greater."""
    position = block.keys.lower_bound(key)
    if position == len(block.keys):
        return block.content.rows
    first = int(block.offsets[position])
    if block.keys.encoded_at(position) != key:
        return first
    last = int(block.offsets[position + 1])
    return first + int(np.searchsorted(block.content.time[first:last], time, "right"))


def _merge_rows(relation: Relation, slices: Sequence[Slice], droppable: "Droppable") -> tuple[Rows, Int64]:
    """The rows of all slices in the order of segments, and for each the sequence that deleted it."""
    spans = [np.arange(first, last) for _, first, last in slices]
    blocks = [block for block, _, _ in slices]
    keys = merge_keys([block.keys for block in blocks])
    pairs = list(zip(blocks, spans, strict=True))
    codes = np.concatenate([places_in(keys, block.keys)[block.key_of(span)] for block, span in pairs]).astype(np.int32)
    time = np.concatenate([block.content.time[span] for block, span in pairs])
    created = np.concatenate([block.created_of(span) for block, span in pairs])
    seq = np.concatenate([block.seq_of(span) for block, span in pairs])
    deleted = np.concatenate([block.deleted_seq()[span] for block, span in pairs])
    # Ties of (key, time, created) are settled by seq, then by place: stable sorting by seq first makes it so.
    by_seq = np.argsort(seq, kind="stable")
    by_seq = by_seq[~droppable(time[by_seq], seq[by_seq], deleted[by_seq])]
    order, offsets = order_rows(codes[by_seq], len(keys), time[by_seq], created[by_seq])
    places = by_seq[order]
    used = np.flatnonzero(np.diff(offsets))
    columns = [
        pa.chunked_array([block.column(number).slice(first, last - first) for block, first, last in slices])
        for number in range(len(relation.layout.features))
    ]
    rows = Rows(
        keys.take(used),
        np.append(offsets[used], len(places)),
        time[places],
        *_constant_or_all(created[places]),
        *_constant_or_all(seq[places]),
        places.astype(np.uint32),
        columns,
    )
    return rows, deleted[places]


def _constant_or_all(clock: Int64) -> tuple[Int64 | None, int]:
    """(None, value) where one value serves all rows."""
    if clock.size and (clock == clock[0]).all():
        return None, int(clock[0])
    return clock, 0


Mask = NDArray[np.bool_]
Droppable = Callable[[Int64, Int64, Int64], Mask]


def horizon_of(relation: Relation, now_us: int) -> int | None:
    """Event times before this have outlived the retention."""
    if relation.layout.retention_ns is None:
        return None
    now_ns = now_us * 1000 - relation.layout.retention_ns
    return now_ns if relation.layout.time_unit == "ns" else now_ns // 1000


def droppable_rows(context: ReadContext, relation: Relation, now_us: int, spans: Spans | None) -> Droppable:
    """Which rows may leave the file: the erased ones, those that no retained version sees, and those deleted and expired that neither a
    snapshot nor a branch sees.
    """
    horizon = horizon_of(relation, now_us)
    named = set[int]()
    if horizon is not None:
        named = {ref.seq for ref in tags(context.reader).values()} | {seq for seq, _ in forks(context.reader, context.scope.line)}

    def droppable(time: Int64, seq: Int64, deleted: Int64) -> Mask:
        gone: Mask = deleted == ERASED
        if spans is not None:
            gone |= spans.unseen(seq, deleted)
        if horizon is not None:
            expired: Mask = (time < horizon) & (deleted != LIVE)
            for bound in named:
                expired &= ~((seq <= bound) & (deleted > bound))
            gone |= expired
        return gone

    return droppable

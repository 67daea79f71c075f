"""Rewriting: one segment written anew in its place, without the rows that may leave the file, or in another tier.

Which segments are worth it: those that hold erased rows, or whose rows may go to more than a small part.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from mlstore.engine import limits
from mlstore.engine.catalog import Relation, load_catalog
from mlstore.engine.history.block import ERASED, Block
from mlstore.engine.history.runs import Placement
from mlstore.engine.history.segments import SegmentContent, find_entry, list_deletes, list_entries
from mlstore.engine.retained import Spans, load_spans
from mlstore.engine.session import ReadContext, Session, WriteContext
from mlstore.engine.versions import LIVE, all_scopes, has_line, line_scope
from mlstore.engine.windows.tilekeeping import following
from mlstore.engine.writing import upkeep
from mlstore.format.manifest import SegmentEntry
from mlstore.storage.transaction import Reader

Context = TypeVar("Context", bound=ReadContext)


@dataclass(frozen=True, slots=True)
class Wasteful:
    """A segment worth writing anew: where it lies, and whose definitions tell its rows."""

    line: int
    table: int
    segment: int


def rewrite_segment(context: WriteContext, relation: Relation, entry: SegmentEntry, tier: str) -> None:
    """Write a segment of the context's line anew."""
    deletes = list_deletes(context.writer, relation.table, context.scope.line).get(entry.segment)
    block = upkeep.open_block(context.writer, relation, entry, deletes)
    placement = Placement(entry.run, entry.level, tier=tier, place=entry.place)
    with following(context, relation):
        upkeep.rewrite(context, relation, [(block, entry.start_row, entry.rows)], placement)
        upkeep.drop_segment(context, relation, entry)


def rewrite_wasteful(session: Session) -> int:
    """Write anew, in transactions of bounded size, every segment of every line that is worth it; how many."""
    with session.reading() as context:
        waiting = list(_wasteful(context, session.clock_us()))
    rewritten = 0
    while waiting:
        with session.writing() as writing:
            while waiting and writing.writer.dirty_bytes < limits.STAGE_BYTES:
                rewritten += _rewrite_again(writing, waiting.pop())
            upkeep.collect(writing.writer)
    return rewritten


def each_line(context: Context) -> Iterator[Context]:
    """The same transaction at the end of every line of the file, with the definitions of that line."""
    for scope in all_scopes(context.reader):
        yield replace(context, scope=scope, catalog=load_catalog(context.reader, scope))


def at_line(context: Context, line: int) -> Context:
    """The same transaction at the end of one line."""
    scope = line_scope(context.reader, line)
    return replace(context, scope=scope, catalog=load_catalog(context.reader, scope))


def count_gone(
    reader: Reader, relation: Relation, line: int, droppable: upkeep.Droppable, spans: Spans | None
) -> Iterator[tuple[SegmentEntry, int]]:
    """The segments of a table on a line that may hold rows which may go, and how many do. Of a segment only the clocks are read."""
    deletes = list_deletes(reader, relation.table, line)
    newest = LIVE if spans is None else spans.spans[-1][1] if spans.spans else -1
    for entry in list_entries(reader, relation.table, line):
        is_behind = entry.max_seq > newest
        if entry.segment not in deletes and not is_behind:
            continue
        block = Block(relation, SegmentContent.begin(reader, entry), bound=LIVE, deletes=deletes.get(entry.segment), segment=entry.segment)
        rows = np.arange(entry.rows) if is_behind else deletes[entry.segment][0]
        rows = rows[rows >= entry.start_row]
        yield entry, int(np.count_nonzero(droppable(block.content.time[rows], block.seq_of(rows), block.deleted_seq()[rows])))


def _wasteful(context: ReadContext, now_us: int) -> Iterator[Wasteful]:
    for scope in all_scopes(context.reader):
        place = context.at(scope)
        spans = load_spans(context.reader, scope.line)
        for relation in place.catalog.stores():
            droppable = upkeep.droppable_rows(place, relation, now_us, spans)
            held = list_deletes(context.reader, relation.table, scope.line)
            erased = {segment for segment, (_, seqs) in held.items() if np.any(seqs == ERASED)}
            for entry, gone in count_gone(context.reader, relation, scope.line, droppable, spans):
                # An erased row goes whatever it costs, also one that has moved on and left its bytes here.
                if entry.segment in erased or gone * limits.WASTE >= max(1, entry.live_rows):
                    yield Wasteful(scope.line, relation.table, entry.segment)


def _rewrite_again(context: WriteContext, wasteful: Wasteful) -> bool:
    """Rewrite a segment, unless a merge took it, or a sweep its line, since it was looked at."""
    if not has_line(context.reader, wasteful.line):
        return False
    place = at_line(context, wasteful.line)
    relation = place.catalog.store(wasteful.table)
    entry = find_entry(context.reader, relation.table, wasteful.line, wasteful.segment)
    if entry is None:
        return False
    rewrite_segment(place, relation, entry, entry.tier)
    return True

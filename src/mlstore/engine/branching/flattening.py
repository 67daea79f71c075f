"""Flattening: a line takes over what it sees of its nearest ancestor, if no branch stands there, so that who reads it need not look there.

Rollbacks and fast-forwards leave such ancestors behind, one upon the other.
Rows keep their clocks and the sequence that deleted them, so every version of the line shows what it showed. The ancestor stays as it
is, for its own versions and for others that see it; commits and definitions are looked up there still.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mlstore.engine import limits
from mlstore.engine.catalog import Relation, load_catalog
from mlstore.engine.history import online
from mlstore.engine.history.block import ERASED, Block
from mlstore.engine.history.offline import History, load_state, pack_owner, put_state
from mlstore.engine.history.runs import Placement, level_of
from mlstore.engine.history.segments import list_deletes, list_entries
from mlstore.engine.history.shadows import SHADOWS, Shadows, load_shadows, locate, match, put_shadows
from mlstore.engine.history.tail import TailContent, load_tail
from mlstore.engine.session import WriteContext
from mlstore.engine.versions import FORK_KEY, FORKS, LIVE, Scope, forks, line_scope, named, put_line, take_numbers
from mlstore.engine.writing import upkeep
from mlstore.storage.keyspace import prefix_end


def flatten(context: WriteContext, most_layers: int) -> int:
    """Let the line of the context see no more lines than this, as far as nobody stands on the others and they are small; how many go."""
    taken = 0
    while len(context.scope.ancestry) >= most_layers and _is_left(context):
        context = _take_over(context)
        taken += 1
    return taken


def _is_left(context: WriteContext) -> bool:
    """Whether no branch stands on the nearest ancestor, and to take it over is the work of one transaction."""
    line, fork = context.scope.ancestry[0]
    if line in {ref.line for _, ref in named(context.reader, "branch")}:
        return False
    rows = 0
    for relation in context.catalog.stores():
        rows += load_state(context.reader, relation.table, line).tail_rows
        rows += sum(entry.live_rows for entry in list_entries(context.reader, relation.table, line) if entry.min_seq <= fork)
    return rows <= limits.TAKEN_ROWS


def _take_over(context: WriteContext) -> WriteContext:
    """The context as it is then."""
    writer, scope = context.writer, context.scope
    for relation in context.catalog.stores():
        if load_state(writer, relation.table, scope.ancestry[0][0]).tick:
            _take_table(context, relation)
    line, fork = scope.ancestry[0]
    for watcher in {scope.line, *(other for _, other in forks(writer, scope.line))}:
        other = line_scope(writer, watcher)
        put_line(writer, replace(other, ancestry=tuple(pair for pair in other.ancestry if pair != (line, fork))))
        writer.delete(FORKS, FORK_KEY.pack(line, fork, watcher))
    online.hand_down(writer, line, fork)
    take_numbers(writer, "catalog")  # handles look again where their rows lie
    scope = line_scope(writer, scope.line)
    return replace(context, scope=scope, catalog=load_catalog(writer, scope))


def _take_table(context: WriteContext, relation: Relation) -> None:
    writer, line, scope = context.writer, context.scope.line, context.scope
    (parent, fork), *rest = scope.ancestry
    kind = relation.key_spec.kind
    cast = load_shadows(writer, relation.table, parent, kind)
    cast = None if cast is None else cast.until(fork)
    added = 0 if cast is None else -_count_hidden(context, relation, Scope(*rest[0], tuple(rest[1:])), cast)
    if relation.layout.is_online:
        online.take_over(writer, relation, scope)
    own = load_shadows(writer, relation.table, line, kind)
    slices, deleted, times = list[upkeep.Slice](), 0, list[int]()
    for block in _blocks(context, relation, parent):
        marks = block.deleted_seq()
        marks[(marks > fork) & (marks != LIVE)] = LIVE
        marks[block.seq_of(np.arange(block.content.rows)) > fork] = ERASED
        seen = (marks == LIVE) & (np.arange(block.content.rows) >= block.start)
        added += int(np.count_nonzero(seen))
        times += [int(end) for end in (block.content.time[seen].min(), block.content.time[seen].max())] if seen.any() else []
        if own is not None:
            rows, which = match(block, own)
            marks[rows[seen[rows]]] = own.deleted[which[seen[rows]]]
        gone = np.flatnonzero(marks != LIVE)
        deleted += int(np.count_nonzero(marks[gone] != ERASED))
        slices.append((block.marked((gone, marks[gone]) if gone.size else None), block.start, block.content.rows))
    if slices:
        rows_taken = sum(stop - first for _, first, stop in slices)
        upkeep.rewrite(context, relation, slices, Placement(take_numbers(writer, "run"), level_of(rows_taken)))
    if not rest:
        prefix = pack_owner(relation.table, line)
        writer.delete_range(SHADOWS, prefix, prefix_end(prefix))
    elif cast is not None:
        put_shadows(writer, relation.table, line, cast)
        deleted += len(cast.codes)
    state = load_state(writer, relation.table, line)
    ends = [*times, *(end for end in (state.min_time, state.max_time) if end is not None)]
    span = {"min_time": min(ends), "max_time": max(ends)} if ends else {}
    put_state(writer, relation.table, line, state.changed(rows=state.rows + added, deleted_rows=state.deleted_rows + deleted, **span))


def _blocks(context: WriteContext, relation: Relation, line: int) -> Iterator[Block]:
    """All that a line holds, in the order in which ties are settled."""
    deletes = list_deletes(context.writer, relation.table, line)
    for entry in list_entries(context.writer, relation.table, line):
        yield upkeep.open_block(context.writer, relation, entry, deletes.get(entry.segment))
    content: TailContent | None = load_tail(context.writer, relation.whole, line)
    if content is not None:
        yield Block(relation.whole, content, bound=LIVE, deletes=content.deletes)


def _count_hidden(context: WriteContext, relation: Relation, above: Scope, cast: Shadows) -> int:
    """How many rows of the lines above an ancestor has hidden."""
    count = 0
    for block in History(context.reader, relation, above, context.shelves).blocks(keys=cast.keys):
        rows = locate(block, cast)
        count += len(rows) if block.visible is None else int(np.count_nonzero(block.visible[rows]))
    return count

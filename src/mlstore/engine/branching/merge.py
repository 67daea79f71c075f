"""The merge journey: what another version has changed since both were one comes here, in one commit with two parents.

Undoing a commit is the same journey: from the commit, as the base, to its parent.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from mlstore.engine import limits
from mlstore.engine.branching.ancestry import merge_base
from mlstore.engine.branching.branches import move_branch
from mlstore.engine.branching.changed import compare
from mlstore.engine.branching.cutting import apply_cuts, find_history
from mlstore.engine.branching.diff import contents, match_difference
from mlstore.engine.branching.rowsets import RowSet, Shape, common_shape, shape_of
from mlstore.engine.branching.schemamerge import DefinitionConflict, SchemaPlan, plan_schema_merge
from mlstore.engine.branching.threeway import (
    OURS,
    Blend,
    Conflict,
    Given,
    MergePlan,
    Resolver,
    Side,
    Strategy,
    changes,
    conflict_cells,
    plan_merge,
)
from mlstore.engine.catalog import Relation, load_catalog
from mlstore.engine.history import online
from mlstore.engine.history.offline import History
from mlstore.engine.history.picking import Pick, pick_ranges
from mlstore.engine.session import ReadContext, Session, WriteContext
from mlstore.engine.versions import Scope, Version, newest, resolve, scope_of, take_numbers
from mlstore.engine.windows.tilekeeping import following, keeps_tiles
from mlstore.engine.writing import upkeep
from mlstore.engine.writing.ingest import write_here
from mlstore.engine.writing.registration import check_readers, check_references, check_types, register
from mlstore.engine.writing.removal import hide
from mlstore.errors import MergeConflictError, UsageError
from mlstore.format.manifest import Commit, TableChange
from mlstore.schema.conform import Conformed

CONFLICTS = pa.schema(
    [("table", pa.string()), ("key", pa.string()), ("event_time", pa.timestamp("ns", "UTC")), ("created", pa.timestamp("ns", "UTC")),
     ("column", pa.string()), ("base", pa.string()), ("ours", pa.string()), ("theirs", pa.string())]
)  # fmt: skip


def merge(session: Session, version: Version, strategy: Strategy, *, author: str, message: str, fast_forward: bool) -> Commit:
    """Bring in what another version has changed; see Store.merge."""
    resolver = Resolver(strategy)
    with session.writing() as context:
        reader = context.reader
        theirs = resolve(reader, context.scope, version)
        ours, place = newest(reader, context.scope), scope_of(reader, theirs)
        base = merge_base(reader, context.scope, place)
        if ours is not None and base is not None and base.id == theirs.id:
            return ours
        is_ahead = ours is None or (base is not None and base.id == ours.id)
        if is_ahead and fast_forward and len(place.ancestry) + 2 <= limits.MAX_LAYERS and not keeps_tiles(context):
            move_branch(context, session.branch, theirs, "merge", author=author, message=message)
            return theirs
        start = scope_of(reader, base) if base is not None else Scope(context.scope.line, 0)
        told, owed = _bring(context, context.at(start), context.at(place), resolver)
        commit = context.commit(*told, author=author, message=message or f"merge {version_name(version, theirs)}", merged=theirs)
    _pay(session, owed)
    return commit


def revert(session: Session, version: Version, strategy: Strategy, *, author: str, message: str) -> Commit:
    """Undo one commit on top of the newest; see Store.revert."""
    resolver = Resolver(strategy)
    with session.writing() as context:
        commit = resolve(context.reader, context.scope, version)
        if not context.scope.holds(commit.line, commit.seq):
            raise UsageError(f"commit {commit.id[:12]} is not part of this branch", hint="history() lists what is")
        parent = resolve(context.reader, context.scope, commit.parents[0]) if commit.parents else None
        before = scope_of(context.reader, parent) if parent is not None else Scope(commit.line, 0)
        told, owed = _bring(context, context.at(scope_of(context.reader, commit)), context.at(before), resolver)
        done = context.commit(*told, author=author, message=message or f"revert {commit.id[:12]} {commit.message}".rstrip())
    _pay(session, owed)
    return done


def version_name(version: object, commit: Commit) -> str:
    """How a merged version is told of."""
    return version if isinstance(version, str) else commit.id[:12]


@dataclass(frozen=True, slots=True)
class _TableMerge:
    """What is to be done in one table of ours, in rows of one shape."""

    relation: Relation
    shape: Shape
    plan: MergePlan
    rows: Conformed | None  # rows that only they have, where ours has not changed: taken as they are


Owed = list[tuple[Relation, int]]


def _bring(context: WriteContext, base: ReadContext, theirs: ReadContext, resolver: Resolver) -> tuple[list[TableChange], Owed]:
    """Do on our side what theirs did since the base; nothing at all if there are conflicts."""
    schema = plan_schema_merge(base.catalog, context.catalog, theirs.catalog, resolver.whole())
    if schema.conflicts:
        raise _refusal([], schema.conflicts)
    for entry, _ in schema.steps:
        check_types(context.catalog, entry)
    regained = list(_regained(context, schema))
    told = [register(context, entry, change) for entry, change in schema.steps]
    context = replace(context, catalog=load_catalog(context.reader, context.scope))
    if not schema.withdrawn:
        check_readers(context.catalog)
    merges, conflicts = list[_TableMerge](), list[tuple[_TableMerge, Conflict]]()
    for relation in theirs.catalog.relations():
        made = _plan_table(context, base, theirs, relation, resolver)
        if made is not None:
            merges.append(made)
            conflicts += [(made, conflict) for conflict in made.plan.conflicts]
    if conflicts:
        raise _refusal(conflicts, [])
    owed: Owed = []
    for made in merges:
        change = _apply(context, made)
        told.append(change)
        owed.append((made.relation, upkeep.run(context, made.relation, change.rows)))
    cuts, standing = apply_cuts(context, base, schema, resolver.whole())
    if standing:
        raise _refusal([], standing)
    if cuts:
        catalog = load_catalog(context.reader, context.scope)
        check_readers(catalog)
        check_references(catalog)
    for table in regained:
        relation = context.catalog.store(table)
        if relation.layout.is_online:
            online.refresh_all(context.writer, context.history(relation))
    return [*told, *cuts], owed


def _regained(context: WriteContext, schema: SchemaPlan) -> Iterator[int]:
    """The tables in which a feature comes back: rows may hold values of it that their online rows have lost meanwhile."""
    for entry, change in schema.steps:
        if change.action == "evolve" and entry.table in {relation.table for relation in context.catalog.relations()}:
            relation = context.catalog.store(entry.table)
            if (set(relation.whole.places) - set(relation.places)) & set(entry.numbers):
                yield entry.table


def _plan_table(
    context: WriteContext, base: ReadContext, theirs: ReadContext, relation: Relation, resolver: Resolver
) -> _TableMerge | None:
    ours = _find(context, relation.label)
    was, now = find_history(base, relation), theirs.history(relation)
    their_difference = compare(was, now)
    if not their_difference.removed and not their_difference.added:
        return None
    if ours is None and was is not None:
        if resolver.whole() == OURS:
            return None
        raise _refusal([], [DefinitionConflict(relation.label, "definition", relation.entry.kind, "taken back", "rows since")])
    if ours is None or (ours.table != relation.table and common_shape(ours, relation) is None):
        raise UsageError(f"{relation.label} is another kind of table on the other side", hint="apply it here as a new version, and write")
    shape, mine = shape_of(ours), context.history(ours)
    if ours.table == relation.table:
        # Every side is read as ours is: what one of them has taken back is still told of its rows.
        relation = ours.beside(relation, *(() if was is None else (was.relation,)))
        was, now, mine = None if was is None else was.read_as(relation), now.read_as(relation), mine.read_as(relation)
        their_difference = compare(was, now)
    our_difference = compare(was, mine)
    old = None if was is None else was.relation
    if not their_difference.removed and not our_difference.removed and not our_difference.added:
        added = RowSet(shape, relation, their_difference.added)
        return _TableMerge(ours, shape, MergePlan(), shape.conform(added.keys, added.time, added.created, added.columns))
    sides: list[Side] = []
    for difference, new in ((our_difference, mine.relation), (their_difference, relation)):
        removed, added, matched = match_difference(shape, old, new, difference)
        sides.append(changes(shape.layout, matched, contents(removed), contents(added)))
    return _TableMerge(ours, shape, plan_merge(ours.label, shape.layout, shape.plan, sides[0], sides[1], resolver), None)


def _find(context: ReadContext, label: str) -> Relation | None:
    return next((relation for relation in context.catalog.relations() if relation.label == label), None)


def _apply(context: WriteContext, made: _TableMerge) -> TableChange:
    """Hide and write what the plan says, online rows included."""
    relation, shape, plan = made.relation, made.shape, made.plan
    seq = take_numbers(context.writer, "seq")
    hidden = 0
    if plan.hide:
        history = context.history(relation)
        with following(context, relation) as keeper:
            gone = hide(context, history, _find_rows(history, shape, plan.hide), seq)
            keeper.hidden(gone.rows, gone.keys)
        hidden = gone.rows
        if relation.layout.is_online and gone.rows:
            online.refresh(context.writer, context.history(relation), gone.keys)
    written, last, digest = 0, seq, hashlib.blake2b(digest_size=16)
    for key, row in plan.hide:
        digest.update(key + row)
    put = [made.rows] if made.rows is not None else []
    if plan.put:
        put.append(shape.conformed([key for key, _ in plan.put], [row for _, row in plan.put]))
    if plan.blend:
        put.append(_blended(shape, plan.blend))
    for rows in put:
        change = write_here(context, relation, rows)
        written, last = written + change.rows, change.last_seq
        digest.update(change.digest)
    return TableChange("merge", relation.label, relation.table, hidden + written, seq, last, digest.digest())


def _find_rows(history: History, shape: Shape, wanted: Sequence[tuple[bytes, bytes]]) -> list[Pick]:
    """The rows of a table that have this key and content, each as often as asked for."""
    missing = Counter(wanted)
    keys, codes = shape.keys([key for key, _ in wanted])
    times = shape.plan.decode([row for _, row in wanted], []).event_time
    picks = []
    for block, rows in pick_ranges(history.blocks(keys=keys), keys, codes, times, times):
        seen = rows if block.visible is None else rows[block.visible[rows]]
        if not seen.size:
            continue
        found = RowSet(shape, history.relation, [(block, seen)])
        taken = []
        for place, name in enumerate(zip(found.keys, found.packed, strict=True)):
            if missing[name] > 0:
                missing[name] -= 1
                taken.append(found.origin[place])
        if taken:
            picks.append((block, np.sort(seen[np.array(taken)])))
    return picks


def _blended(shape: Shape, blends: Sequence[Blend]) -> Conformed:
    """Rows made of cells of both sides; they became known when the later of the two did."""
    ours, theirs = (shape.plan.decode(rows) for rows in ([blend.ours for blend in blends], [blend.theirs for blend in blends]))
    count, columns = len(blends), []
    for number, (_, dtype) in enumerate(shape.features):
        given = [blend.choices[number] for blend in blends]
        values = pa.array([choice.value if isinstance(choice, Given) else None for choice in given], dtype.arrow)
        index = [place + count * (2 if isinstance(choice, Given) else 0 if choice == OURS else 1) for place, choice in enumerate(given)]
        stacked = pa.chunked_array([ours.columns[number], theirs.columns[number], values], dtype.arrow)
        columns.append(pa.concat_arrays(stacked.take(pa.array(index, pa.int64())).chunks))
    created = np.maximum(ours.created, theirs.created)
    return shape.conform([blend.key for blend in blends], theirs.event_time, created, columns)


def _refusal(conflicts: Sequence[tuple[_TableMerge, Conflict]], definitions: Sequence[DefinitionConflict]) -> MergeConflictError:
    rows = []
    for made, conflict in conflicts:
        key, time, created, *told = next(conflict_cells([conflict]))
        scale = 1 if made.shape.layout.time_unit == "ns" else 1000
        shown = ", ".join(
            f"{field.name}={column[0].as_py()}" for field, column in zip(made.shape.layout.keys, made.shape.key_columns([key]), strict=True)
        )
        rows.append(
            [made.relation.label, shown, *(None if abs(tick) >= 2**63 // scale else tick * scale for tick in (time, created)), *told]
        )
    rows += [[each.label, "", None, None, each.attribute, *map(str, (each.base, each.ours, each.theirs))] for each in definitions]
    table = pa.Table.from_arrays([pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), CONFLICTS, strict=True)],
                                 schema=CONFLICTS)  # fmt: skip
    first = f"{rows[0][0]}{rows[0][1] and f' {rows[0][1]}'}: {rows[0][4] or 'the row'}"
    return MergeConflictError(
        f"{len(rows)} conflict{'s' if len(rows) > 1 else ''}, the first in {first}; nothing was changed",
        hint='the error\'s `conflicts` lists them; decide with strategy="ours", "theirs" or {column: function}',
        conflicts=table,
    )


def _pay(session: Session, owed: Owed) -> None:
    for relation, rows in owed:
        upkeep.pay(session, relation, rows)

"""The forget journey: every row of some keys erased from every version, line, tail and online row.

What is about an entity are its views, and the events its window views are worked out from, whose keys begin with the entity's.

One transaction marks the rows as erased, so that from its commit on no version sees them; then the segments that hold them are written
anew, in transactions of bounded size. What a kill leaves undone, the next merge, `optimize` or `forget` does.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlstore.engine.catalog import Catalog, Relation, suggest
from mlstore.engine.history import online
from mlstore.engine.history.block import ERASED, Int64
from mlstore.engine.history.offline import History, load_state, put_state
from mlstore.engine.history.segments import list_deletes, list_entries, put_deletes
from mlstore.engine.history.shadows import SHADOWS
from mlstore.engine.history.tail import CLOCKS_BYTES, DELETED, TAIL, decode_clocks, tail_prefix
from mlstore.engine.keeping.compacting import CompactReport, compact
from mlstore.engine.keeping.rewriting import each_line, rewrite_wasteful
from mlstore.engine.session import ReadContext, Session, WriteContext
from mlstore.engine.versions import LIVE, Scope, all_scopes, take_numbers
from mlstore.engine.windows.prefixes import Prefixes
from mlstore.engine.windows.tilekeeping import following
from mlstore.engine.writing import upkeep
from mlstore.engine.writing.deleting import named_keys
from mlstore.errors import CorruptionError, InvalidDataError, SchemaMismatchError, UnknownNameError, UsageError
from mlstore.format.keys import Keys
from mlstore.format.manifest import Commit, SegmentEntry, TableChange
from mlstore.format.rows import peek
from mlstore.schema.entity import Entity
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.storage.keyspace import prefix_end
from mlstore.storage.transaction import Reader


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """What was erased: the commit that says so, and rows by view or table, all lines and deleted rows included.

    `segments_held`: segments out of every version that arrays of some process still show; they leave the file when those are gone.
    `compacted`: the sizes of the file, if it was compacted; if not, its free pages hold erased bytes still. `skipped`: views that only
    another branch knows, by a key that is another one there, so that these keys say nothing of them: forget from that branch, too.
    """

    commit: Commit
    rows: dict[str, int]
    segments_rewritten: int
    segments_held: int
    compacted: CompactReport | None
    skipped: tuple[str, ...] = ()


def forget(session: Session, what: Entity | Table | str, *, keys: Any, author: str, message: str, then_compact: bool) -> ForgetReport:
    """Erase all rows of these keys; see Store.forget."""
    erased: Counter[str] = Counter()
    with session.writing() as context:
        seq = take_numbers(context.writer, "seq")
        wanted, skipped = _wanted(context, what, keys)
        changes = []
        for relation, named in wanted:
            rows = _erase_everywhere(context, relation.table, named)
            erased[relation.label] += rows
            # No digest: a hash of few possible keys tells which they were.
            changes.append(TableChange("forget", relation.label, relation.table, rows, seq, seq, b""))
        commit = context.commit(*changes, author=author, message=message)
    rewritten = rewrite_wasteful(session)
    with session.reading() as fresh:
        _prove(fresh, wanted, commit)
        held = fresh.reader.count(upkeep.TRASH)
    return ForgetReport(commit, dict(erased), rewritten, held, compact(session) if then_compact else None, skipped)


@dataclass(frozen=True, slots=True)
class Holder:
    """What holds rows of the keys that are named, as `named` has them: its own, or those that its own keys begin with."""

    relation: Relation
    named: Relation


def _holders(catalog: Catalog, what: Entity | Table | str) -> list[Holder]:
    """All versions of all views of an entity and of the sources of its window views, or of a table."""
    if not isinstance(what, Entity | Table | str):
        raise UsageError(f"forget of {what!r:.60}", hint="give an entity or a table, or the name of one")
    name = what if isinstance(what, str) else what.name
    definitions = [(relation, relation.entry.definition) for relation in catalog.stores()]
    keyed = any(getattr(view, "entity_name", None) == name for _, view in definitions)
    if not isinstance(what, Table) and (catalog.find("entity", name) or keyed):
        views = [Holder(relation, relation) for relation, view in definitions if isinstance(view, FeatureView) and view.entity_name == name]
        over = [(view, view.window) for view in catalog.windows() if view.window is not None and view.window.view.entity_name == name]
        of_events = {inputs.source.table: Holder(inputs.source, view) for view, inputs in over}
        return list((of_events | {view.relation.table: view for view in views}).values())
    if not isinstance(what, Entity):
        found = [Holder(relation, relation) for relation, table in definitions if isinstance(table, Table) and table.name == name]
        if found:
            return found
    if any(relation.entry.name == name for relation in catalog.relations()):
        raise UsageError(f"{name!r} is a view: keys are forgotten in all views of an entity", hint="name the entity")
    known = [entry.name for entry in catalog.current() if entry.kind in ("entity", "table")]
    raise UnknownNameError(f"no entity or table {name!r}", hint=suggest(name, known))


def _wanted(context: WriteContext, what: Entity | Table | str, keys: Any) -> tuple[list[tuple[Relation, Keys]], tuple[str, ...]]:
    """The views or the table as they are known here, and those that only other lines know, with the keys to forget in each; and those of
    the latter that have another key.
    """
    here = {holder.relation.table: holder for holder in _holders(context.catalog, what)}
    found = dict(here)
    for place in each_line(context):
        with suppress(UnknownNameError):
            found = {holder.relation.table: holder for holder in _holders(place.catalog, what)} | found
    wanted, skipped = [], []
    for holder in found.values():
        try:
            named = named_keys(holder.named.layout, holder.named.key_spec, keys, doing="forget")
        except (SchemaMismatchError, InvalidDataError):
            if holder.relation.table in here or not here:
                raise
            skipped.append(holder.relation.label)
        else:
            wanted.append((holder.relation, _whole_keys(context, holder, named)))
    return wanted, tuple(sorted(skipped))


def _whole_keys(context: WriteContext, holder: Holder, named: Keys) -> Keys:
    """The keys of rows, on whatever line, that are the named ones or begin with them."""
    relation, entity = holder.relation, holder.named.key_spec
    if len(relation.key_spec.dtypes) == len(entity.dtypes) or not len(named):
        return named
    prefixes, found = Prefixes(relation.key_spec, entity, named), set[bytes]()
    low, high = named.encoded_at(0), prefix_end(named.encoded_at(len(named) - 1))
    for scope in all_scopes(context.reader):
        for entry in list_entries(context.reader, relation.table, scope.line):
            if entry.max_key < low or (high is not None and entry.min_key >= high):
                continue
            keys = upkeep.open_block(context.reader, relation, entry, None).content.keys
            for first, last in zip(*prefixes.locate(keys), strict=True):
                found.update(keys.slice(int(first), int(last)).encoded())
        place = tail_prefix(relation.table, scope.line)
        for key in named.encoded():
            records = context.reader.scan_prefix(TAIL, place + key)
            found.update(record[len(place) : -CLOCKS_BYTES] for record, _ in records)
    return Keys.from_encoded(sorted(found), relation.key_spec.kind)


def _erase_everywhere(context: WriteContext, table: int, keys: Keys) -> int:
    """Erase the rows of keys from every line; how many rows were there, deleted ones included."""
    if not len(keys):
        return 0
    holders = [(place, relation) for place in each_line(context) for relation in place.catalog.stores() if relation.table == table]
    # What each line adds to its ancestors is counted before any of it goes.
    added = [_count_added(place, relation, keys) for place, relation in holders]
    erased = 0
    for (place, relation), rows in zip(holders, added, strict=True):
        with following(place, relation) as keeper:
            erased += _erase(place, relation, keys, rows)
            keeper.erased(keys)
    return erased


def _count_added(context: WriteContext, relation: Relation, keys: Keys) -> int:
    """The rows of keys that a line adds to those of its ancestors; negative where it has deleted more of theirs."""
    scope = context.scope
    seen = _count_seen(context.history(relation), keys)
    if not scope.ancestry:
        return seen
    return seen - _count_seen(History(context.reader, relation, Scope(*scope.ancestry[0], scope.ancestry[1:]), context.shelves), keys)


def _count_seen(history: History, keys: Keys) -> int:
    seen = 0
    for block in history.blocks(keys=keys):
        found = block.keys.search(keys)
        for place in found[found >= 0].tolist():
            first, last = block.offsets[place], block.offsets[place + 1]
            seen += int(last - first if block.visible is None else np.count_nonzero(block.visible[first:last]))
    return seen


def _erase(context: WriteContext, relation: Relation, keys: Keys, added: int) -> int:
    """Erase the rows of keys from one line, to which it added so many; how many rows were there, deleted ones included."""
    writer, line = context.writer, context.scope.line
    in_segments = _mark(context, relation, keys)
    in_tail, tail_bytes = _cut_tail(context, relation, keys)
    owner = online.online_prefix(relation, line)
    writer.delete_many(online.ONLINE, [owner + key for key in keys.encoded()])
    for space in (online.KEPT, SHADOWS):
        for key in keys.encoded():
            writer.delete_range(space, owner + key, prefix_end(owner + key))
    if in_segments or in_tail or added:
        state = load_state(writer, relation.table, line)
        state = state.changed(rows=state.rows - added, deleted_rows=max(1, state.deleted_rows + added))
        state = state.changed(tail_rows=state.tail_rows - in_tail, tail_bytes=state.tail_bytes - tail_bytes)
        put_state(writer, relation.table, line, state)
    return in_segments + in_tail


def _mark(context: WriteContext, relation: Relation, keys: Keys) -> int:
    """Mark the rows in segments as erased: how many there were."""
    writer, line = context.writer, context.scope.line
    held = list_deletes(writer, relation.table, line)
    count = 0
    for entry, rows in _rows_of(writer, relation, line, keys):
        deleted = np.full(entry.rows, LIVE, np.int64)
        if entry.segment in held:
            deleted[held[entry.segment][0]] = held[entry.segment][1]
        # Rows before the start have moved on, and are counted where they are now; but their bytes are here.
        here = rows[rows >= entry.start_row]
        count += int(np.count_nonzero(deleted[here] != ERASED))
        deleted[rows] = ERASED
        marked = np.flatnonzero(deleted != LIVE)
        put_deletes(writer, relation.table, line, entry.segment, (marked, deleted[marked]))
    return count


def _cut_tail(context: WriteContext, relation: Relation, keys: Keys) -> tuple[int, int]:
    """Remove the rows in the tail: how many, and their bytes."""
    prefix = tail_prefix(relation.table, context.scope.line)
    records = [record for key in keys.encoded() for record in context.writer.scan_prefix(TAIL, prefix + key)]
    context.writer.delete_many(TAIL, [record for record, _ in records])
    return len(records), sum(len(value) - DELETED.size for _, value in records)


def _rows_of(reader: Reader, relation: Relation, line: int, keys: Keys) -> Iterator[tuple[SegmentEntry, Int64]]:
    """Where the rows of keys (sorted) lie in the segments of a line, those included that have moved to another segment."""
    first, last = keys.encoded_at(0), keys.encoded_at(len(keys) - 1)
    for entry in list_entries(reader, relation.table, line):
        if entry.min_key > last or entry.max_key < first:
            continue
        content = upkeep.open_block(reader, relation, entry, None).content
        found = content.keys.search(keys)
        found = found[found >= 0]
        if found.size:
            yield entry, np.concatenate([np.arange(content.offsets[place], content.offsets[place + 1]) for place in found])


def _prove(context: ReadContext, wanted: list[tuple[Relation, Keys]], commit: Commit) -> None:
    """Look for the keys wherever rows are; what was written after the forgetting does not count."""
    left = 0
    for relation, keys in wanted:
        for scope in all_scopes(context.reader) if len(keys) else ():
            left += _count_left(context.reader, relation, scope.line, keys, commit.seq)
    if left:
        raise CorruptionError(f"{left} rows of forgotten keys are in the file still", hint="this is a fault of mlstore: please report it")


def _count_left(reader: Reader, relation: Relation, line: int, keys: Keys, seq: int) -> int:
    left = 0
    for entry, rows in _rows_of(reader, relation, line, keys):
        block = upkeep.open_block(reader, relation, entry, None)
        left += int(np.count_nonzero(block.seq_of(rows) <= seq))
    owner = online.online_prefix(relation, line)
    for key in keys.encoded():
        for space in (TAIL, SHADOWS):
            clocks = b"".join(record[-CLOCKS_BYTES:] for record, _ in reader.scan_prefix(space, owner + key))
            left += int(np.count_nonzero(decode_clocks(clocks)[2] <= seq))
        held = [reader.get(online.ONLINE, owner + key), *(row for _, row in reader.scan_prefix(online.KEPT, owner + key))]
        left += sum(peek(row)[3] <= seq for row in held if row)
    return left

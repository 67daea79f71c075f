"""Inspection: what a store holds, and proof that it is whole."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mlstore.engine import audit
from mlstore.engine.catalog import Relation
from mlstore.engine.history import extents, online
from mlstore.engine.history.offline import History, load_state
from mlstore.engine.history.segments import list_entries, load_extents, read_header
from mlstore.engine.history.tail import TAIL, tail_prefix
from mlstore.engine.keeping import indexes, proving, retaining, sealing
from mlstore.engine.keeping.mirroring import left_extents
from mlstore.engine.ledger import count_commits, every_body
from mlstore.engine.session import ReadContext
from mlstore.engine.versions import Scope, commits, has_line, is_indexed, line_scope, named, newest, tags
from mlstore.engine.windows.tilechecking import find_broken_tiles
from mlstore.errors import CorruptionError, UsageError
from mlstore.format.keys import Keys
from mlstore.format.manifest import Commit, Ref, SegmentEntry, decode_commit
from mlstore.format.segment import buffer_refs, is_intact
from mlstore.storage.keyspace import prefix_end

ONLINE_CHUNK = 1 << 14


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` looked at (how many of each) and what it found wrong."""

    checks: dict[str, int]
    problems: tuple[str, ...]

    def __str__(self) -> str:
        counted = ", ".join(f"{count} {name}" for name, count in self.checks.items())
        return "\n".join([f"checked {counted}", *(self.problems or ("no problems",))])


def describe(context: ReadContext) -> dict[str, Any]:
    """Sizes and counts of the whole store; see Store.info."""
    environment = context.reader.environment
    commit = newest(context.reader, context.scope)
    return {
        "path": environment.path,
        "size_bytes": environment.size_bytes,
        "shared_bytes": sum(share.size * share.aliases for _, _, share in extents.shares(context.reader)),
        "durability": environment.durability,
        "read_only": environment.is_read_only,
        "version": None if commit is None else commit.id,
        "commits": count_commits(context.reader),
        "branches": {name: _head_id(context, ref) for name, ref in named(context.reader, "branch")},
        "snapshots": {name: ref.commit for name, ref in tags(context.reader).items()},
        "tables": [_describe_table(context, relation) for relation in context.catalog.relations()],
        "environment": environment.info(),
    }


def verify(context: ReadContext, *, trusted_head: str | Commit | None = None) -> VerifyReport:
    """Check pages, commits, the audit, manifests, every buffer's checksum, and that online rows equal the history, on every branch."""
    checks: Counter[str] = Counter()
    problems = list(context.reader.environment.verify_pages())
    checks["file"] += 1
    seen = set[object]()  # commits, and (table, line), looked at already
    for place in _places(context):
        problems += _verify_commits(place, checks, seen)
        for relation in place.catalog.stores():
            try:
                problems += _verify_table(place, relation, checks, seen)
            except (CorruptionError, UsageError) as error:  # a lack of memory or of rights says nothing of the file
                problems.append(f"{relation.label}: {error.message}")
        for relation in place.catalog.windows():
            tiles, broken = find_broken_tiles(place, relation)
            checks["tiles"] += tiles
            if broken:
                problems.append(f"{relation.label}: {broken} tiles are not what the events make; store.backfill() makes them anew")
    problems += _verify_snapshots(context, checks)
    problems += retaining.find_lost(context.reader)
    problems += extents.find_miscounts(context.reader, left_extents(context.reader))
    problems += indexes.find_index_faults(context.reader)
    problems += audit.find_breaks(context.reader, checks)
    if trusted_head is not None:
        problems += audit.prove(context, trusted_head)
        problems += sealing.find_broken_seals(context, checks)
    return VerifyReport(dict(checks), tuple(problems))


def _places(context: ReadContext) -> list[ReadContext]:
    """Where the handle stands, and every other branch; one on a line that is not there is a fault of the indexes."""
    reader = context.reader
    others = [line_scope(reader, ref.line) for _, ref in named(reader, "branch") if has_line(reader, ref.line)]
    return [context, *(context.at(scope) for scope in others if scope != context.scope)]


def _head_id(context: ReadContext, ref: Ref) -> str | None:
    commit = newest(context.reader, line_scope(context.reader, ref.line))
    return None if commit is None else commit.id


def _describe_table(context: ReadContext, relation: Relation) -> dict[str, Any]:
    history = context.history(relation)
    state, entries = history.state(), [entry for entry, _ in history.entries()]
    clock = pa.timestamp(relation.layout.time_unit, "UTC")
    times = [None if time is None else pa.scalar(time, clock).as_py() for time in (state.min_time, state.max_time)]
    tiers = Counter(entry.tier for entry in entries)
    return {
        "name": relation.label,
        "kind": relation.entry.kind,
        "version": relation.entry.version,
        "rows": state.rows,
        "deleted_rows": state.deleted_rows,
        "late_rows": state.late_rows,
        "tail_rows": state.tail_rows,
        "segments": state.segments,
        "runs": len({entry.run for entry in entries}),
        "tiers": dict(tiers),
        "size_bytes": state.size_bytes + state.tail_bytes,
        "min_time": times[0],
        "max_time": times[1],
    }


def _commit_ids(context: ReadContext) -> set[str]:
    return {commit.id for commit in (decode_commit(packed) for _, packed in every_body(context.reader))}


def _verify_commits(context: ReadContext, checks: Counter[str], seen: set[object]) -> list[str]:
    problems, known = [], _commit_ids(context)
    for commit in commits(context.reader, context.scope):
        if commit.id in seen:
            continue
        seen.add(commit.id)
        checks["commits"] += 1
        if not is_indexed(context.reader, commit):
            problems.append(f"commit {commit.seq} is not what was committed: its content has another id")
        for parent in commit.parents:
            if parent not in known:
                problems.append(f"commit {commit.id[:12]} names a parent {parent[:12]} that does not exist: history was rewritten")
    return problems


def _verify_snapshots(context: ReadContext, checks: Counter[str]) -> list[str]:
    problems, known = [], _commit_ids(context)
    for name, ref in tags(context.reader).items():
        checks["snapshots"] += 1
        if ref.commit not in known:
            problems.append(f"snapshot {name!r} names a commit {ref.commit[:12]} that does not exist")
    return problems


def _verify_table(context: ReadContext, relation: Relation, checks: Counter[str], seen: set[object]) -> list[str]:
    scope, history = context.scope, context.history(relation)
    problems = [problem for line, _ in scope.layers() for problem in _verify_line(context, relation, line, checks, seen)]
    if problems:
        return problems
    visible = _visible_rows(history)
    checks["rows"] += visible
    if scope.is_live:
        # On a branch the state counts what was added to the rows of the parents, and taken from them.
        inherited = context.at(Scope(*scope.ancestry[0], scope.ancestry[1:])).history(relation) if scope.ancestry else None
        counted = load_state(context.reader, relation.table, scope.line).rows + (_visible_rows(inherited) if inherited else 0)
        if visible != counted:
            problems.append(f"{relation.label}: there are {visible} rows, its state says {counted}")
        if relation.layout.is_online:
            problems += _verify_online(context, relation, checks)
    return problems


def _verify_line(context: ReadContext, relation: Relation, line: int, checks: Counter[str], seen: set[object]) -> list[str]:
    """The segments and the tail of a table on one line, once."""
    if (relation.table, line) in seen:
        return []
    seen.add((relation.table, line))
    reader, problems = context.reader, list[str]()
    for entry in list_entries(reader, relation.table, line):
        checks["segments"] += 1
        problems += _verify_segment(context, relation, entry, checks)
    written = commits(reader, Scope(line))
    faults = (*proving.find_tail_faults(reader, relation, line, written), *proving.find_kept_faults(reader, relation, line))
    problems += [f"{relation.label}: {fault}" for fault in faults]
    prefix = tail_prefix(relation.table, line)
    tail_rows = sum(1 for _ in reader.scan(TAIL, start=prefix, stop=prefix_end(prefix), keys_only=True))
    checks["tail rows"] += tail_rows
    told = load_state(reader, relation.table, line).tail_rows
    if not problems and tail_rows != told:
        problems.append(f"{relation.label}: the tail has {tail_rows} rows, its state says {told}")
    return problems


def _visible_rows(history: History) -> int:
    return sum(block.content.rows if block.visible is None else int(np.count_nonzero(block.visible)) for block in history.blocks())


def _verify_segment(context: ReadContext, relation: Relation, entry: SegmentEntry, checks: Counter[str]) -> list[str]:
    place = f"{relation.label}: segment {entry.segment}"
    extents = load_extents(context.reader, entry.segment)
    if len(extents) != entry.extents:
        return [f"{place} has {len(extents)} extents, its entry says {entry.extents}"]
    try:
        header = read_header(entry, extents)
    except CorruptionError as error:
        return [f"{place}: {error.message}"]

    def fetch(extent: int) -> pa.Buffer:
        return pa.foreign_buffer(extents[extent].address, extents[extent].size, base=extents[extent])

    problems = []
    for name, ref in buffer_refs(header):
        checks["buffers"] += 1
        if ref.extent not in extents or not is_intact(ref, fetch):
            problems.append(f"{place}: buffer {name!r} does not match its checksum")
    return problems or [f"{place}: {fault}" for fault in proving.find_segment_faults(relation, entry, extents)]


def _verify_online(context: ReadContext, relation: Relation, checks: Counter[str]) -> list[str]:
    """The online row of every key is what the history answers at the end of time, and no key has one too many or too few."""
    reader, scope = context.reader, context.scope
    prefix = online.online_prefix(relation, scope.line)
    own = {record[len(prefix) :] for record, _ in reader.scan_prefix(online.ONLINE, prefix)}
    history = context.history(relation)
    # On a branch, rows of the parents too; those of keys that the branch has hidden altogether are looked for and must not be found.
    keys = sorted(own.union(*(block.keys.encoded() for block in history.blocks())))
    wrong = 0
    for start in range(0, len(keys), ONLINE_CHUNK):
        part = keys[start : start + ONLINE_CHUNK]
        found, rows = online.latest_rows(history, Keys.from_encoded(part, relation.key_spec.kind))
        for held, there, row in zip(online.get_rows(reader, relation, scope, part), found, rows, strict=True):
            checks["online rows"] += held is not None
            wrong += not proving.is_same_row(relation, row, held) if there and held is not None else there != (held is not None)
    return [f"{relation.label}: {wrong} online rows differ from the history"] if wrong else []

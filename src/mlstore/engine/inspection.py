"""Inspection: what a store holds, and proof that it is whole."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mlstore.engine import audit, online, sealing
from mlstore.engine.catalog import Relation
from mlstore.engine.offline import load_state
from mlstore.engine.segments import list_entries, load_extents, read_header
from mlstore.engine.session import ReadContext
from mlstore.engine.tail import TAIL, tail_prefix
from mlstore.engine.versions import COMMITS, commits, head, is_indexed, tags
from mlstore.errors import CorruptionError, MlstoreError
from mlstore.format.keys import Keys
from mlstore.format.manifest import Commit, SegmentEntry, decode_commit
from mlstore.format.rows import peek
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
    commit = head(context.reader, context.scope.line, context.scope.bound)
    return {
        "path": environment.path,
        "size_bytes": environment.size_bytes,
        "durability": environment.durability,
        "read_only": environment.is_read_only,
        "version": None if commit is None else commit.id,
        "commits": context.reader.count(COMMITS),
        "snapshots": {name: ref.commit for name, ref in tags(context.reader).items()},
        "tables": [_describe_table(context, relation) for relation in context.catalog.relations()],
        "environment": environment.info(),
    }


def verify(context: ReadContext, *, trusted_head: str | Commit | None = None) -> VerifyReport:
    """Check pages, commits, the audit, manifests, every buffer's checksum, and that online rows equal the history."""
    checks: Counter[str] = Counter()
    problems = list(context.reader.environment.verify_pages())
    checks["file"] += 1
    problems += _verify_commits(context, checks)
    problems += audit.find_breaks(context.reader, checks)
    if trusted_head is not None:
        problems += audit.prove(context, trusted_head)
        problems += sealing.find_broken_seals(context, checks)
    for relation in context.catalog.relations():
        try:
            problems += _verify_table(context, relation, checks)
        except MlstoreError as error:
            problems.append(f"{relation.label}: {error.message}")
    return VerifyReport(dict(checks), tuple(problems))


def _describe_table(context: ReadContext, relation: Relation) -> dict[str, Any]:
    state = load_state(context.reader, relation.table, context.scope.line)
    entries = list_entries(context.reader, relation.table, context.scope.line)
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


def _verify_commits(context: ReadContext, checks: Counter[str]) -> list[str]:
    problems = []
    known = {commit.id for commit in (decode_commit(packed) for _, packed in context.reader.scan(COMMITS))}
    for commit in commits(context.reader, context.scope):
        checks["commits"] += 1
        if not is_indexed(context.reader, commit):
            problems.append(f"commit {commit.seq} is not what was committed: its content has another id")
        for parent in commit.parents:
            if parent not in known:
                problems.append(f"commit {commit.id[:12]} names a parent {parent[:12]} that does not exist: history was rewritten")
    for name, ref in tags(context.reader).items():
        checks["snapshots"] += 1
        if ref.commit not in known:
            problems.append(f"snapshot {name!r} names a commit {ref.commit[:12]} that does not exist")
    return problems


def _verify_table(context: ReadContext, relation: Relation, checks: Counter[str]) -> list[str]:
    reader, line = context.reader, context.scope.line
    state, entries = load_state(reader, relation.table, line), list_entries(reader, relation.table, line)
    problems: list[str] = []
    for entry in entries:
        checks["segments"] += 1
        problems += _verify_segment(context, relation, entry, checks)
    if problems:
        return problems
    prefix = tail_prefix(relation.table, line)
    tail_rows = sum(1 for _ in reader.scan(TAIL, start=prefix, stop=prefix_end(prefix), keys_only=True))
    checks["tail rows"] += tail_rows
    if tail_rows != state.tail_rows:
        problems.append(f"{relation.label}: the tail has {tail_rows} rows, its state says {state.tail_rows}")
    visible = sum(_visible_rows(block.visible, block.content.rows) for block in context.history(relation).blocks())
    checks["rows"] += visible
    if context.scope.is_live and visible != state.rows:
        problems.append(f"{relation.label}: there are {visible} rows, its state says {state.rows}")
    if relation.layout.is_online and context.scope.is_live:
        problems += _verify_online(context, relation, checks)
    return problems


def _visible_rows(visible: Any, rows: int) -> int:
    return rows if visible is None else int(np.count_nonzero(visible))


def _verify_segment(context: ReadContext, relation: Relation, entry: SegmentEntry, checks: Counter[str]) -> list[str]:
    place = f"{relation.label}: segment {entry.segment}"
    extents = load_extents(context.reader, entry.segment)
    if len(extents) != entry.extents:
        return [f"{place} has {len(extents)} extents, its entry says {entry.extents}"]
    try:
        header = read_header(entry, extents)
    except CorruptionError as error:
        return [f"{place}: {error.message}"]
    problems = []
    for name, ref in buffer_refs(header):
        checks["buffers"] += 1
        if not is_intact(ref, lambda extent: pa.foreign_buffer(extents[extent].address, extents[extent].size, base=extents[extent])):
            problems.append(f"{place}: buffer {name!r} does not match its checksum")
    return problems


def _is_same(relation: Relation, row: bytes, other: bytes) -> bool:
    """Whether two rows say the same, whatever their revisions; NaN is NaN, and -0.0 is not 0.0."""
    if row == other:
        return True
    told = (repr((peek(each)[1:], relation.rows.decode_one(each))) for each in (row, other))
    return next(told) == next(told)


def _verify_online(context: ReadContext, relation: Relation, checks: Counter[str]) -> list[str]:
    """The online row of every key is what the history answers at the end of time, and no key has one too many or too few."""
    reader, line = context.reader, context.scope.line
    prefix = online.online_prefix(relation, line)
    held = {record[len(prefix) :]: row for record, row in reader.scan_prefix(online.ONLINE, prefix)}
    history = context.history(relation)
    expected = {key for block in history.blocks() for key in block.keys.encoded()}
    checks["online rows"] += len(held)
    wrong = 0
    keys = sorted(expected | held.keys())
    for start in range(0, len(keys), ONLINE_CHUNK):
        part = keys[start : start + ONLINE_CHUNK]
        found, rows = online.latest_rows(history, Keys.from_encoded(part, relation.key_spec.kind))
        for key, there, row in zip(part, found, rows, strict=True):
            wrong += not _is_same(relation, row, held[key]) if there and key in held else there != (key in held)
    return [f"{relation.label}: {wrong} online rows differ from the history"] if wrong else []

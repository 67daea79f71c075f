"""Proving: what must be true of a segment, a tail and the rows kept for forks, looked at in full; what `verify` asks for each table.

Answers rest on it: kernels search what is sorted, and readers of Arrow take text for text. Reading itself looks only at what could
take it out of its bounds.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

import numpy as np
import pyarrow as pa

from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Int64
from mlstore.engine.history.online import KEPT, online_prefix
from mlstore.engine.history.segments import SegmentContent
from mlstore.engine.history.tail import TailContent, digest_rows, load_tail
from mlstore.engine.versions import read_counter
from mlstore.errors import CorruptionError
from mlstore.format.columns import value_range
from mlstore.format.keys import Keys, decode_keys
from mlstore.format.manifest import Commit, SegmentEntry
from mlstore.format.rows import peek, revision_of
from mlstore.format.segment import open_column
from mlstore.schema.dtypes import parse_dtype
from mlstore.storage.mapped_value import MappedValue
from mlstore.storage.transaction import Reader

SMALL_WRITES = ("append", "upsert")


def find_segment_faults(relation: Relation, entry: SegmentEntry, extents: Mapping[int, MappedValue]) -> Iterator[str]:
    """What a segment whose checksums are right says that cannot be."""
    try:
        content = SegmentContent(entry, extents)
        decode_keys(relation.key_spec, content.keys)
        yield from _find_disorder(content)
        yield from _find_wrong_bounds(content, entry)
        yield from _find_bad_columns(content, extents)
    except CorruptionError as error:
        yield error.message


def find_tail_faults(reader: Reader, relation: Relation, line: int, commits: Iterable[Commit]) -> Iterator[str]:
    """What the tail of a table on a line says that cannot be, or not what the commits wrote."""
    try:
        content = load_tail(reader, relation, line)
        if content is None:
            return
        decode_keys(relation.key_spec, content.keys)
        known = [row for row in content.packed if relation.knows(revision_of(row))]
        yield from _find_bad_text(relation.label, relation.rows.decode(known).columns)
        if [peek(row)[1:] for row in content.packed] != list(
            zip(content.time.tolist(), content.created.tolist(), content.seq.tolist(), strict=True)
        ):
            yield "a row in the tail is not under its own times"
        if content.deletes is not None and int(content.deletes[1].max()) > read_counter(reader, "seq"):
            yield "a row in the tail was deleted by a write that never was"
        yield from _find_rewritten(content, relation, commits)
    except CorruptionError as error:
        yield error.message


def is_same_row(relation: Relation, row: bytes, other: bytes) -> bool:
    """Whether two rows say the same, whatever their revisions; NaN is NaN, and -0.0 is not 0.0."""
    if row == other:
        return True
    told = (repr((peek(each)[1:], relation.rows.decode_one(each))) for each in (row, other))
    return next(told) == next(told)


def find_kept_faults(reader: Reader, relation: Relation, line: int) -> Iterator[str]:
    """What the rows kept for forks say that cannot be."""
    try:
        rows = [row for _, row in reader.scan_prefix(KEPT, online_prefix(relation, line)) if row]
        yield from _find_bad_text(relation.label, relation.rows.decode([row for row in rows if relation.knows(revision_of(row))]).columns)
    except CorruptionError as error:
        yield error.message


def _find_disorder(content: SegmentContent) -> Iterator[str]:
    keys = content.keys
    if not _ascend(keys):
        yield "its keys do not ascend"
    if (np.diff(content.offsets) <= 0).any():
        yield "a key has no rows"
    clocks = [content.time] + [clock for clock in (content.created, content.seq) if clock.size]
    is_first = np.zeros(max(0, content.rows - 1), np.bool_)
    starts = content.offsets[1:-1]
    is_first[starts[(starts > 0) & (starts < content.rows)] - 1] = True  # what lies between two keys need not ascend
    if not (_ordered(clocks) | is_first).all():
        yield "its rows are not in the order of their times"


def _ascend(keys: Keys) -> bool:
    if keys.kind == "int":
        return bool((np.diff(keys.ints) > 0).all())
    encoded = keys.encoded()
    return all(before < after for before, after in pairwise(encoded))


def _ordered(clocks: list[Int64]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each row is not before the one to its left, by the first clock that tells them apart."""
    verdict = np.ones(max(0, len(clocks[0]) - 1), np.bool_)
    for clock in reversed(clocks):
        before, after = clock[:-1], clock[1:]
        verdict = (before < after) | ((before == after) & verdict)
    return verdict


def _find_wrong_bounds(content: SegmentContent, entry: SegmentEntry) -> Iterator[str]:
    if not entry.rows:
        yield "it has no rows"
        return
    told = {
        "keys": (entry.min_key, entry.max_key),
        "times": (entry.min_time, entry.max_time),
        "created": (entry.min_created, entry.max_created),
        "seqs": (entry.min_seq, entry.max_seq),
    }
    clocks = (content.created, content.same_created), (content.seq, content.same_seq)
    created, seq = ((int(clock.min()), int(clock.max())) if clock.size else (same, same) for clock, same in clocks)
    found = {
        "keys": (content.keys.encoded_at(0), content.keys.encoded_at(len(content.keys) - 1)),
        "times": (int(content.time.min()), int(content.time.max())),
        "created": created,
        "seqs": seq,
    }
    yield from (f"its entry says other {name} than it has" for name, bounds in told.items() if bounds != found[name])


def _find_bad_columns(content: SegmentContent, extents: Mapping[int, MappedValue]) -> Iterator[str]:
    def fetch(extent: int) -> pa.Buffer:
        if extent not in extents:
            raise CorruptionError(f"extent {extent} is missing")
        return pa.foreign_buffer(extents[extent].address, extents[extent].size, base=extents[extent])

    for stored in content.header.columns:
        column = open_column(stored, content.rows, fetch)
        yield from _find_bad_text(f"feature {stored.number}", [column])
        bounds = value_range(column, parse_dtype(stored.spec)) or (None, None)
        if column.null_count != stored.null_count or bounds != (stored.low, stored.high):
            yield f"feature {stored.number}: its least and greatest values, or its nulls, are not those that are told"


def _find_bad_text(place: str, columns: Iterable[pa.Array]) -> Iterator[str]:
    for column in columns:
        try:
            column.validate(full=True)
        except pa.ArrowException as error:
            yield f"{place}: {error}"


def _find_rewritten(content: TailContent, relation: Relation, commits: Iterable[Commit]) -> Iterator[str]:
    """Rows of small writes that lie in the tail still, against what their commits say of them."""
    keys = content.keys.encoded()
    of_row = np.repeat(np.arange(len(keys)), np.diff(content.offsets))
    for commit in commits:
        for change in commit.changes:
            if change.table_id != relation.table or change.op not in SMALL_WRITES or not change.rows:
                continue
            rows = np.flatnonzero((content.seq >= change.first_seq) & (content.seq <= change.last_seq))
            if len(rows) != change.rows:
                continue  # sealed, or forgotten
            written, counts = np.unique(of_row[rows], return_counts=True)
            offsets = np.concatenate([[0], np.cumsum(counts)])
            packed = b"".join(content.packed[row] for row in rows.tolist())
            if digest_rows(packed, offsets.data, [keys[key] for key in written.tolist()]) != change.digest:
                yield f"rows in the tail are not those that commit {commit.id[:12]} wrote"

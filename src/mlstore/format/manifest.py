"""Manifest records: which segments a table has, what each commit did, what each name points at.

Small msgpack records. A commit's id is the hash of its content and of its parents' ids, so the history is a Merkle chain.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgpack

from mlstore.errors import CorruptionError
from mlstore.format.packed import CURE, shapes_of, unpack

ID_BYTES = 16
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_TIME_US, LAST_TIME_US = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999, which Python has times for
MOST = 2**63 - 1
MOST_ROWS = 2**32 - 1

Record = TypeVar("Record")
Pairs = tuple[tuple[int, int], ...]

_ANCESTORS = ((int, int), (int, int, bool))


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One segment of one table on one line: what planning and pruning need without opening it.

    `start_row`: rows before it have moved on to a merged segment. `created`, `seq`: the value of all rows, or None: per row.
    """

    segment: int
    run: int
    level: int
    revision: int
    tier: str
    rows: int
    start_row: int
    min_key: bytes
    max_key: bytes
    min_time: int
    max_time: int
    min_created: int
    max_created: int
    min_seq: int
    max_seq: int
    created: int | None
    seq: int | None
    extents: int
    size_bytes: int
    header_offset: int
    header_size: int
    header_checksum: int
    place: int = 0  # segments of a run are in the order of (place, segment)

    def order(self) -> tuple[int, int, int]:
        """Where it stands among the segments of a table: by run, then in the order of its run, which settles ties."""
        return self.run, self.place, self.segment

    @property
    def live_rows(self) -> int:
        return self.rows - self.start_row


@dataclass(frozen=True, slots=True)
class TableState:
    """Counters of one table on one line; `tick` changes with every write to it."""

    tick: int = 0
    rows: int = 0
    deleted_rows: int = 0
    tail_rows: int = 0
    tail_bytes: int = 0
    segments: int = 0
    size_bytes: int = 0
    min_time: int | None = None
    max_time: int | None = None
    late_rows: int = 0
    merges: tuple[tuple[int, int, tuple[int, ...]], ...] = ()  # under way: level of the inputs, run made, runs merged

    def grown(
        self, *, rows: int, low: int, high: int, late: int, tail_rows: int, tail_bytes: int, segments: int, size_bytes: int
    ) -> "TableState":
        """The state after rows with event times from `low` to `high` were added, and where they lie."""
        return TableState(
            self.tick + 1,
            self.rows + rows,
            self.deleted_rows,
            self.tail_rows + tail_rows,
            self.tail_bytes + tail_bytes,
            self.segments + segments,
            self.size_bytes + size_bytes,
            low if self.min_time is None else min(low, self.min_time),
            high if self.max_time is None else max(high, self.max_time),
            self.late_rows + late,
            self.merges,
        )

    def changed(self, **changes: Any) -> "TableState":
        """The state after a change: whoever remembers the old tick looks again."""
        return replace(self, tick=self.tick + 1, **changes)


@dataclass(frozen=True, slots=True)
class TableChange:
    """What one commit did to one table: `op` is append, upsert, delete, apply, ...; rows written or hidden; their seqs."""

    op: str
    table: str
    table_id: int
    rows: int
    first_seq: int
    last_seq: int
    digest: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Commit:
    """One commit: id (hex), the sequence that bounds its version, parents, author, message, time, and what it changed.

    Inside a transaction the commit is still to be made: what a step returns has no id yet.
    """

    id: str
    seq: int
    line: int
    parents: tuple[str, ...]
    author: str
    message: str
    time_us: int
    changes: tuple[TableChange, ...]

    @property
    def time(self) -> datetime:
        """When it was committed, UTC."""
        return EPOCH + timedelta(microseconds=self.time_us)

    def __repr__(self) -> str:
        done = "; ".join(f"{change.op} {change.table}" + f", {change.rows:,} rows" * (change.rows > 0) for change in self.changes)
        told = ": ".join(text for text in (self.message, done) if text)
        return f"<Commit {self.id or '(to be made)'} by {self.author} at {self.time:%Y-%m-%dT%H:%M:%SZ}: {told or 'no changes'}>"


@dataclass(frozen=True, slots=True)
class Ref:
    """What a name points at: kind is "branch" (moves) or "tag" (never moves). A protected branch is neither deleted nor moved back."""

    kind: str
    line: int
    seq: int
    commit: str
    created_us: int
    message: str
    is_protected: bool = False


def encode_record(record: SegmentEntry | TableState | Ref) -> bytes:
    packed: bytes = msgpack.packb(_values(record))
    return packed


def decode_record(kind: type[Record], packed: bytes) -> Record:
    try:
        values = unpack(packed, use_list=False)
        record = kind(*values)
    except (ValueError, TypeError) as error:
        raise CorruptionError(f"a {kind.__name__} record cannot be read: {error}", hint=CURE) from error
    if tuple(map(type, values)) not in _SHAPES[kind] or not _RULES[kind](record):
        raise CorruptionError(f"a {kind.__name__} record says what cannot be: {record!r:.200}", hint=CURE)
    return record


def encode_fields(fields: Sequence[object]) -> bytes:
    """A small record without a class of its own."""
    packed: bytes = msgpack.packb(fields)
    return packed


def decode_fields(packed: bytes, *kinds: type) -> list[Any]:
    """The fields of `encode_fields`, of these types if any are given."""
    try:
        fields: Any = unpack(packed)
    except (ValueError, TypeError) as error:
        raise CorruptionError(f"a record cannot be read: {error}", hint=CURE) from error
    if type(fields) is not list or not all(map(is_int64, fields)) or (kinds and tuple(map(type, fields)) != kinds):
        raise CorruptionError(f"a record says what cannot be: {fields!r:.200}", hint=CURE)
    return fields


def encode_ancestry(told: Sequence[tuple[int, int]], seen: Sequence[tuple[int, int]]) -> bytes:
    """The lines that one descends from, with the fork of each; those not among `seen` are marked: their rows lie nearer."""
    return encode_fields([[line, fork] if (line, fork) in seen else [line, fork, True] for line, fork in told])


def decode_ancestry(packed: bytes) -> tuple[Pairs, Pairs]:
    """All lines that one descends from, and those of them whose rows are looked up there."""
    try:
        told: Any = unpack(packed, use_list=False)
    except (ValueError, TypeError) as error:
        raise CorruptionError(f"a record cannot be read: {error}", hint=CURE) from error
    if type(told) is not tuple or not all(type(each) is tuple and tuple(map(type, each)) in _ANCESTORS for each in told):
        raise CorruptionError(f"a record says what cannot be: {told!r:.200}", hint=CURE)
    if not all(0 <= each[0] < 2**32 and 0 <= each[1] <= MOST and all(each[2:]) for each in told):
        raise CorruptionError(f"a record says what cannot be: {told!r:.200}", hint=CURE)
    return tuple(each[:2] for each in told), tuple(each for each in told if len(each) == 2)


def is_int64(value: object) -> bool:
    """False for a number that int64 does not hold."""
    return type(value) is not int or -MOST - 1 <= value <= MOST


def is_time(time_us: int) -> bool:
    """Whether microseconds are a time of Python that a clock may have shown."""
    return FIRST_TIME_US <= time_us <= LAST_TIME_US


def seal_commit(
    *, seq: int, line: int, parents: tuple[str, ...], author: str, message: str, time_us: int, changes: tuple[TableChange, ...]
) -> tuple[Commit, bytes]:
    """A commit with its id, blake2b over everything it says and over its parents' ids; and the body that says it."""
    body = _commit_body(seq, line, parents, author, message, time_us, changes)
    return Commit(commit_id(body), seq, line, parents, author, message, time_us, changes), body


def encode_commit(commit: Commit) -> bytes:
    return _commit_body(commit.seq, commit.line, commit.parents, commit.author, commit.message, commit.time_us, commit.changes)


def decode_commit(packed: bytes) -> Commit:
    try:
        seq, line, parents, author, message, time_us, changes = unpack(packed)
        sealed = tuple(TableChange(*change) for change in changes)
        commit = Commit(commit_id(packed), seq, line, tuple(parents), author, message, time_us, sealed)
    except (ValueError, TypeError) as error:
        raise CorruptionError(f"a commit record cannot be read: {error}", hint=CURE) from error
    if tuple(map(type, (seq, line, author, message, time_us))) != (int, int, str, str, int) or not _is_possible_commit(commit):
        raise CorruptionError(f"a commit record says what cannot be: {[seq, line, author, message, time_us]!r:.200}", hint=CURE)
    return commit


def changed_tables(packed: bytes) -> list[int]:
    """The numbers of the tables that a commit changed, in the order of its changes."""
    try:
        tables = [change[2] for change in unpack(packed)[6]]
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise CorruptionError(f"a commit record cannot be read: {error}", hint=CURE) from error
    if not all(type(table) is int and 0 <= table < 2**32 for table in tables):
        raise CorruptionError(f"a commit record says what cannot be: tables {tables!r:.200}", hint=CURE)
    return tables


def _commit_body(
    seq: int, line: int, parents: tuple[str, ...], author: str, message: str, time_us: int, changes: tuple[TableChange, ...]
) -> bytes:
    packed: bytes = msgpack.packb([seq, line, parents, author, message, time_us, [_values(change) for change in changes]])
    return packed


def _values(record: Any) -> list[Any]:
    """The fields in order; dataclasses.astuple would copy each deeply."""
    return [getattr(record, name) for name in record.__slots__]


def commit_id(body: bytes) -> str:
    """The id of the commit whose body this is."""
    return hashlib.blake2b(body, digest_size=ID_BYTES).hexdigest()


def is_id(text: object) -> bool:
    """Whether this is the id of a commit, as hexadecimal digits."""
    return type(text) is str and len(text) == 2 * ID_BYTES and not set(text) - set("0123456789abcdef")


def _is_possible_commit(commit: Commit) -> bool:
    return (
        0 < commit.seq <= MOST
        and 0 <= commit.line < 2**32
        and is_time(commit.time_us)
        and all(map(is_id, commit.parents))
        and all(tuple(map(type, _values(change))) in _CHANGE_SHAPES and _is_possible_change(change) for change in commit.changes)
    )


def _is_possible_change(change: TableChange) -> bool:
    return 0 <= change.table_id < 2**32 and all(-MOST <= number <= MOST for number in (change.rows, change.first_seq, change.last_seq))


# These two are asked of every manifest that is read: without a generator they take a third of the time.
def _is_possible_entry(entry: SegmentEntry) -> bool:
    times = entry.min_time, entry.max_time, entry.min_created, entry.max_created, entry.min_seq, entry.max_seq
    counts = entry.segment, entry.run, entry.size_bytes, entry.header_offset, entry.header_size, entry.place
    return (
        min(counts) >= 0
        and max(counts) <= MOST
        and min(times) >= -MOST - 1
        and max(times) <= MOST
        and is_int64(entry.created)
        and is_int64(entry.seq)
        and 0 <= entry.level < 64
        and 0 <= entry.revision < 2**16
        and entry.tier in ("hot", "cold")
        and 0 <= entry.start_row <= entry.rows <= MOST_ROWS
        and 0 < entry.extents <= 2**16
        and 0 <= entry.header_checksum < 2**64
    )


def _is_possible_state(state: TableState) -> bool:
    counts = state.tick, state.deleted_rows, state.tail_rows, state.tail_bytes, state.segments, state.size_bytes, state.late_rows
    return (
        min(counts) >= 0
        and max(counts) <= MOST
        and is_int64(state.rows)
        and is_int64(state.min_time)
        and is_int64(state.max_time)
        and (not state.merges or all(map(_is_possible_merge, state.merges)))
    )


def _is_possible_merge(merge: object) -> bool:
    return (
        isinstance(merge, tuple)
        and tuple(map(type, merge)) == (int, int, tuple)
        and all(type(number) is int and 0 <= number <= MOST for number in (*merge[:2], *merge[2]))
    )


def _is_possible_ref(ref: Ref) -> bool:
    return ref.kind in ("branch", "tag", "gone") and 0 <= ref.line < 2**32 and 0 <= ref.seq <= MOST and is_time(ref.created_us)


_SHAPES: dict[type, frozenset[tuple[type, ...]]] = {kind: shapes_of(kind) for kind in (SegmentEntry, TableState, Ref)}
_CHANGE_SHAPES = shapes_of(TableChange)
_RULES: dict[type, Callable[[Any], bool]] = {
    SegmentEntry: _is_possible_entry,
    TableState: _is_possible_state,
    Ref: _is_possible_ref,
}

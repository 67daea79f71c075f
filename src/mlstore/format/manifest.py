"""Manifest records: which segments a table has, what each commit did, what each name points at.

Small msgpack records. A commit's id is the hash of its content and of its parents' ids, so the history is a Merkle chain.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgpack

from mlstore.errors import CorruptionError

ID_BYTES = 16
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Record = TypeVar("Record")


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


@dataclass(frozen=True, slots=True)
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
        return kind(*msgpack.unpackb(packed, use_list=False))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptionError(f"a {kind.__name__} record cannot be read: {error}", hint="run verify(), restore a backup") from error


def encode_fields(fields: Sequence[object]) -> bytes:
    """A small record without a class of its own."""
    packed: bytes = msgpack.packb(fields)
    return packed


def decode_fields(packed: bytes) -> list[Any]:
    try:
        fields: list[Any] = msgpack.unpackb(packed)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptionError(f"a record cannot be read: {error}", hint="run verify(), restore a backup") from error
    return fields


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
        seq, line, parents, author, message, time_us, changes = msgpack.unpackb(packed)
        sealed = tuple(TableChange(*change) for change in changes)
        return Commit(commit_id(packed), seq, line, tuple(parents), author, message, time_us, sealed)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptionError(f"a commit record cannot be read: {error}", hint="run verify(), restore a backup") from error


def _commit_body(
    seq: int, line: int, parents: tuple[str, ...], author: str, message: str, time_us: int, changes: tuple[TableChange, ...]
) -> bytes:
    packed: bytes = msgpack.packb([seq, line, parents, author, message, time_us, [_values(change) for change in changes]])
    return packed


def _values(record: SegmentEntry | TableState | Ref | TableChange) -> list[Any]:
    """The fields in order; dataclasses.astuple would copy each deeply."""
    return [getattr(record, name) for name in record.__slots__]


def commit_id(body: bytes) -> str:
    """The id of the commit whose body this is."""
    return hashlib.blake2b(body, digest_size=ID_BYTES).hexdigest()

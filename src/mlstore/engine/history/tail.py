"""The tail: a table's recent rows, one record each, newest first within a key, until they are sealed into a segment.

Key: table | line | entity key | ~event_time | ~created | ~seq. Value: deleted_seq (LIVE: not deleted) | row.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.tail import read_records, tail_items
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Content, Deletes, Int64, Lend
from mlstore.engine.lazy import lazy
from mlstore.engine.versions import LIVE
from mlstore.errors import CorruptionError
from mlstore.format.keys import Keys
from mlstore.format.packed import FixedFields
from mlstore.format.rows import RowHeads
from mlstore.storage.keyspace import declare, prefix_end
from mlstore.storage.transaction import Reader, Writer

TAIL = declare("tail")

PREFIX = FixedFields(">II")
CLOCKS_BYTES = 24  # ~event_time, ~created, ~seq
DELETED = FixedFields("<q")

_SIGN = np.uint64(1 << 63)


def tail_prefix(table: int, line: int) -> bytes:
    return PREFIX.pack(table, line)


def put_laid(
    writer: Writer, relation: Relation, line: int, keys: list[bytes], offsets: Int64, cuts: Int64, laid: NDArray[np.uint8]
) -> None:
    """Add live rows that lie by key, oldest first; see `_core.tail`."""
    writer.put_many(TAIL, tail_items(tail_prefix(relation.table, line), keys, offsets, cuts, laid, LIVE))


def hide_rows(writer: Writer, records: Iterable[bytes], seq: int) -> int:
    """Mark records as deleted from `seq` on; how many."""
    hidden = 0
    for record in records:
        value = writer.get(TAIL, record)
        if value is None:
            raise CorruptionError("a tail row vanished inside its own transaction", hint="run verify(), restore a backup")
        writer.put(TAIL, record, DELETED.pack(seq) + value[DELETED.size :])
        hidden += 1
    return hidden


def clear_tail(writer: Writer, relation: Relation, line: int, rows: int) -> None:
    """Remove the records, of which there are so many."""
    prefix = tail_prefix(relation.table, line)
    if writer.count(TAIL) == rows:
        writer.delete_range(TAIL)  # nobody else has any: the pages go as they are
    else:
        writer.delete_range(TAIL, prefix, prefix_end(prefix))


def load_tail(reader: Reader, relation: Relation, line: int, keys: Sequence[bytes] | None = None) -> "TailContent | None":
    """The rows of the tail (of the given keys only), ordered as a segment's are; None when there are none."""
    prefix = tail_prefix(relation.table, line)
    if keys is None:
        records = list(reader.scan_prefix(TAIL, prefix))
    else:
        records = [record for key in sorted(keys) for record in reader.scan_prefix(TAIL, prefix + key)]
    return TailContent(relation, records) if records else None


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The columns of packed rows in the types of one revision: the first one asked for by itself, then all the others at once."""

    relation: Relation
    heads: RowHeads
    columns: dict[int, pa.Array]

    def column(self, number: int) -> pa.Array:
        if number not in self.columns:
            wanted = (
                [other for other in range(len(self.relation.layout.features)) if other not in self.columns] if self.columns else [number]
            )
            self.columns.update(
                zip(wanted, self.relation.rows.batches(wanted, list(map(str, wanted))).read(self.heads).columns, strict=True)
            )
        return self.columns[number]


class TailContent(Content):
    """Rows of the tail, ordered as a segment's are, with the record each came from. Columns are unpacked when first asked for."""

    def __init__(self, relation: Relation, records: list[tuple[bytes, bytes]]) -> None:
        count = len(records)
        offsets, key_sizes, deleted, size = (np.empty(length, np.int64) for length in (count + 1, count, count, count))
        clocks, places = np.empty((3, count), np.int64), np.empty(count, np.uint32)
        address, revision = np.empty(count, np.uintp), np.empty(count, np.uint16)
        keys, joined = read_records(records, PREFIX.size, offsets, key_sizes, clocks, deleted, address, size, revision, places)
        self.keys = Keys.from_joined(joined, key_sizes[:keys], relation.key_spec.kind)
        self.offsets = offsets[: keys + 1]
        self.time, self.created, self.seq = clocks
        hidden = np.flatnonzero(deleted != LIVE)
        self.deletes: Deletes | None = (hidden, deleted[hidden]) if hidden.size else None
        self._records, self._places = records, places  # the rows lie in the records
        self._rows = address, size, revision
        self._unpacked: Unpacked | None = None

    def record(self, row: int) -> bytes:
        """The key of the record that a row came from."""
        return self._records[int(self._places[row])][0]

    @lazy
    def packed(self) -> list[bytes]:
        """The rows as they are stored."""
        return [self._records[place][1][DELETED.size :] for place in self._places.tolist()]

    def column(self, relation: Relation, number: int, lend: Lend | None = None) -> pa.Array:
        unpacked = self._unpacked
        if unpacked is None or not unpacked.relation.is_same(relation):
            unpacked = self._unpacked = Unpacked(relation, self._heads(relation), {})
        return unpacked.column(number)

    def _heads(self, relation: Relation) -> RowHeads:
        address, size, revision = self._rows
        # A past version, or another line, does not know the revisions of later rows, nor does it see those rows.
        unknown = [number for number in np.unique(revision).tolist() if not relation.knows(number)]
        found = ~np.isin(revision, unknown) if unknown else np.ones(len(revision), np.bool_)
        return RowHeads(found, revision, self.time, self.created, self.seq, np.where(found, address, np.uintp(0)), size, ())


def encode_clocks(event_time: Int64, created: Int64, seq: Int64) -> list[bytes]:
    """24 bytes per row whose order is newest first."""
    stacked = np.stack([event_time, created, seq], axis=1).view(np.uint64)
    flat = (~(stacked ^ _SIGN)).astype(">u8").tobytes()
    return [flat[start : start + CLOCKS_BYTES] for start in range(0, len(flat), CLOCKS_BYTES)]


def decode_clocks(suffixes: bytes) -> tuple[Int64, Int64, Int64]:
    stacked = (~np.frombuffer(suffixes, ">u8").astype(np.uint64) ^ _SIGN).view(np.int64).reshape(-1, 3)
    return stacked[:, 0].copy(), stacked[:, 1].copy(), stacked[:, 2].copy()


def digest_rows(rows: bytes | memoryview, offsets: bytes | memoryview, keys: Sequence[bytes]) -> bytes:
    """What a commit says of rows it put into the tail: packed and end to end, by key; first row of each of these keys, and the end."""
    digest = hashlib.blake2b(rows, digest_size=16)
    digest.update(offsets)
    digest.update(b"".join(keys))
    return digest.digest()

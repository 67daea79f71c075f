"""The tail: a table's recent rows, one record each, newest first within a key, until they are sealed into a segment.

Key: table | line | entity key | ~event_time | ~created | ~seq. Value: deleted_seq (LIVE: not deleted) | row.
"""

import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.tail import tail_items
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Content, Deletes, Int64, Lend
from mlstore.engine.versions import LIVE
from mlstore.errors import CorruptionError
from mlstore.format.keys import Keys
from mlstore.format.rows import revision_of
from mlstore.storage.keyspace import declare, prefix_end
from mlstore.storage.transaction import Reader, Writer

TAIL = declare("tail")

PREFIX = struct.Struct(">II")
CLOCKS_BYTES = 24  # ~event_time, ~created, ~seq
DELETED = struct.Struct("<q")

_SIGN = np.uint64(1 << 63)


def tail_prefix(table: int, line: int) -> bytes:
    return PREFIX.pack(table, line)


def put_rows(
    writer: Writer, relation: Relation, line: int, keys: Sequence[bytes], clocks: tuple[Int64, Int64, Int64], rows: Sequence[bytes]
) -> None:
    """Add live rows: encoded key, (event_time, created, seq) and packed row of each."""
    prefix, suffixes = tail_prefix(relation.table, line), encode_clocks(*clocks)
    alive = DELETED.pack(LIVE)
    writer.put_many(TAIL, sorted((prefix + key + suffix, alive + row) for key, suffix, row in zip(keys, suffixes, rows, strict=True)))


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


def clear_tail(writer: Writer, relation: Relation, line: int) -> int:
    prefix = tail_prefix(relation.table, line)
    return writer.delete_range(TAIL, prefix, prefix_end(prefix))


def load_tail(reader: Reader, relation: Relation, line: int, keys: Sequence[bytes] | None = None) -> "TailContent | None":
    """The rows of the tail (of the given keys only), ordered as a segment's are; None when there are none."""
    prefix = tail_prefix(relation.table, line)
    if keys is None:
        records = list(reader.scan_prefix(TAIL, prefix))
    else:
        records = [record for key in sorted(keys) for record in reader.scan_prefix(TAIL, prefix + key)]
    return _content(relation, records) if records else None


class TailContent(Content):
    """Rows of the tail, ordered as a segment's are, with the record each came from. Columns are unpacked when first asked for."""

    def __init__(
        self, keys: Keys, offsets: Int64, clocks: tuple[Int64, Int64, Int64], packed: list[bytes], records: list[bytes], deleted: Int64
    ) -> None:
        self.keys = keys
        self.offsets = offsets
        self.time, self.created, self.seq = clocks
        self.packed = packed
        self.records = records
        hidden = np.flatnonzero(deleted != LIVE)
        self.deletes: Deletes | None = (hidden, deleted[hidden]) if hidden.size else None
        self._columns: tuple[int, list[pa.Array]] | None = None  # of which revision of the table

    def column(self, relation: Relation, number: int, lend: Lend | None = None) -> pa.Array:
        unpacked = self._columns
        if unpacked is None or unpacked[0] != relation.revision:
            # A past version, or another line, does not know the revisions of later rows, nor does it see those rows.
            known = [row if relation.knows(revision_of(row)) else None for row in self.packed]
            unpacked = self._columns = relation.revision, relation.rows.decode(known).columns
        return unpacked[1][number]


def encode_clocks(event_time: Int64, created: Int64, seq: Int64) -> list[bytes]:
    """24 bytes per row whose order is newest first."""
    stacked = np.stack([event_time, created, seq], axis=1).view(np.uint64)
    flat = (~(stacked ^ _SIGN)).astype(">u8").tobytes()
    return [flat[start : start + CLOCKS_BYTES] for start in range(0, len(flat), CLOCKS_BYTES)]


def decode_clocks(suffixes: bytes) -> tuple[Int64, Int64, Int64]:
    stacked = (~np.frombuffer(suffixes, ">u8").astype(np.uint64) ^ _SIGN).view(np.int64).reshape(-1, 3)
    return stacked[:, 0].copy(), stacked[:, 1].copy(), stacked[:, 2].copy()


def _content(relation: Relation, records: list[tuple[bytes, bytes]]) -> TailContent:
    count = len(records)
    encoded = [record[PREFIX.size : -CLOCKS_BYTES] for record, _ in records]
    starts = [0, *(row for row, (before, key) in enumerate(pairwise(encoded), start=1) if key != before)]
    offsets = np.array([*starts, count], np.int64)
    group = np.repeat(np.arange(len(starts)), np.diff(offsets))
    order = offsets[group] + offsets[group + 1] - 1 - np.arange(count)  # turn newest first into oldest first, key by key
    ordered = [records[row] for row in order.tolist()]
    deleted = np.frombuffer(b"".join(value[: DELETED.size] for _, value in ordered), np.int64)
    return TailContent(
        Keys.from_encoded([encoded[start] for start in starts], relation.key_spec.kind),
        offsets,
        decode_clocks(b"".join(record[-CLOCKS_BYTES:] for record, _ in ordered)),
        [value[DELETED.size :] for _, value in ordered],
        [record for record, _ in ordered],
        deleted,
    )

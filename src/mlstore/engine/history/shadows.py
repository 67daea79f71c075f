"""Shadows: rows of its ancestors that a line has deleted, named by what they are: key, event time, created, seq.

The ancestor goes on sealing and merging, so a segment and a row number would not name a row for long. Rows that one bulk load wrote with
the same key and clocks have one name, and are hidden together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlstore._core.asof import find_ranges
from mlstore.engine.history.block import Block, Int64
from mlstore.engine.history.tail import CLOCKS_BYTES, decode_clocks, encode_clocks
from mlstore.errors import CorruptionError
from mlstore.format.keys import KeyKind, Keys
from mlstore.format.packed import CURE, FixedFields
from mlstore.storage.keyspace import declare
from mlstore.storage.transaction import Reader, Writer

SHADOWS = declare("shadows")  # table | line | entity key | ~event_time | ~created | ~seq -> deleted_seq

_OWNER = FixedFields(">II")
_DELETED = FixedFields("<q")


@dataclass(frozen=True, slots=True, eq=False)
class Shadows:
    """Names of hidden rows: keys sorted and unique, of each name the position of its key, and its clocks."""

    keys: Keys
    codes: Int64
    time: Int64
    created: Int64
    seq: Int64
    deleted: Int64

    def until(self, bound: int) -> "Shadows":
        """Those cast up to a version."""
        cast = self.deleted <= bound
        if cast.all():
            return self
        return Shadows(self.keys, self.codes[cast], self.time[cast], self.created[cast], self.seq[cast], self.deleted[cast])

    def names(self) -> set[tuple[bytes, int, int, int]]:
        """(key, event time, created, seq) of every row hidden."""
        encoded = self.keys.encoded()
        clocks = zip(self.codes.tolist(), self.time.tolist(), self.created.tolist(), self.seq.tolist(), strict=True)
        return {(encoded[code], time, created, seq) for code, time, created, seq in clocks}


def put_shadows(writer: Writer, table: int, line: int, shadows: Shadows) -> None:
    """Hide rows by name."""
    prefix, encoded = _OWNER.pack(table, line), shadows.keys.encoded()
    suffixes = encode_clocks(shadows.time, shadows.created, shadows.seq)
    told = zip(shadows.codes.tolist(), suffixes, shadows.deleted.tolist(), strict=True)
    records = {prefix + encoded[code] + suffix: _DELETED.pack(deleted) for code, suffix, deleted in told}
    writer.put_many(SHADOWS, sorted(records.items()))


def load_shadows(reader: Reader, table: int, line: int, kind: KeyKind, keys: Sequence[bytes] | None = None) -> Shadows | None:
    """The shadows that a line casts (on rows of the given keys only); None if there are none."""
    prefix = _OWNER.pack(table, line)
    spans = [prefix] if keys is None else [prefix + key for key in sorted(keys)]
    records = [record for span in spans for record in reader.scan_prefix(SHADOWS, span)]
    if not records:
        return None
    if any(len(record) < _OWNER.size + CLOCKS_BYTES or len(value) != _DELETED.size for record, value in records):
        raise CorruptionError("the name of a hidden row is cut short", hint=CURE)
    named = [record[_OWNER.size : -CLOCKS_BYTES] for record, _ in records]
    encoded = sorted(set(named))
    place = {key: code for code, key in enumerate(encoded)}
    clocks = decode_clocks(b"".join(record[-CLOCKS_BYTES:] for record, _ in records))
    deleted = np.frombuffer(b"".join(value for _, value in records), "<i8").astype(np.int64)
    return Shadows(Keys.from_encoded(encoded, kind), np.array([place[key] for key in named], np.int64), *clocks, deleted)


def locate(block: Block, shadows: Shadows) -> Int64:
    """The rows of a block that have one of these names."""
    return np.unique(match(block, shadows)[0])


def match(block: Block, shadows: Shadows) -> tuple[Int64, Int64]:
    """Each row of a block that has one of these names, and the place of the name."""
    count = len(shadows.codes)
    begin, end = np.zeros(count, np.int64), np.zeros(count, np.int64)
    positions = block.keys.search(shadows.keys)[shadows.codes]
    find_ranges(positions, shadows.time, shadows.time, block.offsets, block.content.time, begin, end)
    lengths = end - begin
    which = np.repeat(np.arange(count), lengths)
    rows = np.repeat(begin - (np.cumsum(lengths) - lengths), lengths) + np.arange(len(which))
    same = (block.created_of(rows) == shadows.created[which]) & (block.seq_of(rows) == shadows.seq[which])
    return rows[same], which[same]

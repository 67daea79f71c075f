"""Rows in msgpack: how stores that know nothing but bytes keep features, and make dicts and columns of them again.

With names in it a row explains itself; as a list it is shorter and faster, and whoever changes the features must rewrite them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

import msgpack
import pyarrow as pa

from benchmarks.features import KEY, NAMES, TYPES, UNKNOWN, Answer, Pair, Values

# So many appended rows are written together.
GROUP_ROWS = 4096

MISSING = (None,) * len(NAMES)
_of_row = itemgetter(*NAMES)
_unpack = msgpack.unpackb


class Packing:
    """Packs rows and unpacks answers, all of one kind."""

    def __init__(self, values: Values) -> None:
        self._is_named = values == "named"

    def pack(self, table: pa.Table) -> list[Pair]:
        """Key and value of every row."""
        keys, rows = table[KEY].to_pylist(), zip(*(table[name].to_pylist() for name in NAMES), strict=True)
        if self._is_named:
            return [(key, msgpack.packb(dict(zip(NAMES, row, strict=True)))) for key, row in zip(keys, rows, strict=True)]
        return [(key, msgpack.packb(row)) for key, row in zip(keys, rows, strict=True)]

    def pack_row(self, row: Mapping[str, Any]) -> Pair:
        values = _of_row(row)
        return row[KEY], msgpack.packb(dict(zip(NAMES, values, strict=True)) if self._is_named else values)

    def in_groups(self, rows: Iterable[Mapping[str, Any]], write: Callable[[Sequence[Pair]], None]) -> None:
        """Pack rows one by one, and hand over a group at a time."""
        waiting = map(self.pack_row, rows)
        while group := list(islice(waiting, GROUP_ROWS)):
            write(group)

    def to_dict(self, value: bytes | None) -> Answer:
        """The answer to one key."""
        if value is None:
            return UNKNOWN.copy()
        if self._is_named:
            named: Answer = _unpack(value)
            return named
        return dict(zip(NAMES, _unpack(value), strict=True))

    def to_table(self, values: Iterable[bytes | None]) -> pa.Table:
        """The answer to many keys, in their order."""
        rows = [MISSING if value is None else _unpack(value) for value in values]
        if self._is_named:
            rows = [MISSING if row is MISSING else _of_row(row) for row in rows]
        columns = zip(*rows, strict=True) if rows else ((),) * len(NAMES)
        return pa.table([pa.array(column, kind) for column, kind in zip(columns, TYPES, strict=True)], names=list(NAMES))

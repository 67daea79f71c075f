"""Packing: rows that fit a relation as bytes, each with its key, in the order they came.

Done ahead of the write transaction; what only the commit knows (seq, and clocks that the rows do not tell) is left open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.tail import find_rows, read_entries
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Int64
from mlstore.engine.lazy import lazy
from mlstore.errors import InvalidDataError
from mlstore.format.keys import Factorized, Keys, decode_keys, factorize, line_up
from mlstore.format.ranks import rank_ints
from mlstore.schema.conform import Conformed
from mlstore.schema.instants import has_zone
from mlstore.schema.layout import Layout
from mlstore.schema.timestamps import NULL_TIME

Entry = bytes  # u16 size of the key, key, row

_KEY_SIZE = Struct("<H")


@dataclass(frozen=True, slots=True)
class Told:
    """What rows say of themselves: `keys` distinct and sorted, `codes` the position of each row's key in them.

    `time`, `created`: None where the commit says it.
    """

    keys: list[bytes]
    codes: NDArray[np.int32]
    time: Int64 | None
    created: Int64 | None


@dataclass(frozen=True)
class Packed:
    """Rows ready to be written: the entries, and what they say. `known`: what came as columns; only then entries do not name their keys."""

    relation: Relation
    entries: list[Entry]
    known: Told | None = None

    @lazy
    def told(self) -> Told:
        return read_told(self.relation, self.entries) if self.known is None else self.known

    def columns(self) -> list[pa.Array]:
        """The features of the rows, in the order of the entries."""
        count, plan = len(self.entries), self.relation.plan
        address, size = np.empty(count, np.uintp), np.empty(count, np.int64)
        find_rows(self.entries, address, size)
        reader = plan.batches(range(len(plan.fields)), [name for name, _ in plan.fields])
        found: list[pa.Array] = reader.read(address, size).columns
        return found


def pack_columns(relation: Relation, rows: Conformed) -> Packed:
    """Rows that came as columns."""
    factored = factorize_rows(relation, rows)
    return Packed(relation, _encode(relation, rows), Told(factored.keys.encoded(), factored.codes, rows.event_time, rows.created))


def pack_dicts(relation: Relation, data: Any) -> list[Entry] | None:
    """One dict that is a row, or a list of them, packed; None if it has to go through Arrow: to be understood, or to be refused."""
    form = relation.form
    if form is None:
        return None
    if type(data) is dict:
        # Where every column holds lists, a dict of lists may as well be a dict of columns.
        entry = form.pack(data) if _has_plain_column(relation.layout) else None
        return None if entry is None else [entry]
    if not isinstance(data, list | tuple) or not data:
        return None
    entries: list[Entry] = []
    for row in data:
        entry = form.pack(row)
        if entry is None:
            return None
        entries.append(entry)
    return entries if _zones_agree(relation.layout, data) else None


def list_entries(relation: Relation, rows: Conformed) -> list[Entry]:
    """Rows that came as columns, one by one."""
    keys = line_up(relation.key_spec, rows.keys, rows.rows).keys.encoded()
    return [_KEY_SIZE.pack(len(key)) + key + entry[_KEY_SIZE.size :] for key, entry in zip(keys, _encode(relation, rows), strict=True)]


def read_told(relation: Relation, entries: list[Entry]) -> Told:
    """What entries of the relation's own revision say."""
    layout, count = relation.layout, len(entries)
    time, created, key_sizes = (np.empty(count, np.int64) for _ in range(3))
    keys, codes = rank_keys(relation, read_entries(entries, time, created, key_sizes), key_sizes)
    return Told(keys, codes, time if layout.timestamp is not None else None, created if tells_created(layout) else None)


def unpack_entries(relation: Relation, entries: list[Entry]) -> pa.Table:
    """The table that these entries of a relation are the rows of."""
    layout, packed = relation.layout, Packed(relation, entries)
    told = packed.told
    keys = Keys.from_encoded([told.keys[code] for code in told.codes.tolist()], relation.key_spec.kind)
    columns = decode_keys(relation.key_spec, keys)
    for name, ticks in ((layout.timestamp, told.time), (layout.created_timestamp, told.created)):
        if name is not None and ticks is not None:
            columns.append(pa.array(ticks, mask=ticks == NULL_TIME).view(pa.timestamp(layout.time_unit, "UTC")))
    return pa.table([*columns, *packed.columns()], list(layout.column_names))


def tells_created(layout: Layout) -> bool:
    """Whether rows say when they became known; if not, the commit does."""
    return layout.created_timestamp is not None or (layout.available_after_ns is not None and layout.timestamp is not None)


def factorize_rows(relation: Relation, rows: Conformed) -> Factorized:
    """The distinct keys of rows, and which is whose."""
    try:
        return factorize(relation.key_spec, rows.keys, rows.rows)
    except InvalidDataError as error:
        names = ", ".join(field.name for field in relation.layout.keys)
        raise InvalidDataError(f"{relation.label}: key {names}, {error.message}", hint=error.hint) from error


def rank_keys(relation: Relation, joined: bytes, sizes: Int64) -> tuple[list[bytes], NDArray[np.int32]]:
    """The distinct ones of keys that lie end to end, in order, and the position of each in them."""
    if len(sizes) == 1:
        return [joined], np.zeros(1, np.int32)
    if relation.key_spec.kind == "int":
        uniques, codes = rank_ints(Keys.from_joined(joined, sizes, "int").ints)
        return Keys(ints=uniques).encoded(), codes
    named = Keys.from_joined(joined, sizes, "bytes").encoded()
    keys = sorted(set(named))
    places = dict(zip(keys, range(len(keys)), strict=True))
    return keys, np.fromiter(map(places.__getitem__, named), np.int32, len(named))


def encode_entries(relation: Relation, time: Int64, created: Int64, columns: Sequence[pa.Array | pa.ChunkedArray]) -> list[Entry]:
    """Columns as entries that do not name their keys."""
    return relation.plan.encode(time, created, np.zeros(len(time), np.int64), columns, lead=_KEY_SIZE.size)


def _encode(relation: Relation, rows: Conformed) -> list[Entry]:
    """Rows as entries, with the clocks they tell, and zeros for the others."""
    time, created = (np.zeros(rows.rows, np.int64) if clock is None else clock for clock in (rows.event_time, rows.created))
    return encode_entries(relation, time, created, rows.features)


def _has_plain_column(layout: Layout) -> bool:
    return bool(layout.keys or layout.timestamp or layout.created_timestamp) or not all(field.dtype.parts for field in layout.features)


def _zones_agree(layout: Layout, data: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the times of each column are all with a zone, or all without."""
    if len(data) == 1:
        return True
    clocks = [name for name in (layout.timestamp, layout.created_timestamp) if name is not None]
    timed = [field.name for field in (*layout.keys, *layout.features) if pa.types.is_timestamp(field.dtype.arrow)]
    return all(len({has_zone(row[name]) for row in data if row[name] is not None}) <= 1 for name in (*clocks, *timed))

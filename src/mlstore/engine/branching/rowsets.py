"""Row sets: rows gathered from anywhere, in the order of (key, event time, created, writing), and comparable by content.

Columns are the features of a layout, by name; what a row's own definition lacks is null.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlstore.engine.asking.reading import created_name
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Int64
from mlstore.engine.history.picking import Pick
from mlstore.engine.lazy import lazy
from mlstore.errors import SchemaMismatchError
from mlstore.format.keymerge import merge_keys, places_in
from mlstore.format.keys import Keys, KeySpec, decode_keys
from mlstore.format.rows import RowPlan, compile_plan
from mlstore.schema.conform import Conformed
from mlstore.schema.dtypes import DType, widens
from mlstore.schema.layout import Layout
from mlstore.schema.timestamps import NULL_TIME

Feature = tuple[str, DType]


class RowSet:
    """Rows of a table: encoded keys, clocks, and one column per feature."""

    def __init__(self, shape: "Shape", relation: Relation | None, picks: Sequence[Pick]) -> None:
        self.shape = shape
        self.distinct, codes = _codes(shape, picks)  # the keys, sorted and unique; of each row the position of its key
        time = _joined([block.content.time[rows] for block, rows in picks])
        created = _joined([block.created_of(rows) for block, rows in picks])
        seq = _joined([block.seq_of(rows) for block, rows in picks])
        self._order = np.lexsort((seq, created, time, codes))
        self._picks = picks
        self._relation = relation
        self.codes, self.time, self.created = codes[self._order], time[self._order], created[self._order]

    def __len__(self) -> int:
        return len(self.codes)

    @lazy
    def keys(self) -> list[bytes]:
        """The encoded key of each row."""
        encoded = self.distinct.encoded()
        return [encoded[code] for code in self.codes.tolist()]

    @property
    def origin(self) -> Int64:
        """Of each row, its place among the rows picked."""
        return self._order

    @lazy
    def columns(self) -> list[pa.Array]:
        return [self._column(name, dtype.arrow) for name, dtype in self.shape.features]

    @lazy
    def packed(self) -> list[bytes]:
        """Each row as bytes that are equal where event time, created and all features are."""
        return self.shape.plan.encode(self.time, self.created, np.zeros(len(self), np.int64), self.columns)

    def table(self, rows: Int64 | None = None) -> pa.Table:
        """The rows as a user reads them."""
        picked = np.arange(len(self)) if rows is None else rows
        columns = [column.take(pa.array(picked)) for column in self.columns]
        return self.shape.table(self.distinct, self.codes[picked], self.time[picked], self.created[picked], columns)

    def _column(self, name: str, arrow: pa.DataType) -> pa.Array:
        relation = self._relation
        if relation is None or name not in relation.numbers:
            return pa.nulls(len(self), arrow)
        number = relation.numbers[name]
        parts = [_cast(block.column(number).take(pa.array(rows)), arrow) for block, rows in self._picks]
        joined = pa.chunked_array(parts, arrow).take(pa.array(self._order)).combine_chunks()
        return joined.chunk(0) if isinstance(joined, pa.ChunkedArray) else joined


class Shape:
    """What rows of a table look like: its layout, and features that may be those of several revisions."""

    def __init__(self, layout: Layout, features: Sequence[Feature]) -> None:
        self.layout = layout
        self.features = tuple(features)
        self.key_spec = KeySpec(tuple(field.dtype for field in layout.keys))
        self.plan: RowPlan = compile_plan(1, self.features)

    def keys(self, encoded: Sequence[bytes]) -> tuple[Keys, Int64]:
        """Distinct keys, and of each row the position of its key."""
        distinct = sorted(set(encoded))
        place = {key: code for code, key in enumerate(distinct)}
        return Keys.from_encoded(distinct, self.key_spec.kind), np.array([place[key] for key in encoded], np.int64)

    def key_columns(self, encoded: Sequence[bytes]) -> list[pa.Array]:
        return self.take_keys(*self.keys(encoded))

    def take_keys(self, keys: Keys, codes: Int64) -> list[pa.Array]:
        """The key columns of rows whose keys stand at these positions."""
        return [column.take(pa.array(codes)) for column in decode_keys(self.key_spec, keys)]

    def table(self, keys: Keys, codes: Int64, time: Int64, created: Int64, columns: Sequence[pa.Array]) -> pa.Table:
        """Rows as a user reads them; `codes`: the position in `keys` of each row's key."""
        names, arrays = self.head(keys, codes, time)
        told = created_name(self.layout)
        if told is not None:
            names, arrays = [*names, told], [*arrays, self.clock(created)]
        return pa.Table.from_arrays([*arrays, *columns], names=[*names, *(name for name, _ in self.features)])

    def head(self, keys: Keys, codes: Int64, time: Int64) -> tuple[list[str], list[pa.Array]]:
        """The columns that say which row: the keys and the event time."""
        names, arrays = [field.name for field in self.layout.keys], self.take_keys(keys, codes)
        if self.layout.timestamp is not None:
            names, arrays = [*names, self.layout.timestamp], [*arrays, self.clock(time)]
        return names, arrays

    def clock(self, ticks: Int64) -> pa.Array:
        return pa.array(ticks, mask=ticks == NULL_TIME).view(pa.timestamp(self.layout.time_unit, "UTC"))

    def conformed(self, keys: Sequence[bytes], packed: Sequence[bytes]) -> Conformed:
        """Packed rows, ready to be written with the clocks they have."""
        decoded = self.plan.decode(list(packed))
        return self.conform(keys, decoded.event_time, decoded.created, decoded.columns)

    def conform(self, keys: Sequence[bytes], time: Int64, created: Int64, columns: Sequence[pa.Array]) -> Conformed:
        """Rows, ready to be written with the clocks they have."""
        return Conformed(
            rows=len(keys),
            keys=tuple(pa.chunked_array([column]) for column in self.key_columns(keys)),
            event_time=time,
            created=created,
            features=tuple(pa.chunked_array([column]) for column in columns),
        )


def shape_of(relation: Relation) -> Shape:
    """The shape of a relation's own rows."""
    return Shape(relation.layout, [(field.name, field.dtype) for field in relation.layout.features])


def common_shape(before: Relation | None, after: Relation | None) -> Shape | None:
    """A shape that rows of both fit, with the wider types; None: they are tables of different kinds."""
    relation = after or before
    assert relation is not None
    if before is None or after is None:
        return shape_of(relation)
    layouts = before.layout, after.layout
    if layouts[0].keys != layouts[1].keys or layouts[0].is_online != layouts[1].is_online or layouts[0].time_unit != layouts[1].time_unit:
        return None
    features = {field.name: field.dtype for field in layouts[1].features}
    for field in layouts[0].features:
        other = features.get(field.name, field.dtype)
        if other != field.dtype and widens(other, field.dtype):
            features[field.name] = field.dtype
        elif other == field.dtype or widens(field.dtype, other):
            features[field.name] = other
        else:
            return None
    return Shape(layouts[1], list(features.items()))


def group_rows(before: RowSet, after: RowSet) -> tuple[Int64, Int64]:
    """A number for each row of either, equal where they stand for the same row: by key and event time, in a keyed table by key."""
    keys = merge_keys([before.distinct, after.distinct])
    codes = np.concatenate([places_in(keys, rows.distinct)[rows.codes] for rows in (before, after)])
    if before.shape.layout.is_online or not before.shape.layout.keys:
        time = np.concatenate([before.time, after.time])
        order = np.lexsort((time, codes))
        begins = (codes[order][1:] != codes[order][:-1]) | (time[order][1:] != time[order][:-1])
        codes = np.empty(len(order), np.int64)
        codes[order] = np.cumsum(np.append(False, begins))
    return codes[: len(before)], codes[len(before) :]


def same_rows(one: RowSet, rows: Int64, other: RowSet, others: Int64) -> NDArray[np.bool_]:
    """Of pairs of rows with one key, whether event time, created and all features are equal, bit by bit."""
    same: NDArray[np.bool_] = (one.time[rows] == other.time[others]) & (one.created[rows] == other.created[others])
    if any(dtype.parts for _, dtype in one.shape.features):
        pairs = zip(rows.tolist(), others.tolist(), strict=True)
        return same & np.fromiter((one.packed[row] == other.packed[another] for row, another in pairs), np.bool_, len(rows))
    for mine, theirs in zip(one.columns, other.columns, strict=True):
        same &= _equal_values(mine.take(pa.array(rows)), theirs.take(pa.array(others)))
    return same


def _equal_values(one: pa.Array, other: pa.Array) -> NDArray[np.bool_]:
    if pa.types.is_floating(one.type):
        bits = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[one.type.bit_width]
        one, other = one.view(bits), other.view(bits)
    equal = pc.equal(one, other)
    if one.null_count or other.null_count:
        equal = pc.or_(equal.fill_null(False), pc.and_(one.is_null(), other.is_null()))  # noqa: FBT003
    values: NDArray[np.bool_] = equal.to_numpy(zero_copy_only=False)
    return values


def _codes(shape: "Shape", picks: Sequence[Pick]) -> tuple[Keys, Int64]:
    """The distinct keys of rows, and of each row the position of its key."""
    if not picks:
        return Keys.from_encoded([], shape.key_spec.kind), np.empty(0, np.int64)
    parts = [(block.keys, *np.unique(block.key_of(rows), return_inverse=True)) for block, rows in picks]
    taken = [keys.take(places) for keys, places, _ in parts]
    distinct = merge_keys(taken)
    return distinct, np.concatenate([places_in(distinct, keys)[which] for keys, (_, _, which) in zip(taken, parts, strict=True)])


def _cast(column: pa.Array, arrow: pa.DataType) -> pa.Array:
    try:
        return column if column.type == arrow else column.cast(arrow)
    except pa.ArrowInvalid as cause:
        raise SchemaMismatchError(
            f"a value of {column.type} does not fit {arrow}: {cause}", hint="widen the column here with apply()"
        ) from cause


def _joined(parts: list[Int64]) -> Int64:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)

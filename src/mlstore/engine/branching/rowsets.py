"""Row sets: rows gathered from anywhere, in the order of (key, event time, created, writing), and comparable by content.

Columns are the features of a layout, by name; what a row's own definition lacks is null.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mlstore.engine.asking.reading import created_name
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Int64
from mlstore.engine.history.picking import Pick
from mlstore.engine.lazy import lazy
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
        named = [key for block, rows in picks for key in block.keys.take(block.key_of(rows)).encoded()]
        time = _joined([block.content.time[rows] for block, rows in picks])
        created = _joined([block.created_of(rows) for block, rows in picks])
        seq = _joined([block.seq_of(rows) for block, rows in picks])
        distinct = {key: code for code, key in enumerate(sorted(set(named)))}
        codes = np.array([distinct[key] for key in named], np.int64)
        self._order = np.lexsort((seq, created, time, codes))
        self._picks = picks
        self._relation = relation
        self.keys = [named[place] for place in self._order.tolist()]
        self.time, self.created = time[self._order], created[self._order]

    def __len__(self) -> int:
        return len(self.keys)

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
        return self.shape.table([self.keys[row] for row in picked.tolist()], self.time[picked], self.created[picked], columns)

    def _column(self, name: str, arrow: pa.DataType) -> pa.Array:
        relation = self._relation
        if relation is None or name not in relation.numbers:
            return pa.nulls(len(self), arrow)
        number = relation.numbers[name]
        parts = [block.column(number).take(pa.array(rows)).cast(arrow) for block, rows in self._picks]
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
        keys, codes = self.keys(encoded)
        return [column.take(pa.array(codes)) for column in decode_keys(self.key_spec, keys)]

    def table(self, keys: Sequence[bytes], time: Int64, created: Int64, columns: Sequence[pa.Array]) -> pa.Table:
        names, arrays = self.head(keys, time)
        told = created_name(self.layout)
        if told is not None:
            names, arrays = [*names, told], [*arrays, self.clock(created)]
        return pa.Table.from_arrays([*arrays, *columns], names=[*names, *(name for name, _ in self.features)])

    def head(self, keys: Sequence[bytes], time: Int64) -> tuple[list[str], list[pa.Array]]:
        """The columns that say which row: the keys and the event time."""
        names, arrays = [field.name for field in self.layout.keys], self.key_columns(keys)
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


def _joined(parts: list[Int64]) -> Int64:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)

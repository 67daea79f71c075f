"""Rows: the features of one moment as one run of bytes, for the tail and the online rows; pure.

A row, little-endian and packed (no padding anywhere), of a schema revision with n features:

    bytes             field        meaning
    2    u16          revision     schema revision that names the features, their order and types
    8    i64          event_time   when it was true
    8    i64          created      when it became known
    8    i64          seq          when it was written
    (n + 7) / 8       validity     bit i (of byte i / 8, least significant first) set = feature i is not null; spare bits are 0
    sum of slots      fixed area   one slot per feature, in order
    the rest          variable     the bytes of the variable features that are not null, in order, with nothing between

Slots by type: bool 1 byte (0 or 1); integers, floats, date (i32 days since 1970) and timestamp (i64 in the unit of the type) their
width; decimal 16 bytes, the unscaled value in two's complement; vector(n) its n floats. String, binary and nested types
(list, struct, map): u32, the END of the value in the variable area. A value begins where the nearest variable feature before it that is
not null ends, the first at 0; the last ends where the row ends. The slot of a null is all zero, whatever its type.

String is UTF-8. Nested values are msgpack of the stored value: list = array, struct = array of its fields in order, map = array of [key,
value], vector = array of floats, timestamp and date = integer, decimal = its 16 bytes as bin, string = str, binary = bin, null = nil.

Invariant: rows come from a file and are not trusted; what does not add up is a CorruptionError, never a read beyond the row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.row_layout import CURE, RowLayout
from mlstore._core.rows import pack_rows, peek_rows, unpack_row
from mlstore._core.slots import READINGS
from mlstore.errors import CorruptionError, InvalidDataError, SchemaMismatchError
from mlstore.format.batches import BatchReader
from mlstore.format.nested import decimal_reader, nested_reader, pack_nested
from mlstore.schema.dtypes import DType, widens

HEAD = Struct("<Hqqq")

_BLOCK_ROWS = 16_384  # rows packed at a time: bounds the Python objects of nested columns, and stays in the cache
_KINDS = {"fixed": 0, "bool": 1, "varlen": 2, "nested": 2}  # as the kernel knows them


@dataclass(frozen=True, slots=True)
class RowHeads:
    """The heads of n rows. Rows that were None have `found` False and zeros."""

    found: NDArray[np.bool_]
    revision: NDArray[np.uint16]
    event_time: NDArray[np.int64]
    created: NDArray[np.int64]
    seq: NDArray[np.int64]
    address: NDArray[np.uintp] = field(repr=False)  # valid while `rows` lives
    size: NDArray[np.int64] = field(repr=False)
    rows: tuple[bytes | None, ...] = field(repr=False)

    def shown(self, codes: NDArray[np.int32] | None, *, hidden: NDArray[np.bool_] | None = None) -> "RowHeads":
        """The heads at these positions; none at a negative one (which says that a row has no key), nor where `hidden`.

        As many positions as there are rows, or None, must be the rows themselves in their order, but for the negative ones.
        """
        absent = np.zeros(len(self.rows), np.bool_) if codes is None else codes < 0
        if hidden is None and len(absent) == len(self.rows) and not absent.any():
            return self
        parts: tuple[NDArray[Any], ...]
        parts = (self.found, self.revision, self.event_time, self.created, self.seq, self.address, self.size)
        if codes is not None and len(codes) != len(self.rows):
            parts = tuple(part[codes] if len(part) else np.zeros(len(codes), part.dtype) for part in parts)
            hidden = hidden[codes] if hidden is not None and len(hidden) else None
        if hidden is not None:
            absent = absent | hidden
        if absent.any():
            parts = tuple(np.where(absent, part.dtype.type(0), part) for part in parts)
        found, revision, event_time, created, seq, address, size = parts
        return RowHeads(found, revision, event_time, created, seq, address, size, self.rows)


@dataclass(frozen=True, slots=True)
class DecodedRows:
    """n rows as columns, in the order asked. Rows that were None have `found` False, times 0 and nulls."""

    found: NDArray[np.bool_]
    event_time: NDArray[np.int64]
    created: NDArray[np.int64]
    seq: NDArray[np.int64]
    columns: list[pa.Array]


def revision_of(row: bytes) -> int:
    """The schema revision of a row."""
    return int.from_bytes(row[:2], "little")


def peek(row: bytes) -> tuple[int, int, int, int]:
    """(revision, event_time, created, seq) of a row."""
    if len(row) < HEAD.size:
        raise CorruptionError(f"stored row: cut off at byte {len(row)} of at least {HEAD.size}", hint=CURE)
    return HEAD.unpack_from(row)


def peek_many(rows: Sequence[bytes | None]) -> RowHeads:
    """The heads of many rows."""
    held, n = tuple(rows), len(rows)
    found = np.empty(n, np.bool_)
    event_time, created, seq, size = (np.empty(n, np.int64) for _ in range(4))
    heads = RowHeads(found, np.empty(n, np.uint16), event_time, created, seq, np.empty(n, np.uintp), size, held)
    peek_rows(held, heads.address, size, found.view(np.uint8), heads.revision, event_time, created, seq)
    return heads


# ---- the plan of one revision ----


@dataclass(frozen=True, slots=True)
class _Feature:
    """One feature of a plan, with all that is asked of its type worked out beforehand."""

    name: str
    arrow: pa.DataType
    kind: str
    is_text: bool
    item: pa.DataType | None  # of a vector
    items: int

    @property
    def is_variable(self) -> bool:
        return self.kind == "varlen" or self.kind == "nested"

    def source(self, array: pa.Array) -> tuple[Any, Any, Any, int]:
        """(values, validity, offsets, first row) of one column, as the kernel takes them."""
        if self.kind == "nested":
            array = pack_nested(self.name, array)
        buffers = array.buffers()
        if self.item is not None:
            return (self._vector_items(array), buffers[0], None, array.offset)
        if self.is_variable:
            return (buffers[2] or b"", buffers[0], buffers[1], array.offset)
        return (buffers[1], buffers[0], None, array.offset)

    def _vector_items(self, array: pa.Array) -> pa.Buffer:
        items = array.values
        if items.null_count and array.flatten().null_count:
            raise InvalidDataError(f"{self.name}: a vector holds a null", hint="fill the gaps, or make the whole vector null")
        return items.buffers()[1].slice(items.offset * items.type.bit_width // 8)


@dataclass(frozen=True, slots=True)
class RowPlan:
    """How the rows of one schema revision are packed and unpacked."""

    revision: int
    fields: tuple[tuple[str, DType], ...]
    features: tuple[_Feature, ...] = field(repr=False, compare=False)
    layout: RowLayout = field(repr=False, compare=False)

    def encode(
        self,
        event_time: NDArray[np.int64],
        created: NDArray[np.int64],
        seq: NDArray[np.int64],
        columns: Sequence[pa.Array | pa.ChunkedArray],
        *,
        lead: int = 0,
    ) -> list[bytes]:
        """One row per time, of columns whose types are exactly those of the plan; behind `lead` bytes of zero."""
        self._check_columns(len(event_time), columns)
        rows: list[bytes] = []
        for batch in _aligned_batches(columns, len(event_time)):
            block = slice(len(rows), len(rows) + (len(batch[0]) if batch else _BLOCK_ROWS))
            sources = [feature.source(array) for feature, array in zip(self.features, batch, strict=True)]
            rows += pack_rows(self.layout, event_time[block], created[block], seq[block], sources, lead)
        return rows

    def decode(self, rows: Sequence[bytes | None], wanted: Sequence[int] | None = None) -> DecodedRows:
        """Many rows of this revision as Arrow columns: every feature, or those at the wanted positions."""
        heads = peek_many(rows)
        columns = _unnamed(self, self.positions(wanted)).read(heads.address, heads.size).columns
        return DecodedRows(heads.found, heads.event_time, heads.created, heads.seq, columns)

    def decode_one(self, row: bytes, wanted: Sequence[int] | None = None) -> list[Any]:
        """One row of this revision as Python objects, in the same order as `decode`."""
        try:
            return unpack_row(self.layout, row, wanted)
        except UnicodeDecodeError as error:
            raise CorruptionError(f"stored row: a string is not UTF-8: {error}", hint=CURE) from error

    def positions(self, wanted: Sequence[int] | None) -> list[int]:
        """The wanted positions; None means all."""
        return list(range(len(self.fields)) if wanted is None else wanted)

    def _check_columns(self, rows: int, columns: Sequence[pa.Array | pa.ChunkedArray]) -> None:
        if len(columns) != len(self.fields):
            raise SchemaMismatchError(f"expected {len(self.fields)} columns, got {len(columns)}", hint="pass every feature, in order")
        for feature, column in zip(self.features, columns, strict=True):
            if column.type != feature.arrow:
                raise SchemaMismatchError(f"{feature.name}: expected {feature.arrow}, got {column.type}", hint="cast the column")
            if len(column) != rows:
                raise SchemaMismatchError(f"{feature.name}: {len(column)} values for {rows} rows", hint="pass columns of one length")

    def batches(self, wanted: Sequence[int], names: Sequence[str]) -> BatchReader:
        """Reads these features of rows of this revision into record batches."""
        return BatchReader(self.layout, self.fields, wanted, names)


def compile_plan(revision: int, fields: Sequence[tuple[str, DType]]) -> RowPlan:
    """The plan of a schema revision whose features are these, in this order."""
    features = tuple(_feature(name, dtype) for name, dtype in fields)
    readings = [reading_of(name, dtype.arrow) for name, dtype in fields]
    layout = RowLayout(
        revision,
        [_KINDS[feature.kind] for feature in features],
        [dtype.width for _, dtype in fields],
        [reading for reading, _ in readings],
        tuple(converter for _, converter in readings),
    )
    return RowPlan(revision, tuple(fields), features, layout)


def _feature(name: str, dtype: DType) -> _Feature:
    is_vector = pa.types.is_fixed_size_list(dtype.arrow)
    return _Feature(
        name,
        dtype.arrow,
        kind=dtype.kind,
        is_text=pa.types.is_string(dtype.arrow),
        item=dtype.arrow.value_type if is_vector else None,
        items=dtype.arrow.list_size if is_vector else 0,
    )


def reading_of(name: str, kind: pa.DataType) -> tuple[int, Callable[[bytes], object] | None]:
    """How the kernel makes Python objects of a feature, and the converter if it cannot alone."""
    if pa.types.is_timestamp(kind):
        return READINGS[kind.unit], None
    if pa.types.is_fixed_size_list(kind):
        return READINGS["vector32" if pa.types.is_float32(kind.value_type) else "vector64"], None
    if pa.types.is_decimal(kind):
        return READINGS["call"], decimal_reader(kind)
    if pa.types.is_nested(kind):
        return READINGS["call"], nested_reader(name, kind)
    return READINGS[str(kind)], None


def _aligned_batches(columns: Sequence[pa.Array | pa.ChunkedArray], rows: int) -> list[list[pa.Array]]:
    """The columns cut, without copying, into blocks in which each is one array."""
    if not columns:
        return [[] for _ in range(0, rows, _BLOCK_ROWS)]
    if 0 < rows <= _BLOCK_ROWS and all(isinstance(column, pa.Array) for column in columns):
        return [list(columns)]
    table = pa.Table.from_arrays(list(columns), names=[str(number) for number in range(len(columns))])
    return [batch.columns for batch in table.to_batches(max_chunksize=_BLOCK_ROWS) if len(batch)]


# ---- rows of older revisions ----


class RowReader:
    """Reads rows of any known revision as rows of the target plan.

    `numbers`: of each revision the numbers of its features, which tell where those of the target lie; without, a feature's number is its
    position. What a revision lacks is null; its types may be narrower, or, where a widening was taken back, wider.
    """

    __slots__ = ("_casts", "_mark", "_plans", "_sources", "target")

    def __init__(self, plans: Mapping[int, RowPlan], target: RowPlan, numbers: Mapping[int, Sequence[int]] | None = None) -> None:
        self.target = target
        known = dict(plans) | {target.revision: target}
        places = {revision: range(len(plan.fields)) if numbers is None else numbers[revision] for revision, plan in known.items()}
        sources = {revision: _sources(held, places[target.revision]) for revision, held in places.items()}
        self._plans = {revision: plan for revision, plan in known.items() if _leads_to(plan, target, sources[revision])}
        self._sources = {revision: sources[revision] for revision in self._plans}
        self._casts = {revision: _value_casts(plan, target, sources[revision]) for revision, plan in self._plans.items()}
        self._mark = target.revision.to_bytes(2, "little")

    def decode(self, rows: Sequence[bytes | None], wanted: Sequence[int] | None = None) -> DecodedRows:
        """Many rows as Arrow columns of the target plan: every feature, or those at the wanted positions."""
        heads, positions = peek_many(rows), self.target.positions(wanted)
        columns = self.batches(positions, list(map(str, positions))).read(heads).columns
        return DecodedRows(heads.found, heads.event_time, heads.created, heads.seq, columns)

    def batches(self, wanted: Sequence[int], names: Sequence[str]) -> "RowBatches":
        """Reads these features of the target plan into record batches."""
        return RowBatches(self, tuple(wanted), tuple(names))

    def widened(self, revision: int, heads: RowHeads, wanted: Sequence[int]) -> list[pa.Array]:
        """The features of rows of one revision as those of the target; of other rows nulls."""
        plan = self._plan(revision)
        address = np.where(heads.revision == revision, heads.address, np.uintp(0))
        # A row for every row, so that errors name the right one.
        sources = [self._sources[revision][number] for number in wanted]
        stored = iter(_unnamed(plan, [source for source in sources if source is not None]).read(address, heads.size).columns)
        types = [self.target.features[number].arrow for number in wanted]
        return [
            pa.nulls(len(address), arrow) if source is None else _retyped(next(stored), arrow)
            for source, arrow in zip(sources, types, strict=True)
        ]

    def decode_one(self, row: bytes, wanted: Sequence[int] | None = None) -> list[Any]:
        """One row as Python objects of the target plan."""
        if row[:2] == self._mark:
            return self.target.decode_one(row, wanted)
        revision = peek(row)[0]
        plan, positions = self._plan(revision), self.target.positions(wanted)
        sources, casts = self._sources[revision], self._casts[revision]
        stored = iter(plan.decode_one(row, [source for number in positions if (source := sources[number]) is not None]))
        return [None if sources[number] is None else _cast(casts[number], next(stored)) for number in positions]

    def _plan(self, revision: int) -> RowPlan:
        if revision not in self._plans:
            known = ", ".join(map(str, sorted(self._plans)))
            raise CorruptionError(f"stored row: schema revision {revision}, expected one of {known}", hint=CURE)
        return self._plans[revision]


class RowBatches:
    """Some features of rows of any known revision, as record batches under names of their own."""

    __slots__ = ("_names", "_plain", "_reader", "_revision", "_wanted")

    def __init__(self, reader: RowReader, wanted: tuple[int, ...], names: tuple[str, ...]) -> None:
        self._reader = reader
        self._wanted = wanted
        self._names = names
        self._revision = reader.target.revision
        self._plain = reader.target.batches(wanted, names)

    def read(self, heads: RowHeads) -> pa.RecordBatch:
        """A row per head."""
        if not (heads.found & (heads.revision != self._revision)).any():
            return self._plain.read(heads.address, heads.size)
        present = [int(revision) for revision in np.unique(heads.revision[heads.found])]
        parts = [self._reader.widened(revision, heads, self._wanted) for revision in present]
        if len(parts) == 1:
            return pa.RecordBatch.from_arrays(parts[0], self._names)
        # A row that is not found may be of a revision behind all those present: any part has a null for it.
        part = np.where(heads.found, np.searchsorted(present, heads.revision), 0)
        pick = pa.array(part * len(heads.found) + np.arange(len(heads.found)))
        columns = [pa.concat_arrays(arrays).take(pick) for arrays in zip(*parts, strict=True)]
        return pa.RecordBatch.from_arrays(columns, self._names)


def _unnamed(plan: RowPlan, wanted: Sequence[int]) -> BatchReader:
    return plan.batches(wanted, list(map(str, wanted)))


def _retyped(column: pa.Array, arrow: pa.DataType) -> pa.Array:
    """A column in the target's type. What does not fit a narrower one is of rows that nobody sees who reads them so."""
    return column if column.type == arrow else column.cast(arrow, safe=False)


def _sources(held: Sequence[int], wanted: Sequence[int]) -> tuple[int | None, ...]:
    """For each number wanted the position where a revision has it; None: nowhere."""
    place = {number: position for position, number in enumerate(held)}
    return tuple(place.get(number) for number in wanted)


def _pairs(plan: RowPlan, target: RowPlan, sources: Sequence[int | None]) -> list[tuple[DType, DType] | None]:
    """For each feature of the target its type as stored, and its own."""
    return [None if source is None else (plan.fields[source][1], new) for source, (_, new) in zip(sources, target.fields, strict=True)]


def _leads_to(plan: RowPlan, target: RowPlan, sources: Sequence[int | None]) -> bool:
    """Whether rows of the plan can be read as rows of the target."""
    return all(pair is None or pair[0] == pair[1] or widens(*pair) or widens(*reversed(pair)) for pair in _pairs(plan, target, sources))


def _value_casts(plan: RowPlan, target: RowPlan, sources: Sequence[int | None]) -> list[Callable[[Any], object] | None]:
    """Per feature of the target how the Python value stored becomes its own; None: it is the same."""
    return [None if pair is None else _value_cast(*(dtype.arrow for dtype in pair)) for pair in _pairs(plan, target, sources)]


def _value_cast(old: pa.DataType, new: pa.DataType) -> Callable[[Any], object] | None:
    if pa.types.is_integer(old) and pa.types.is_floating(new):
        return float
    return int if pa.types.is_floating(old) and pa.types.is_integer(new) else None


def _cast(cast: Callable[[Any], object] | None, value: object) -> object:
    return value if cast is None or value is None else cast(value)

"""Batches: features of many rows of one revision as one record batch, which the kernel hands to Arrow whole. Row layout: see `rows`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.batches import Batch, read_batch
from mlstore._core.row_layout import CURE, RowLayout
from mlstore.errors import CorruptionError
from mlstore.format.nested import build_nested
from mlstore.schema.dtypes import DType


class BatchReader:
    """Makes record batches of some features of rows, under names of their own."""

    __slots__ = ("_fields", "_items", "_layout", "_nested", "_schema", "_texts", "_wanted")

    def __init__(self, layout: RowLayout, fields: Sequence[tuple[str, DType]], wanted: Sequence[int], names: Sequence[str]) -> None:
        chosen = [fields[number] for number in wanted]
        self._layout = layout
        self._fields = chosen
        self._wanted = tuple(wanted)
        self._items = tuple(dtype.arrow.list_size if pa.types.is_fixed_size_list(dtype.arrow) else 0 for _, dtype in chosen)
        self._nested = [place for place, (_, dtype) in enumerate(chosen) if dtype.kind == "nested"]
        self._texts = {place for place, (_, dtype) in enumerate(chosen) if pa.types.is_string(dtype.arrow)}
        stored = [pa.binary() if dtype.kind == "nested" else dtype.arrow for _, dtype in chosen]
        self._schema = pa.schema(list(zip(names, stored, strict=True)))

    def read(self, address: NDArray[np.uintp], size: NDArray[np.int64]) -> pa.RecordBatch:
        """A column per feature, of rows whose addresses and sizes are given; who has them keeps the rows alive until it is done."""
        read = read_batch(self._layout, address, size, self._wanted, self._items)
        batch = pa.record_batch(_Handed(self._schema, read))
        for place in read.wide_texts:
            if place in self._texts:
                self._check_text(batch.column(place), place)
        for place in self._nested:
            name, dtype = self._fields[place]
            column = build_nested(name, dtype.arrow, batch.column(place).to_pylist())
            batch = batch.set_column(place, pa.field(self._schema.names[place], dtype.arrow), column)
        return batch

    def _check_text(self, column: pa.Array, place: int) -> None:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise CorruptionError(f"stored rows: {self._fields[place][0]} is not UTF-8: {error}", hint=CURE) from error


class _Handed:
    """What Arrow takes a batch from; it may be taken once."""

    __slots__ = ("_batch", "_schema")

    def __init__(self, schema: pa.Schema, batch: Batch) -> None:
        self._schema = schema
        self._batch = batch

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[Any, Any]:
        return self._schema.__arrow_c_schema__(), self._batch.capsule()

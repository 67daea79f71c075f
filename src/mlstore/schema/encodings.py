"""Columns freed of what Arrow wraps around values: dictionaries, run ends, views, extension types."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def chunks_of(column: pa.ChunkedArray | pa.Array) -> list[pa.Array]:
    """The decoded arrays of a column, at least one."""
    if isinstance(column, pa.Array):
        return [decode_array(column)]
    return [decode_array(chunk) for chunk in column.chunks or [pa.nulls(0, column.type)]]


def decode_array(array: pa.Array) -> pa.Array:
    """The values themselves; the array as it is when nothing is wrapped around them."""
    is_type = pa.types
    while True:
        if isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        elif is_type.is_dictionary(array.type):
            # Arrow looks values up in a dictionary of any type but views.
            values = decode_array(array.dictionary)
            array = values.take(array.indices)
        elif is_type.is_run_end_encoded(array.type):
            array = pc.run_end_decode(array)
        elif is_type.is_string_view(array.type):
            array = array.cast(pa.large_string())
        elif is_type.is_binary_view(array.type):
            array = array.cast(pa.large_binary())
        else:
            return array

"""Lists, vectors, structs and maps made to fit their type: taken apart, their values cast, put together again.

How a plain value is cast is the caller's to say: each function is given `cast`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlstore.errors import InvalidDataError, SchemaMismatchError
from mlstore.schema.dtypes import DType
from mlstore.schema.number_casts import refuse
from mlstore.schema.places import Place

Cast = Callable[[pa.Array, DType, Place], pa.Array]


def cast_to_list(array: pa.Array, dtype: DType, place: Place, cast: Cast) -> pa.Array:
    """Lists of any encoding."""
    if not _is_any_list(array.type):
        raise refuse(array, dtype, place)
    offsets = _offsets(_lengths(array))
    items = cast(array.flatten(), dtype.parts[0][1], place.inside("[]", offsets.tolist()))
    return pa.ListArray.from_arrays(pa.array(offsets), items, type=dtype.arrow, mask=_null_mask(array))


def cast_to_vector(array: pa.Array, dtype: DType, place: Place, cast: Cast) -> pa.Array:
    """Lists that all have the length of the vector, and no null in them."""
    if not _is_any_list(array.type):
        raise refuse(array, dtype, place)
    size = int(dtype.arrow.list_size)
    lengths = _lengths(array)
    is_null = array.is_null().to_numpy(zero_copy_only=False)
    misfits = (lengths != size) & ~is_null
    if misfits.any():
        row = int(misfits.argmax())
        raise InvalidDataError(
            f"{place.at(row)}: {lengths[row]} values, expected {size} for {dtype}", hint="pad or cut it, or use list_(T)"
        )
    inside = place.inside("[]", _offsets(lengths).tolist())
    items = cast(array.flatten(), dtype.parts[0][1], inside)
    if items.null_count:
        row = int(items.is_null().to_numpy(zero_copy_only=False).argmax())
        raise InvalidDataError(f"{inside.at(row)}: a null inside a vector", hint="use NaN, or make the whole vector null")
    if not array.null_count:
        return pa.FixedSizeListArray.from_arrays(items, type=dtype.arrow)
    # Under a null vector lie zeros, so that the values are dense and free of nulls.
    values = np.zeros((len(array), size), items.type.to_pandas_dtype())
    values[~is_null] = items.to_numpy().reshape(-1, size)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=dtype.arrow, mask=_null_mask(array))


def is_dense_vector(array: pa.Array) -> bool:
    """Whether a fixed-size list can be kept as it is: no value in it is null."""
    return bool(array.values.slice(array.offset * array.type.list_size, len(array) * array.type.list_size).null_count == 0)


def cast_to_struct(array: pa.Array, dtype: DType, place: Place, cast: Cast) -> pa.Array:
    """Structs by field name; a missing field is null, an unknown one refused."""
    if not pa.types.is_struct(array.type):
        raise refuse(array, dtype, place)
    given = dict(zip([part.name for part in array.type], array.flatten(), strict=True))
    declared = dict(dtype.parts)
    if len(given) < array.type.num_fields or given.keys() - declared.keys():
        raise SchemaMismatchError(
            f"{place.name}: fields {', '.join(part.name for part in array.type)}; expected {', '.join(declared)}",
            hint="drop the field, or declare it",
        )
    children = [
        cast(given[name], part, place.part(name)) if name in given else pa.nulls(len(array), part.arrow) for name, part in declared.items()
    ]
    return pa.StructArray.from_arrays(children, fields=list(dtype.arrow), mask=_null_mask(array))


def cast_to_map(array: pa.Array, dtype: DType, place: Place, cast: Cast) -> pa.Array:
    """Maps with other types of key or value."""
    if not pa.types.is_map(array.type):
        raise refuse(array, dtype, place)
    entry = pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])
    lists = array.cast(pa.list_(entry))
    offsets = _offsets(_lengths(lists))
    inside = place.inside("{}", offsets.tolist())
    keys, values = lists.flatten().flatten()
    (_, key), (_, value) = dtype.parts
    return pa.MapArray.from_arrays(
        pa.array(offsets), cast(keys, key, inside), cast(values, value, inside), type=dtype.arrow, mask=_null_mask(array)
    )


def _is_any_list(arrow: pa.DataType) -> bool:
    is_type = pa.types
    plain = is_type.is_list(arrow) or is_type.is_large_list(arrow) or is_type.is_fixed_size_list(arrow)
    return bool(plain or is_type.is_list_view(arrow) or is_type.is_large_list_view(arrow))


def _lengths(array: pa.Array) -> NDArray[np.int64]:
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    return lengths.cast(pa.int64()).to_numpy().astype(np.int64, copy=False)  # type: ignore[no-any-return]


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if offsets[-1] > 2**31 - 1:
        raise InvalidDataError(f"{offsets[-1]} list values in one chunk of a column", hint="write the table in smaller batches")
    return offsets.astype(np.int32)


def _null_mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None

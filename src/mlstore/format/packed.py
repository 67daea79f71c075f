"""Packed values: msgpack read back from a file that is not trusted, and the fields of records held to their types.

Memory is taken only for what is there; there are no extension types, so nothing but plain values ever comes of a file.
"""

import struct
from dataclasses import MISSING, fields
from itertools import product
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgpack

from mlstore._core.packed import is_packed
from mlstore.errors import CorruptionError

CURE = "run verify(), restore a backup"

Shapes = frozenset[tuple[type, ...]]


class FixedFields(struct.Struct):
    """A `struct.Struct` for keys and values of a file: what does not fit it is a CorruptionError."""

    def unpack(self, data: Any, /) -> tuple[Any, ...]:
        try:
            return super().unpack(data)
        except struct.error as error:
            raise CorruptionError(f"a key or value of {len(data)} bytes, not {self.size}", hint=CURE) from error


def unpack(packed: bytes, *, use_list: bool = True) -> Any:
    """The value; ValueError or TypeError if the bytes are not one whole value."""
    if not is_packed(packed):
        raise ValueError(f"{len(packed)} bytes that are no whole msgpack value")
    try:
        return msgpack.unpackb(packed, use_list=use_list, strict_map_key=False)
    except msgpack.UnpackException as error:
        raise ValueError(str(error)) from error


def shapes_of(kind: type) -> Shapes:
    """All combinations of types that the fields of a dataclass may have; those with a default may be missing at the end."""
    hints = get_type_hints(kind)
    types = [_types_of(hints[field.name]) for field in fields(kind)]
    least = sum(field.default is MISSING for field in fields(kind))
    return frozenset(shape for size in range(least, len(types) + 1) for shape in product(*types[:size]))


def _types_of(hint: Any) -> tuple[type, ...]:
    if get_origin(hint) in (Union, UnionType):
        return tuple(kind for part in get_args(hint) for kind in _types_of(part))
    if hint is None or hint is NoneType:
        return (NoneType,)
    found: type = get_origin(hint) or hint
    return (found,)

"""Definitions as plain values that msgpack can pack, and back. Types are text, and order is kept."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa

from mlstore.errors import CorruptionError, FormatVersionError
from mlstore.schema.dtypes import DType, parse_dtype
from mlstore.schema.entity import Entity
from mlstore.schema.frozen import FrozenMap
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView

Definition = Entity | FeatureView | Table | FeatureService

KINDS: dict[str, type[Definition]] = {"entity": Entity, "view": FeatureView, "table": Table, "service": FeatureService}
_TYPED = {"keys", "schema"}
_LISTED = {"key", "features"}


def to_record(definition: Definition) -> dict[str, Any]:
    """Every field of a definition, and its kind. A view names its entity."""
    kind = next(kind for kind, known in KINDS.items() if type(definition) is known)
    fields = {field.name: _packed(getattr(definition, field.name)) for field in dataclasses.fields(definition)}
    return {"kind": kind, **fields}


def from_record(record: dict[str, Any]) -> Definition:
    """The definition that `to_record` took apart. A field that the record lacks has its default."""
    kind = record.get("kind", "")
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None or record.keys() - {"kind"} - {field.name for field in dataclasses.fields(cls)}:
        raise FormatVersionError(
            f"a definition of kind {record.get('kind')!r} with fields this mlstore does not know", hint="upgrade mlstore"
        )
    try:
        fields: dict[str, Any] = {name: _unpacked(name, value) for name, value in record.items() if name != "kind"}
        return cls(**fields)
    except (TypeError, ValueError, AttributeError, pa.ArrowException) as cause:
        raise CorruptionError(
            f"a definition of kind {kind!r} lacks fields, or says what cannot be: {cause}", hint="run verify(), restore a backup"
        ) from cause


def _packed(value: object) -> object:
    if isinstance(value, FrozenMap):
        return [[name, item.spec if isinstance(item, DType) else item] for name, item in value.items()]
    if isinstance(value, tuple):
        return list(value)
    return value.name if isinstance(value, Entity) else value


def _unpacked(name: str, value: Any) -> object:
    if name in _TYPED:
        return {column: parse_dtype(spec) for column, spec in value}
    if name == "tags":
        return dict(value)
    return tuple(value) if name in _LISTED else value

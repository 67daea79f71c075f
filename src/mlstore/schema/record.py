"""Definitions as plain values that msgpack can pack, and back. Types are text, and order is kept."""

from __future__ import annotations

import dataclasses
from typing import Any

from mlstore.errors import CorruptionError, FormatVersionError
from mlstore.schema.dtypes import DType, parse_dtype
from mlstore.schema.entity import Entity
from mlstore.schema.expression import Expression
from mlstore.schema.frozen import FrozenMap
from mlstore.schema.functions import FunctionCode
from mlstore.schema.ondemand import OnDemandView
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView

Definition = Entity | FeatureView | Table | OnDemandView | FeatureService

KINDS: dict[str, type[Definition]] = {
    "entity": Entity,
    "view": FeatureView,
    "table": Table,
    "on_demand": OnDemandView,
    "service": FeatureService,
}
_TYPED = {"keys", "schema", "request", "returns"}
_LISTED = {"key", "features", "inputs"}


def to_record(definition: Definition) -> dict[str, Any]:
    """Every field of a definition, and its kind. A view names its entity."""
    kind = next(kind for kind, known in KINDS.items() if type(definition) is known)
    fields = {field.name: _packed(getattr(definition, field.name)) for field in dataclasses.fields(definition)}
    return {"kind": kind, **fields}


def from_record(record: dict[str, Any]) -> Definition:
    """The definition that `to_record` took apart. A field that the record lacks has its default."""
    fields: dict[str, Any] = {name: _unpacked(name, value) for name, value in record.items() if name != "kind"}
    cls = KINDS.get(record.get("kind", ""))
    if cls is None or fields.keys() - {field.name for field in dataclasses.fields(cls)}:
        raise FormatVersionError(
            f"a definition of kind {record.get('kind')!r} with fields this mlstore does not know", hint="upgrade mlstore"
        )
    if cls is OnDemandView:
        fields |= _computed(record)
    try:
        return cls(**fields)
    except TypeError as cause:
        raise CorruptionError(f"a definition of kind {record['kind']!r} lacks fields", hint="run verify(), restore a backup") from cause


def _packed(value: object) -> object:
    if isinstance(value, FrozenMap):
        return [[name, _packed(item)] for name, item in value.items()]
    if isinstance(value, DType):
        return value.spec
    if isinstance(value, Expression):
        return value.to_record()
    if isinstance(value, FunctionCode):
        return [value.name, value.source, value.digest]
    if isinstance(value, tuple):
        return list(value)
    return value.name if isinstance(value, Entity) else value


def _unpacked(name: str, value: Any) -> object:
    if name in _TYPED:
        return {column: parse_dtype(spec) for column, spec in value}
    if name == "tags":
        return dict(value)
    return tuple(value) if name in _LISTED else value


def _computed(record: dict[str, Any]) -> dict[str, Any]:
    """What an on-demand view computes: expressions, or a function, which is named and never run."""
    try:
        code = record.get("function")
        expressions = {name: Expression.from_record(stored) for name, stored in record["features"]}
        return {"features": expressions, "function": None if code is None else FunctionCode(*map(str, code))}
    except (TypeError, ValueError, KeyError) as cause:
        raise CorruptionError("an on-demand view cannot be read", hint="run verify(), restore a backup") from cause

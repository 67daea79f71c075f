"""Definitions as plain values that msgpack can pack, and back. Types are text, and order is kept."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import pyarrow as pa

from mlstore.errors import CorruptionError, FormatVersionError
from mlstore.schema.aggregation import Aggregation
from mlstore.schema.dtypes import DType, parse_dtype
from mlstore.schema.entity import Entity
from mlstore.schema.expression import Expression
from mlstore.schema.frozen import FrozenMap
from mlstore.schema.functions import FunctionCode
from mlstore.schema.ondemand import OnDemandView
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.schema.window import Window
from mlstore.schema.window_view import WindowView

Definition = Entity | FeatureView | WindowView | Table | OnDemandView | FeatureService

KINDS: dict[str, type[Definition]] = {
    "entity": Entity,
    "view": FeatureView,
    "window": WindowView,
    "table": Table,
    "on_demand": OnDemandView,
    "service": FeatureService,
}
_PARTS: dict[str, type[Aggregation | Window]] = {"aggregations": Aggregation, "windows": Window}
_TYPED = {"keys", "schema", "request", "returns"}
_LISTED = {"key", "features", "functions", "q", "bins", "tiles", "inputs"}

Made = TypeVar("Made")


def to_record(definition: Definition) -> dict[str, Any]:
    """A definition as plain values, for JSON or another file: every field, and its kind. A view names its entity, a window view its source.

    Examples
    --------
    >>> ml.to_record(ml.Entity("user", keys={"user_id": ml.int64}))["keys"]
    [['user_id', 'int64']]
    >>> ml.from_record(ml.to_record(ml.Entity("user", keys={"user_id": ml.int64})))
    Entity('user', keys={'user_id': int64})
    """
    kind = next(kind for kind, known in KINDS.items() if type(definition) is known)
    fields = {field.name: _packed(getattr(definition, field.name)) for field in dataclasses.fields(definition)}
    return {"kind": kind, **fields}


def from_record(record: dict[str, Any]) -> Definition:
    """The definition that `to_record` took apart. A field that the record lacks has its default.

    FormatVersionError: it is of a newer mlstore. CorruptionError, DefinitionError: it makes no sense.
    """
    kind = record.get("kind")
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise _newer(kind)
    try:
        return _made(cls, {name: value for name, value in record.items() if name != "kind"}, kind)
    except (TypeError, ValueError, AttributeError, pa.ArrowException) as cause:
        raise CorruptionError(
            f"a definition of kind {kind!r} lacks fields, or says what cannot be: {cause}", hint="run verify(), restore a backup"
        ) from cause


def _made(cls: type[Made], record: dict[str, Any], kind: object) -> Made:
    if record.keys() - {field.name for field in dataclasses.fields(cls)}:  # type: ignore[arg-type]
        raise _newer(kind)
    return cls(**{name: _unpacked(name, value, kind) for name, value in record.items()})


def _newer(kind: object) -> FormatVersionError:
    return FormatVersionError(f"a definition of kind {kind!r} with fields this mlstore does not know", hint="upgrade mlstore")


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
        return [_packed(item) for item in value]
    if isinstance(value, Aggregation | Window):
        return {field.name: _packed(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value.name if isinstance(value, Entity | FeatureView | Table) else value


def _unpacked(name: str, value: Any, kind: object) -> object:
    if name in _PARTS:
        return tuple(_made(_PARTS[name], part, kind) for part in value)
    if name == "where":
        return None if value is None else Expression.from_record(value)
    if name == "features" and kind == "on_demand":
        return {feature: Expression.from_record(expression) for feature, expression in value}
    if name == "function":
        return None if value is None else FunctionCode(*map(str, value))  # named, and never run
    if name in _TYPED:
        return {column: parse_dtype(spec) for column, spec in value}
    if name == "tags":
        return dict(value)
    return tuple(value) if name in _LISTED else value

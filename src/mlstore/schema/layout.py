"""What the floors above need to know of a view or table: its columns by part, and its rules as numbers and claims."""

from __future__ import annotations

from dataclasses import dataclass

from mlstore.errors import DefinitionError
from mlstore.schema.declarations import check_columns_apart
from mlstore.schema.dtypes import DType
from mlstore.schema.entity import Entity
from mlstore.schema.table import Table
from mlstore.schema.timestamps import TimeUnit
from mlstore.schema.view import FeatureView


@dataclass(frozen=True, slots=True)
class Field:
    """A named, typed column."""

    name: str
    dtype: DType


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a view or table: keys, times, features (a feature's number is its position), and its rules."""

    name: str
    keys: tuple[Field, ...]
    features: tuple[Field, ...]
    timestamp: str | None
    created_timestamp: str | None
    time_unit: TimeUnit
    ttl_ns: int | None
    retention_ns: int | None
    available_after_ns: int | None
    is_strict: bool
    last_valid: bool
    is_online: bool

    @property
    def ticks_ns(self) -> int:
        """Nanoseconds of one tick of this table's clock."""
        return 1 if self.time_unit == "ns" else 1000

    @property
    def column_names(self) -> tuple[str, ...]:
        """Every column that data must have, in the order in which data is shown."""
        times = tuple(name for name in (self.timestamp, self.created_timestamp) if name is not None)
        return (*(field.name for field in self.keys), *times, *(field.name for field in self.features))


def view_layout(view: FeatureView, entity: Entity | None) -> Layout:
    """The layout of a view of an entity; `entity` is None for global features."""
    if (None if entity is None else entity.name) != view.entity_name:
        raise DefinitionError(
            f"view {view.name}: its entity is {view.entity_name!r}, not {entity and entity.name!r}", hint="give the entity it names"
        )
    keys = {} if entity is None else entity.keys
    check_columns_apart(f"view {view.name}", keys=keys, times=(view.timestamp, view.created_timestamp), columns=view.schema)
    return Layout(
        name=view.name,
        keys=tuple(Field(name, dtype) for name, dtype in keys.items()),
        features=tuple(Field(name, dtype) for name, dtype in view.schema.items()),
        timestamp=view.timestamp,
        created_timestamp=view.created_timestamp,
        time_unit=view.time_unit,
        ttl_ns=view.ttl_ns,
        retention_ns=view.retention_ns,
        available_after_ns=view.available_after_ns,
        is_strict=view.boundary == "strict",
        last_valid=view.nulls == "last_valid",
        is_online=True,
    )


def table_layout(table: Table) -> Layout:
    """The layout of a table: its features are the columns outside its key."""
    return Layout(
        name=table.name,
        keys=tuple(Field(name, table.schema[name]) for name in table.key),
        features=tuple(Field(name, dtype) for name, dtype in table.schema.items() if name not in table.key),
        timestamp=table.timestamp,
        created_timestamp=table.created_timestamp,
        time_unit=table.time_unit,
        ttl_ns=None,
        retention_ns=table.retention_ns,
        available_after_ns=None,
        is_strict=False,
        last_valid=False,
        is_online=False,
    )

"""Feature views: values about an entity, each true from a moment on, and the rules by which they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from typing import Literal

from mlstore.errors import DefinitionError
from mlstore.schema.declarations import (
    check_choice,
    check_columns_apart,
    check_name,
    checked_columns,
    checked_duration,
    describe,
    duration_ns,
    set_field,
    show,
)
from mlstore.schema.dtypes import DType
from mlstore.schema.entity import Entity
from mlstore.schema.instants import TICK_NS
from mlstore.schema.timestamps import TimeUnit


@dataclass(frozen=True, slots=True, repr=False)
class FeatureView:
    """Features of an entity that are stored together: one row says what was true of one key from one moment on.

    Parameters
    ----------
    name
        Letters, digits, `_` and `-`; it does not start with a digit.
    entity
        What the features are about: an `Entity`, its name, or None for global features.
    schema
        The features and their types, in order.
    timestamp
        The column that says when a row was true (event time).
    created_timestamp
        The column that says when a row became known. Without one it is the time of the commit that wrote the row.
    ttl
        How old a value may be when it is read, as text ("6h") or timedelta; both ends count. None: any age.
    retention
        How long rows are kept. Independent of `ttl`.
    available_after
        Instead of `created_timestamp`: a row became known so long after its event time.
    boundary
        "inclusive": a row counts at its own event time; "strict": only after it.
    nulls
        "row": a null in the latest row is the answer; "last_valid": each feature reaches back to its latest value.
    time_unit
        "us" or "ns": what event time and created time are counted in.
    description, owner, tags
        For people, and for the search of the catalogue.

    Raises
    ------
    DefinitionError
        A bad name or type, no feature, one name for two columns, or a rule that does not exist.

    Examples
    --------
    >>> airport = ml.Entity("airport", keys={"origin": ml.string})
    >>> weather = ml.FeatureView("weather", entity=airport, schema={"temp": ml.float64}, ttl="90m")
    >>> weather
    FeatureView('weather', entity='airport', schema={'temp': float64}, ttl='1h30m')
    >>> weather.ttl_ns
    5400000000000
    """

    name: str
    _: KW_ONLY
    entity: Entity | str | None = None
    schema: Mapping[str, DType]
    timestamp: str = "event_timestamp"
    created_timestamp: str | None = None
    ttl: str | timedelta | None = None
    retention: str | timedelta | None = None
    available_after: str | timedelta | None = None
    boundary: Literal["inclusive", "strict"] = "inclusive"
    nulls: Literal["row", "last_valid"] = "row"
    time_unit: TimeUnit = "us"
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name, "view")
        place = f"view {self.name}"
        self._check_entity(place)
        set_field(self, "schema", checked_columns(self.schema, place, argument="schema", of="feature"))
        check_name(self.timestamp, f"{place}: timestamp column")
        if self.created_timestamp is not None:
            check_name(self.created_timestamp, f"{place}: created column")
        check_columns_apart(
            place,
            keys=self.entity.keys if isinstance(self.entity, Entity) else (),
            times=(self.timestamp, self.created_timestamp),
            columns=self.schema,
        )
        check_choice(self.boundary, ("inclusive", "strict"), f"{place}: boundary")
        check_choice(self.nulls, ("row", "last_valid"), f"{place}: nulls")
        check_choice(self.time_unit, ("us", "ns"), f"{place}: time_unit")
        set_field(self, "ttl", checked_duration(self.ttl, f"{place}: ttl", allow_zero=True))
        set_field(self, "retention", checked_duration(self.retention, f"{place}: retention"))
        set_field(self, "available_after", checked_duration(self.available_after, f"{place}: available_after", allow_zero=True))
        self._check_knowledge(place)
        describe(self, place)

    def _check_entity(self, place: str) -> None:
        if isinstance(self.entity, str):
            check_name(self.entity, f"{place}: entity")
        elif self.entity is not None and not isinstance(self.entity, Entity):
            raise DefinitionError(f"{place}: entity is {self.entity!r:.60}", hint="give an Entity, its name, or None for global features")

    def _check_knowledge(self, place: str) -> None:
        if self.available_after_ns is None:
            return
        if self.created_timestamp is not None:
            hint = "the column says when a row became known; leave one of the two out"
            raise DefinitionError(f"{place}: both created_timestamp and available_after", hint=hint)
        if self.available_after_ns % TICK_NS[self.time_unit]:
            message = f"{place}: available_after={self.available_after!r} is no whole number of {self.time_unit}"
            raise DefinitionError(message, hint='round it, or set time_unit="ns"')

    @property
    def entity_name(self) -> str | None:
        """The name of the entity; None for global features."""
        return self.entity.name if isinstance(self.entity, Entity) else self.entity

    @property
    def ttl_ns(self) -> int | None:
        """How old a value may be when it is read, in nanoseconds."""
        return duration_ns(self.ttl)

    @property
    def retention_ns(self) -> int | None:
        """How long rows are kept, in nanoseconds."""
        return duration_ns(self.retention)

    @property
    def available_after_ns(self) -> int | None:
        """How long after its event time a row becomes known, in nanoseconds."""
        return duration_ns(self.available_after)

    def __repr__(self) -> str:
        return show(self)

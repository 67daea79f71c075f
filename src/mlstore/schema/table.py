"""Tables: rows that are no features, such as labels, events or plain frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta

from mlstore.errors import DefinitionError
from mlstore.schema.declarations import (
    check_choice,
    check_columns_apart,
    check_key_type,
    check_name,
    checked_columns,
    checked_duration,
    describe,
    duration_ns,
    set_field,
    show,
)
from mlstore.schema.dtypes import DType
from mlstore.schema.timestamps import TimeUnit


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """Rows that are no features: labels, events, predictions, any frame. Appended, or upserted by key.

    Parameters
    ----------
    name
        Letters, digits, `_` and `-`; it does not start with a digit.
    schema
        The columns and their types, key columns included, time columns not.
    key
        The column or columns that name a row; () for none.
    timestamp
        The column that says when a row was true. Without one it is the time of the commit that wrote the row.
    created_timestamp
        The column that says when a row became known. Without one it is the time of the commit that wrote the row.
    retention
        How long rows are kept, as text ("90d") or timedelta.
    time_unit
        "us" or "ns": what the time columns are counted in.
    description, owner, tags
        For people, and for the search of the catalogue.

    Raises
    ------
    DefinitionError
        A bad name or type, no column, a key that is no column, or one name for two columns.

    Examples
    --------
    >>> ml.Table("labels", schema={"flight": ml.int64, "late": ml.bool_}, key="flight", timestamp="label_time")
    Table('labels', schema={'flight': int64, 'late': bool}, key=('flight',), timestamp='label_time')
    """

    name: str
    _: KW_ONLY
    schema: Mapping[str, DType]
    key: str | Sequence[str] = ()
    timestamp: str | None = None
    created_timestamp: str | None = None
    retention: str | timedelta | None = None
    time_unit: TimeUnit = "us"
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name, "table")
        place = f"table {self.name}"
        set_field(self, "schema", checked_columns(self.schema, place, argument="schema", of="column"))
        set_field(self, "key", (self.key,) if isinstance(self.key, str) else tuple(self.key))
        self._check_key(place)
        if self.timestamp is not None:
            check_name(self.timestamp, f"{place}: timestamp column")
        if self.created_timestamp is not None:
            check_name(self.created_timestamp, f"{place}: created column")
            if self.timestamp is None:
                raise DefinitionError(f"{place}: created_timestamp without timestamp", hint="say with timestamp= when a row was true")
        check_columns_apart(place, keys=(), times=(self.timestamp, self.created_timestamp), columns=self.schema)
        check_choice(self.time_unit, ("us", "ns"), f"{place}: time_unit")
        set_field(self, "retention", checked_duration(self.retention, f"{place}: retention"))
        describe(self, place)

    def _check_key(self, place: str) -> None:
        for name in self.key:
            if name not in self.schema:
                raise DefinitionError(f"{place}: key {name!r:.60} is no column of it", hint=f"the columns are {', '.join(self.schema)}")
            check_key_type(name, self.schema[name], place)
        if len(set(self.key)) < len(self.key):
            raise DefinitionError(f"{place}: a key column is named twice: {', '.join(self.key)}", hint="name each column once")

    @property
    def retention_ns(self) -> int | None:
        """How long rows are kept, in nanoseconds."""
        return duration_ns(self.retention)

    def __repr__(self) -> str:
        return show(self)

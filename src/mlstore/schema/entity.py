"""Entities: what features are about, and the key columns that name one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

from mlstore.schema.declarations import check_key_type, check_name, checked_columns, describe, set_field, show
from mlstore.schema.dtypes import DType


@dataclass(frozen=True, slots=True, repr=False)
class Entity:
    """What features are about, such as an airport or a customer, and the key that names one.

    Several views may share an entity. Features that are about nothing in particular (global features) need none.

    Parameters
    ----------
    name
        Letters, digits, `_` and `-`; it does not start with a digit.
    keys
        The key columns and their types, in the order in which rows are kept. Integers, string, binary, bool, date and
        timestamp can be keys. An entity's keys never change.
    description, owner, tags
        For people, and for the search of the catalogue.

    Raises
    ------
    DefinitionError
        A bad name, no key, or a type that cannot be a key.

    Examples
    --------
    >>> ml.Entity("route", keys={"carrier": ml.string, "origin": ml.string}, owner="ops")
    Entity('route', keys={'carrier': string, 'origin': string}, owner='ops')
    """

    name: str
    _: KW_ONLY
    keys: Mapping[str, DType]
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name, "entity")
        place = f"entity {self.name}"
        set_field(self, "keys", checked_columns(self.keys, place, argument="keys", of="key"))
        for name, dtype in self.keys.items():
            check_key_type(name, dtype, place)
        describe(self, place)

    def __repr__(self) -> str:
        return show(self)

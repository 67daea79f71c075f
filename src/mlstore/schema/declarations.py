"""What all definitions have in common: the rule for names, the checks of their parts, and how they show themselves."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta

from mlstore.errors import DefinitionError
from mlstore.schema.dtypes import CLOSED_LIST, DType
from mlstore.schema.durations import format_duration, parse_duration
from mlstore.schema.frozen import FrozenMap

NAME_RULE = "a name is letters, digits, _ and -, does not start with a digit or -, and has at most 100 characters"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")


def set_field(definition: object, name: str, value: object) -> None:
    """Set a field of a frozen definition while it is being made."""
    object.__setattr__(definition, name, value)


def check_name(name: object, place: str) -> None:
    """Refuse what is not a name; `place` says what is named, such as "view" or "view weather: feature"."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DefinitionError(f"{place} {name!r:.120}: not a name", hint=NAME_RULE)


def checked_columns(columns: object, place: str, *, argument: str, of: str) -> FrozenMap[DType]:
    """The argument as a mapping of at least one column name to its type, in order; `of` says what the columns are."""
    if not isinstance(columns, Mapping) or not columns:
        given = "is empty" if columns == {} else f"is a {type(columns).__name__}"
        raise DefinitionError(f"{place}: {argument} {given}", hint=f"give at least one {of}, as {{name: type}}")
    for name, dtype in columns.items():
        check_name(name, f"{place}: {of}")
        if not isinstance(dtype, DType):
            raise DefinitionError(f"{place}: {of} {name!r} has {dtype!r:.60} for a type", hint=CLOSED_LIST)
    return FrozenMap(columns)


def check_key_type(name: str, dtype: DType, place: str) -> None:
    """Refuse a key of a type whose values have no exact equality or no order."""
    if not dtype.is_key:
        hint = "keys are integers, string, binary, bool, date or timestamp"
        raise DefinitionError(f"{place}: key {name!r} is {dtype}, which cannot be a key", hint=hint)


def check_columns_apart(place: str, *, keys: Iterable[str], times: Iterable[str | None], columns: Iterable[str]) -> None:
    """Refuse one name for two columns."""
    taken: dict[str, str] = {}
    parts = [("key", list(keys)), ("time column", [name for name in times if name is not None]), ("feature", list(columns))]
    for part, names in parts:
        for name in names:
            if name in taken:
                raise DefinitionError(
                    f"{place}: {name!r} is a {taken[name]} and a {part}", hint="one name is one column: rename one of them"
                )
            taken[name] = part


def check_choice(value: object, choices: tuple[str, ...], place: str) -> None:
    """Refuse a word that is not one of the choices."""
    if value not in choices:
        raise DefinitionError(f"{place}={value!r}: no such choice", hint=f"choose {' or '.join(map(repr, choices))}")


def checked_duration(value: str | timedelta | None, place: str, *, allow_zero: bool = False) -> str | None:
    """The canonical text of a duration, or None for none."""
    return None if value is None else format_duration(parse_duration(value, what=place, allow_zero=allow_zero))


def duration_ns(text: str | timedelta | None) -> int | None:
    """The length of a duration that was checked."""
    return None if text is None else parse_duration(text, allow_zero=True)


def describe(definition: object, place: str) -> None:
    """Check description, owner and tags, which every definition has, and freeze the tags."""
    for name in ("description", "owner"):
        if not isinstance(getattr(definition, name), str):
            raise DefinitionError(f"{place}: {name} is {getattr(definition, name)!r:.60}, not text", hint="leave it out for none")
    tags = getattr(definition, "tags")  # noqa: B009  the four classes share no base
    if not isinstance(tags, Mapping) or not all(isinstance(text, str) for item in tags.items() for text in item):
        raise DefinitionError(f"{place}: tags are {tags!r:.60}, not text by text", hint="such as tags={'tier': 'gold'}")
    set_field(definition, "tags", FrozenMap(tags))


def same(one: object, other: object) -> bool:
    """Whether two parts of definitions are equal: expressions say so by `equals`, as their `==` builds another expression."""
    for part, counterpart in ((one, other), (other, one)):
        if not isinstance(part, type) and callable(equals := getattr(part, "equals", None)):
            return bool(equals(counterpart))
    return bool(one == other)


class FieldEquality:
    """Equality field by field, for frozen dataclasses that hold expressions (`eq=False`)."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(same(getattr(self, name), getattr(other, name)) for name in _field_names(self))

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in _field_names(self)))


def _field_names(definition: object) -> list[str]:
    return [field.name for field in dataclasses.fields(definition)]  # type: ignore[arg-type]


def show(definition: object) -> str:
    """The definition as one would write it, without what is left at its default."""
    parts = []
    for field in dataclasses.fields(definition):  # type: ignore[arg-type]
        value = getattr(definition, field.name)
        is_default = same(value, field.default) or (field.default_factory is not dataclasses.MISSING and value == field.default_factory())
        if field.name == "name":
            parts.append(repr(value))
        elif not is_default:
            # An entity inside a view is shown by its name, which can be given in its place.
            parts.append(f"{field.name}={getattr(value, 'name', value)!r}")
    return f"{type(definition).__name__}({', '.join(parts)})"

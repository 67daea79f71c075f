"""What it takes to put a new definition in an old one's place: nothing, an edit that old rows bear, or a new version.

Invariant: an edit in place changes no answer about rows already written, except by new columns that read as null there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from mlstore.errors import DefinitionError
from mlstore.schema.declarations import same
from mlstore.schema.dtypes import DType, widens
from mlstore.schema.entity import Entity
from mlstore.schema.record import Definition
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView

Action = Literal["unchanged", "in_place", "new_version"]

_NOTES = ("description", "owner", "tags")
_BEARABLE = (*_NOTES, "ttl", "retention")
_VIEW_RULES = ("entity_name", "timestamp", "created_timestamp", "available_after", "boundary", "nulls", "time_unit")
_WINDOW_RULES = ("entity_name", "source_name", "where", "boundary", "offset", "tiles")
_TABLE_RULES = ("key", "timestamp", "created_timestamp", "time_unit")


@dataclass(frozen=True, slots=True)
class Evolution:
    """How to get from an old definition to a new one: the action, what to register, and each change in words."""

    action: Action
    definition: Definition
    changes: tuple[str, ...]


def evolve(old: Definition, new: Definition) -> Evolution:
    """What registering `new` where `old` stands would do.

    In place, columns keep their numbers: the old ones stay in their order, and new ones follow.
    """
    if type(old) is not type(new) or old.name != new.name:
        raise DefinitionError(
            f"{type(new).__name__} {new.name!r} cannot stand for {type(old).__name__} {old.name!r}", hint="take another name"
        )
    breaking, bearable = list(_breaking_changes(old, new)), list(_bearable_changes(old, new))
    changes = (*breaking, *bearable)
    if breaking:
        return Evolution("new_version", new, changes)
    if bearable:
        return Evolution("in_place", _in_old_order(old, new), changes)
    return Evolution("unchanged", old, ())


def _breaking_changes(old: Definition, new: Definition) -> Iterator[str]:
    if isinstance(old, Entity) and isinstance(new, Entity):
        if list(old.keys.items()) != list(new.keys.items()):
            message = f"entity {old.name}: its keys are {old.keys}, and cannot become {new.keys}"
            raise DefinitionError(message, hint="an entity's keys are fixed: make an entity of another name")
    elif isinstance(old, FeatureService):
        yield from _differences(old, new, ("features",))
    elif isinstance(old, FeatureView) and isinstance(new, FeatureView):
        yield from _differences(old, new, _VIEW_RULES)
        yield from _breaking_columns(old.schema, new.schema, fixed=())
    elif isinstance(old, WindowView) and isinstance(new, WindowView):
        yield from _differences(old, new, _WINDOW_RULES)
        asked = new.by_name()
        for name, aggregation in old.by_name().items():
            if name not in asked:
                yield f"{name}: removed"
            elif asked[name] != aggregation:
                yield f"{name}: {aggregation} -> {asked[name]}"
    elif isinstance(old, Table) and isinstance(new, Table):
        yield from _differences(old, new, _TABLE_RULES)
        yield from _breaking_columns(old.schema, new.schema, fixed=tuple(old.key))


def _breaking_columns(old: Mapping[str, DType], new: Mapping[str, DType], *, fixed: tuple[str, ...]) -> Iterator[str]:
    for name, dtype in old.items():
        if name not in new:
            yield f"{name}: removed"
        elif new[name] != dtype and (name in fixed or not widens(dtype, new[name])):
            yield f"{name}: {dtype} -> {new[name]}"


def _bearable_changes(old: Definition, new: Definition) -> Iterator[str]:
    if isinstance(old, WindowView) and isinstance(new, WindowView):
        yield from (f"{name}: added" for name in new.output_names if name not in old.output_names)
    if isinstance(old, FeatureView | Table) and isinstance(new, FeatureView | Table):
        for name, dtype in new.schema.items():
            if name not in old.schema:
                yield f"{name}: added ({dtype})"
            elif widens(old.schema[name], dtype) and name not in (old.key if isinstance(old, Table) else ()):
                yield f"{name}: {old.schema[name]} -> {dtype}"
    yield from _differences(old, new, _BEARABLE)


def _differences(old: object, new: object, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        before, after = getattr(old, name, None), getattr(new, name, None)
        if not same(before, after):
            shown = "changed" if name in _NOTES else f"{_shown(before)} -> {_shown(after)}"
            yield f"{name.removesuffix('_name')}: {shown}"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else "none" if value is None else str(value)


def _in_old_order(old: Definition, new: Definition) -> Definition:
    if not (isinstance(old, FeatureView | Table) and isinstance(new, FeatureView | Table)):
        return new
    names = [*old.schema, *(name for name in new.schema if name not in old.schema)]
    return dataclasses.replace(new, schema={name: new.schema[name] for name in names})

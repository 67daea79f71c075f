"""Merging definitions, decided purely: what our catalogue must register so that it has what theirs has changed since their base.

Attribute by attribute: one side's change is taken, columns and outputs of both are kept, the wider of two widened types wins.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlstore.engine.branching.threeway import OURS, THEIRS, UNRESOLVED
from mlstore.engine.catalog import Catalog, CatalogEntry
from mlstore.engine.writing.registration import ORDER, Change
from mlstore.schema.aggregation import Aggregation
from mlstore.schema.declarations import same
from mlstore.schema.dtypes import DType, widens
from mlstore.schema.evolution import evolve
from mlstore.schema.record import Definition

Place = tuple[str, str, int]  # kind, name, version


@dataclass(frozen=True, slots=True)
class DefinitionConflict:
    """An attribute of a definition that both sides changed."""

    label: str
    attribute: str
    base: Any
    ours: Any
    theirs: Any


@dataclass(slots=True)
class SchemaPlan:
    """Entries to register with what to say of each, and what nobody can decide."""

    steps: list[tuple[CatalogEntry, Change]]
    conflicts: list[DefinitionConflict]


def plan_schema_merge(base: Catalog, ours: Catalog, theirs: Catalog, choice: str) -> SchemaPlan:
    """What to register on our side; `choice` says whose attribute stays where both changed it."""
    plan = SchemaPlan([], [])
    before, mine = _by_place(base), _by_place(ours)
    taken = {(entry.kind != "entity", entry.name): entry.kind for entry in ours.current()}
    for place, entry in sorted(_by_place(theirs).items(), key=lambda item: (ORDER.index(item[1].kind), item[0])):
        was, now = before.get(place), mine.get(place)
        if was is not None and was.definition == entry.definition:
            continue
        if now is None:
            other = taken.get((entry.kind != "entity", entry.name), entry.kind)
            if other != entry.kind:
                plan.conflicts.append(DefinitionConflict(entry.label, "kind", None, other, entry.kind))
            else:
                plan.steps.append((replace(entry, revision=1), Change("create", entry.kind, entry.label)))
        elif now.definition != entry.definition:
            _merge_entry(None if was is None else was.definition, now, entry, choice, plan)
    return plan


def _by_place(catalog: Catalog) -> dict[Place, CatalogEntry]:
    return {(entry.kind, entry.name, entry.version): entry for entry in catalog.current()}


def _merge_entry(base: Definition | None, ours: CatalogEntry, theirs: CatalogEntry, choice: str, plan: SchemaPlan) -> None:
    merged: dict[str, Any] = {}
    for name, was, mine, other in _attributes(base, ours.definition, theirs.definition):
        if name == "schema":
            value = _merge_schemas(was, mine, other)
        elif name == "aggregations":
            value = _merge_aggregations(mine, other)
        else:
            value = _merge_values(base is None, was, mine, other, choice)
        if value is UNRESOLVED_VALUE:
            plan.conflicts.append(DefinitionConflict(ours.label, name, was, mine, other))
        else:
            merged[name] = value
    evolution = evolve(ours.definition, dataclasses.replace(ours.definition, **merged))
    if evolution.action == "in_place":
        plan.steps.append((replace(ours, definition=evolution.definition), Change("evolve", ours.kind, ours.label, evolution.changes)))
    elif evolution.action == "new_version":
        plan.conflicts += [DefinitionConflict(ours.label, change, None, "as it is", "changed") for change in evolution.changes]


UNRESOLVED_VALUE = object()


def _attributes(base: Definition | None, ours: Definition, theirs: Definition) -> Iterator[tuple[str, Any, Any, Any]]:
    for attribute in dataclasses.fields(ours):
        if attribute.init:
            name = attribute.name
            yield name, None if base is None else getattr(base, name), getattr(ours, name), getattr(theirs, name)


def _merge_values(is_new: bool, base: Any, ours: Any, theirs: Any, choice: str) -> Any:
    if same(ours, theirs) or (not is_new and same(theirs, base)):
        return ours
    if not is_new and same(ours, base):
        return theirs
    return {OURS: ours, THEIRS: theirs, UNRESOLVED: UNRESOLVED_VALUE}[choice]


def _merge_aggregations(ours: Sequence[Aggregation], theirs: Sequence[Aggregation]) -> Any:
    """The outputs of both: within a version of a window view none is ever taken away."""
    mine, other = ({part.name: each.only(part) for each in side for part in each.parts()} for side in (ours, theirs))
    if any(mine.get(name, asked) != asked for name, asked in other.items()):
        return UNRESOLVED_VALUE
    return (*ours, *(asked for name, asked in other.items() if name not in mine))


def _merge_schemas(base: Mapping[str, DType] | None, ours: Mapping[str, DType], theirs: Mapping[str, DType]) -> Any:
    merged = dict(ours)
    for name, dtype in theirs.items():
        mine = merged.setdefault(name, dtype)
        if mine == dtype or widens(dtype, mine):
            continue
        if not widens(mine, dtype):
            return UNRESOLVED_VALUE
        merged[name] = dtype
    return merged

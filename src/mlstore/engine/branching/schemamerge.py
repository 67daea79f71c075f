"""Merging definitions, decided purely: what our catalogue must register so that it has what theirs has changed since their base.

Attribute by attribute, column by column: one side's change is taken, also one that takes something back; the wider of two types wins.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mlstore.engine.branching.threeway import OURS, THEIRS, UNRESOLVED
from mlstore.engine.catalog import Catalog
from mlstore.engine.entries import CatalogEntry, stored_names
from mlstore.engine.writing.registration import ORDER, Change
from mlstore.schema.aggregation import Aggregation
from mlstore.schema.declarations import same
from mlstore.schema.dtypes import DType, widens
from mlstore.schema.evolution import evolve
from mlstore.schema.record import Definition
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView

Place = tuple[str, str, int]  # kind, name, version
Parts = dict[str, Any]  # columns, or outputs, by name


@dataclass(frozen=True, slots=True)
class DefinitionConflict:
    """An attribute of a definition that both sides changed."""

    label: str
    attribute: str
    base: Any
    ours: Any
    theirs: Any


@dataclass(frozen=True, slots=True)
class Cut:
    """What is taken from a definition of ours that theirs has not any more: the definition left, features lost, features narrowed.

    Decided on in the end: rows that we have written since may need what is cut.
    """

    entry: CatalogEntry
    definition: Definition
    lost: tuple[str, ...]
    narrowed: Mapping[str, DType]
    details: tuple[str, ...]


@dataclass(slots=True)
class SchemaPlan:
    """Entries to register with what to say of each; what is cut, and withdrawn whole, once the rows are merged; what nobody can decide."""

    steps: list[tuple[CatalogEntry, Change]]
    conflicts: list[DefinitionConflict]
    cuts: list[Cut]
    withdrawn: list[CatalogEntry]


def plan_schema_merge(base: Catalog, ours: Catalog, theirs: Catalog, choice: str) -> SchemaPlan:
    """What to register on our side; `choice` says whose attribute stays where both changed it."""
    plan = SchemaPlan([], [], [], [])
    before, mine, other = _by_place(base), _by_place(ours), _by_place(theirs)
    kinds = {(entry.kind != "entity", entry.name): entry.kind for entry in ours.current()}
    for place, entry in sorted(other.items(), key=lambda item: (ORDER.index(item[1].kind), item[0])):
        was, now = before.get(place), mine.get(place)
        if was is not None and was.definition == entry.definition:
            continue
        if now is None and was is not None:
            _settle(plan, choice, entry, None, was, theirs_wins=partial(_create, plan, kinds, entry))
        elif now is None:
            _create(plan, kinds, entry)
        elif now.definition != entry.definition:
            _merge_entry(None if was is None else was.definition, now, entry, choice, plan)
    for place, was in sorted(before.items(), key=lambda item: (-ORDER.index(item[1].kind), item[0])):
        now = mine.get(place)
        if now is None or place in other:
            continue
        if now.definition == was.definition:
            plan.withdrawn.append(now)
        else:
            _settle(plan, choice, was, now, None, theirs_wins=partial(plan.withdrawn.append, now))
    return plan


def _create(plan: SchemaPlan, kinds: Mapping[tuple[bool, str], str], entry: CatalogEntry) -> None:
    kind = kinds.get((entry.kind != "entity", entry.name), entry.kind)
    if kind != entry.kind:
        plan.conflicts.append(DefinitionConflict(entry.label, "kind", None, kind, entry.kind))
    else:
        plan.steps.append((replace(entry, revision=1), Change("create", entry.kind, entry.label)))


def _settle(plan: SchemaPlan, choice: str, told: CatalogEntry, ours: object, theirs: object, *, theirs_wins: Callable[[], None]) -> None:
    """A definition that one side changed and the other took back."""
    if choice == THEIRS:
        theirs_wins()
    elif choice != OURS:
        words = ("taken back" if side is None else "changed" for side in (ours, theirs))
        plan.conflicts.append(DefinitionConflict(told.label, "definition", told.kind, *words))


def _by_place(catalog: Catalog) -> dict[Place, CatalogEntry]:
    return {(entry.kind, entry.name, entry.version): entry for entry in catalog.current()}


def _merge_entry(base: Definition | None, ours: CatalogEntry, theirs: CatalogEntry, choice: str, plan: SchemaPlan) -> None:
    merged: dict[str, Any] = {}
    for name, was, mine, other in _attributes(base, ours.definition, theirs.definition):
        if name == "schema":
            value = _merge_parts(dict(was or {}), dict(mine), dict(other), _widest, choice)
        elif name == "aggregations":
            value = _merge_parts(_parts(was or ()), _parts(mine), _parts(other), _neither, choice)
        else:
            value = _merge_values(base is None, was, mine, other, choice)
        if value is UNRESOLVED_VALUE:
            plan.conflicts.append(DefinitionConflict(ours.label, name, was, mine, other))
        else:
            merged[name] = value
    if plan.conflicts:
        return
    final = _with_parts(ours.definition, merged)
    grown = _with_parts(ours.definition, merged | _kept_parts(ours.definition, merged))
    evolution = evolve(ours.definition, grown)
    entry = ours
    if evolution.action == "in_place":
        numbered = zip(stored_names(theirs.definition), theirs.numbers, strict=True) if theirs.table == ours.table else ()
        entry = ours.changed(evolution.definition, dict(numbered))
        plan.steps.append((entry, Change("evolve", ours.kind, ours.label, evolution.changes)))
    elif evolution.action == "new_version":
        plan.conflicts += [DefinitionConflict(ours.label, change, None, "as it is", "changed") for change in evolution.changes]
        return
    _plan_cut(entry, evolution.definition, final, plan)


def _plan_cut(entry: CatalogEntry, grown: Definition, final: Definition, plan: SchemaPlan) -> None:
    """Taking features away, or back to narrower types, is no way to evolve: what stands in the way is asked later."""
    have, left = (_features(definition) for definition in (grown, final))
    lost = tuple(name for name in have if name not in left)
    narrowed = {name: left[name] for name in have if name in left and left[name] != have[name] and isinstance(left[name], DType)}
    if lost or narrowed:
        details = (*(f"{name}: taken back" for name in lost), *(f"{name}: {have[name]} -> {dtype}" for name, dtype in narrowed.items()))
        plan.cuts.append(Cut(entry, final, lost, narrowed, details))


def _features(definition: Definition) -> dict[str, Any]:
    if isinstance(definition, WindowView):
        return _parts(definition.aggregations)
    return dict(definition.schema) if isinstance(definition, FeatureView | Table) else {}


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


def _merge_parts(base: Parts, ours: Parts, theirs: Parts, join: Callable[[Any, Any], Any], choice: str) -> Any:
    """Columns, or outputs, by name: of each what one side did to it; what both did is joined."""
    merged: Parts = {}
    for name in dict.fromkeys((*ours, *theirs, *base)):
        was, mine, other = base.get(name), ours.get(name), theirs.get(name)
        if mine == other or other == was:
            value = mine
        elif mine == was:
            value = other
        elif mine is None or other is None:
            value = {OURS: mine, THEIRS: other, UNRESOLVED: UNRESOLVED_VALUE}[choice]
        else:
            value = join(mine, other)
        if value is UNRESOLVED_VALUE:
            return value
        if value is not None:
            merged[name] = value
    return merged


def _widest(ours: DType, theirs: DType) -> Any:
    return ours if widens(theirs, ours) else theirs if widens(ours, theirs) else UNRESOLVED_VALUE


def _neither(ours: Aggregation, theirs: Aggregation) -> Any:
    return UNRESOLVED_VALUE


def _parts(aggregations: Sequence[Aggregation]) -> Parts:
    return {part.name: each.only(part) for each in aggregations for part in each.parts()}


def _with_parts(ours: Definition, merged: Mapping[str, Any]) -> Definition:
    """Our definition with what was merged; aggregations that stay as they are stay together."""
    told = dict(merged)
    if isinstance(ours, WindowView):
        parts: Parts = told["aggregations"]
        mine = _parts(ours.aggregations)
        if parts == mine:
            told["aggregations"] = ours.aggregations
        elif all(parts.get(name) == asked for name, asked in mine.items()):
            told["aggregations"] = (*ours.aggregations, *(asked for name, asked in parts.items() if name not in mine))
        else:
            told["aggregations"] = tuple(parts.values())
    return dataclasses.replace(ours, **told)


def _kept_parts(ours: Definition, merged: Mapping[str, Any]) -> dict[str, Any]:
    """What was merged, with all that we have kept, in types that hold both: what rows can be written in before anything is cut."""
    if isinstance(ours, WindowView):
        return {"aggregations": _parts(ours.aggregations) | merged["aggregations"]}
    if not isinstance(ours, FeatureView | Table):
        return {}
    mine = dict(ours.schema)
    wide = {name: mine[name] if name in mine and widens(dtype, mine[name]) else dtype for name, dtype in merged["schema"].items()}
    return {"schema": mine | wide}

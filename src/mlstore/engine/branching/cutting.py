"""Cutting: what a merge takes from definitions, once the rows are merged: features, wider types, whole definitions.

Nothing stored goes: older versions see it, and a feature or view that comes back has its values again. What cannot be cut is what rows
need that were written since, and what another definition is made from.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlstore.engine.branching.changed import compare
from mlstore.engine.branching.counterparts import Matched
from mlstore.engine.branching.diff import match_difference
from mlstore.engine.branching.rowsets import RowSet, common_shape, shape_of
from mlstore.engine.branching.schemamerge import Cut, DefinitionConflict, SchemaPlan
from mlstore.engine.branching.threeway import OURS, THEIRS
from mlstore.engine.catalog import Relation
from mlstore.engine.entries import CatalogEntry
from mlstore.engine.history.offline import History
from mlstore.engine.session import ReadContext, WriteContext
from mlstore.engine.writing.registration import Change, register
from mlstore.format.manifest import TableChange
from mlstore.schema.dtypes import DType
from mlstore.schema.record import Definition
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView


def apply_cuts(
    context: WriteContext, base: ReadContext, plan: SchemaPlan, choice: str
) -> tuple[list[TableChange], list[DefinitionConflict]]:
    """Do what can be done of the cuts of a plan; the changes to be committed, and what stands in the way of the others."""
    told, conflicts = list[TableChange](), list[DefinitionConflict]()
    for cut in plan.cuts:
        entry = _registered(context, cut.entry)
        definition = _left(context, base, entry, cut, choice, conflicts)
        if definition != entry.definition:
            told.append(register(context, entry.changed(definition), Change("evolve", entry.kind, entry.label, cut.details)))
    for entry in plan.withdrawn:
        count = _rows_since(context, base, entry)
        if count and choice not in (OURS, THEIRS):
            conflicts.append(DefinitionConflict(entry.label, "definition", entry.kind, _since(count), "taken back"))
        elif not count or choice == THEIRS:
            told.append(register(context, replace(entry, is_withdrawn=True), Change("withdraw", entry.kind, entry.label)))
    return told, conflicts


def find_history(context: ReadContext, relation: Relation) -> History | None:
    """A table at another place, which may know it as withdrawn, or have one of its name; None: neither."""
    known = list(context.catalog.stores())
    same = [other for other in known if other.table == relation.table] or [other for other in known if other.label == relation.label]
    found = next(iter(same), None)
    return None if found is None else context.history(found)


def _registered(context: WriteContext, entry: CatalogEntry) -> CatalogEntry:
    place = entry.kind, entry.name, entry.version
    return next(other for other in context.catalog.current() if (other.kind, other.name, other.version) == place)


def _left(
    context: WriteContext, base: ReadContext, entry: CatalogEntry, cut: Cut, choice: str, conflicts: list[DefinitionConflict]
) -> Definition:
    """The definition that is left, with what must stay."""
    definition, less = entry.definition, cut.definition
    if not isinstance(definition, FeatureView | Table) or not isinstance(less, FeatureView | Table):
        return less
    stays: dict[str, DType] = {}
    for name, count in _needed(*_since_base(context, base, entry), cut):
        # A value that a narrower type does not hold could not be read, so nobody's word makes it go.
        if choice == OURS:
            stays[name] = definition.schema[name]
        elif choice != THEIRS or name in cut.narrowed:
            theirs = "taken back" if name in cut.lost else cut.narrowed[name]
            conflicts.append(DefinitionConflict(entry.label, name, definition.schema[name], _since(count), theirs))
    left = dict(less.schema) | stays
    return dataclasses.replace(less, schema={name: left[name] for name in definition.schema if name in left})


def _since(count: int) -> str:
    return f"{count:,} row{'s' if count > 1 else ''} since"


def _needed(rows: RowSet, matched: Matched, cut: Cut) -> Iterator[tuple[str, int]]:
    """What of a cut rows need, and how many."""
    picked = pa.array(np.append(matched.added, matched.after))
    for (name, _), values in zip(rows.shape.features, rows.columns, strict=True):
        column = values.take(picked)
        count = len(column) - column.null_count if name in cut.lost else 0
        if name in cut.narrowed:
            count = _misfits(column, cut.narrowed[name].arrow)
        if count:
            yield name, count


def _misfits(column: pa.Array, arrow: pa.DataType) -> int:
    """How many values a narrower type does not hold."""
    there = column.drop_null()
    same = pc.equal(there, there.cast(arrow, safe=False).cast(there.type, safe=False))
    if pa.types.is_floating(there.type):
        same = pc.or_(same, pc.is_nan(there)) if pa.types.is_floating(arrow) else same
    return len(there) - int(pc.sum(same).as_py() or 0)


def _rows_since(context: WriteContext, base: ReadContext, entry: CatalogEntry) -> int:
    """How many rows of a view or table we have written, or deleted, since the base."""
    if not isinstance(entry.definition, FeatureView | Table):
        return 0
    matched = _since_base(context, base, entry)[1]
    return len(matched.added) + len(matched.after) + len(matched.removed)


def _since_base(context: WriteContext, base: ReadContext, entry: CatalogEntry) -> tuple[RowSet, Matched]:
    """The rows that we see and the base does not, and how they stand to those that only the base sees."""
    relation = context.catalog.store(entry.table)
    was, now = find_history(base, relation), context.history(relation)
    if was is not None and was.relation.table == relation.table:
        reading = relation.beside(was.relation)
        was, now = was.read_as(reading), now.read_as(reading)
    shape = common_shape(None if was is None else was.relation, now.relation)
    if was is None or shape is None:
        was, shape = None, shape_of(now.relation)
    _, added, matched = match_difference(shape, None if was is None else was.relation, now.relation, compare(was, now))
    return added, matched

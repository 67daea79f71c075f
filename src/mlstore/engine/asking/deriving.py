"""Deriving: on-demand views around what is stored. A plan says what is looked up for them, what is computed of it, and in which order.

Plans are pure. What is stored is looked up as if it had been asked for, under names that nobody sees; then the answer is finished:
on-demand views are computed, each after those it takes, and the columns asked for are put in order.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mlstore.engine.asking.computing import Compute, earliest, latest, prepare
from mlstore.engine.asking.selection import Features, Selected, select, status_names
from mlstore.engine.catalog import Catalog, Relation, suggest
from mlstore.errors import SchemaMismatchError, UsageError
from mlstore.format.answers import IS_NULL, IS_PRESENT, STATUSES
from mlstore.schema.arguments import Argument
from mlstore.schema.casts import cast_array, cast_column
from mlstore.schema.dtypes import DType, bool_, float64, int64, string
from mlstore.schema.places import Place
from mlstore.schema.python_values import array_of
from mlstore.schema.reference import Reference

_PLAIN = {float: float64, int: int64, str: string, bool: bool_}


@dataclass(frozen=True, slots=True)
class Brought:
    """A column that the request brings: the argument it is, the column that holds it, and its type."""

    argument: str
    column: str
    dtype: DType
    place: str

    def of_table(self, table: pa.Table) -> pa.Array:
        column = cast_column(table[self.column], self.dtype, Place(self.place))
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)

    def of_value(self, value: Any) -> pa.Array:
        if _PLAIN.get(type(value)) == self.dtype:
            return pa.array([value], self.dtype.arrow)
        place = Place(self.place)
        return cast_array(array_of([value], place, self.dtype), self.dtype, place)


@dataclass(frozen=True, slots=True)
class Looked:
    """A column that is at hand when a view is computed: the argument it is, the column that holds it, and its type."""

    argument: str
    column: str
    dtype: DType


@dataclass(frozen=True, slots=True)
class Times:
    """The columns that tell since when and until when an input is the answer, and their unit."""

    since: str
    until: str
    unit: str


@dataclass(frozen=True, slots=True)
class Step:
    """One on-demand view, computed: from what, and the columns that come out; told and times: with status, its own and its inputs'."""

    compute: Compute
    brought: tuple[Brought, ...]
    looked: tuple[Looked, ...]
    outputs: tuple[str, ...]
    told: tuple[str, str, str] | None = None
    times: tuple[Times, ...] = ()

    def run(self, columns: Mapping[str, pa.Array], at_hand: dict[str, pa.Array], rows: int) -> None:
        """Compute from the columns of the arguments; put what comes out beside what is at hand."""
        computed = self.compute(columns, rows)
        at_hand.update(zip(self.outputs, computed, strict=True))
        if self.told is None:
            return
        status, event, valid = self.told
        at_hand[status] = _statuses(computed, rows)
        at_hand[event] = latest([at_hand[times.since] for times in self.times], rows)
        at_hand[valid] = earliest([at_hand[times.until] for times in self.times], rows)


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """How features are answered: what is looked up, what is computed of it, and the columns of the answer.

    names: the columns that looking up gives, in their order. sources: for each output the column that holds it. functions: (view, hash)
    of each on-demand view.
    """

    stored: list[Selected]
    steps: tuple[Step, ...]
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    sources: tuple[str, ...]
    references: tuple[str, ...]
    functions: tuple[tuple[str, str], ...] = ()

    @property
    def brought_columns(self) -> tuple[str, ...]:
        """The columns that the request brings."""
        return tuple(brought.column for step in self.steps for brought in step.brought)

    def require_stored(self, what: str) -> None:
        """Refuse what makes no sense of values that are computed when asked for."""
        if self.steps:
            raise UsageError(f"{what} is of stored rows, and on-demand views have none", hint="ask for the features they are computed from")

    def require_brought(self, given: Iterable[str], what: str) -> None:
        """Refuse a request that lacks a column."""
        names = list(given)
        for step in self.steps:
            for brought in step.brought:
                if brought.column not in names:
                    raise SchemaMismatchError(
                        f"{brought.place} is to come with the {what}: there is no column {brought.column!r}",
                        hint=f"add {brought.column!r} ({brought.dtype}) to the {what}",
                    )

    def finish(self, given: pa.Table, found: Sequence[pa.Array | pa.ChunkedArray]) -> list[pa.Array]:
        """The columns of the answer, from what was given and what was looked up."""
        if not self.steps:
            return list(found)
        at_hand = dict(zip(self.names, map(_whole, found), strict=True))
        for step in self.steps:
            columns = {looked.argument: at_hand[looked.column] for looked in step.looked}
            columns |= {brought.argument: brought.of_table(given) for brought in step.brought}
            step.run(columns, at_hand, given.num_rows)
        return [at_hand[source] for source in self.sources]

    def finish_table(self, given: pa.Table, found: pa.Table) -> pa.Table:
        """The same as a table, of one that has what was given and what was looked up."""
        if not self.steps:
            return found
        columns = self.finish(given, found.columns[given.num_columns :])
        return pa.Table.from_arrays([*given.columns, *columns], names=[*given.column_names, *self.outputs])

    def finish_one(self, keys: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
        """The same of one key, as a dict; `found` has what was looked up, and the keys."""
        if not self.steps:
            return found
        at_hand: dict[str, pa.Array] = {}
        for step in self.steps:
            columns = {looked.argument: _one(looked, at_hand, found) for looked in step.looked}
            columns |= {brought.argument: brought.of_value(keys[brought.column]) for brought in step.brought}
            for times in step.times:
                for name in (times.since, times.until):
                    if name in found:
                        at_hand[name] = pa.array([found[name]], pa.timestamp(times.unit, "UTC"))
            step.run(columns, at_hand, 1)
        answer = dict(keys)
        for output, source in zip(self.outputs, self.sources, strict=True):
            answer[output] = at_hand[source][0].as_py() if source in at_hand else found[source]
        return answer


def plan_features(
    catalog: Catalog, features: Features, *, taken: Iterable[str], full_names: bool, status: bool = False, ttl_ns: int | None = None
) -> FeaturePlan:
    """How the features asked for are answered; `taken` are names the output has already. Raises as `select` does.

    ttl_ns: stands in for the views' own; that of a reference is closer still.
    """
    options = (tuple(taken), full_names, status, ttl_ns)
    asked = (features,) if isinstance(features, str) else tuple(features) if isinstance(features, list | tuple) else ()
    if asked and all(isinstance(feature, str | Reference) for feature in asked):
        question: Hashable = ("plan", asked, *options)
        return catalog.remember(question, lambda: _plan(catalog, features, *options))
    return _plan(catalog, features, *options)


def _plan(catalog: Catalog, features: Features, taken: tuple[str, ...], full_names: bool, status: bool, ttl_ns: int | None) -> FeaturePlan:
    selection = select(catalog, features, taken=taken, full_names=full_names, status=status, with_computed=True)
    if ttl_ns is not None:
        selection = [_with_ttl(selected, ttl_ns) for selected in selection]
    outputs = _names(selection, status)
    references = tuple(reference for selected in selection for reference in selected.references)
    if not any(selected.relation.computed for selected in selection):
        return FeaturePlan(selection, (), outputs, outputs, outputs, references)
    planner = _Planner(catalog, selection, (*taken, *outputs), status)
    sources = [source for selected in selection for source in planner.sources(selected)]
    stored = planner.stored()
    return FeaturePlan(stored, planner.steps(), _names(stored, status), outputs, tuple(sources), references, planner.functions())


def _with_ttl(selected: Selected, ttl_ns: int) -> Selected:
    if selected.way.ttl_ns is not None or selected.relation.window is not None:
        return selected
    return replace(selected, way=replace(selected.way, ttl_ns=ttl_ns))


def _names(selection: Sequence[Selected], status: bool) -> tuple[str, ...]:
    """The columns that a selection gives, in their order."""
    return tuple(name for selected in selection for name in (*selected.outputs, *(status_names(selected) if status else ())))


Way = tuple[str, Reference]  # a view and how it is looked up, whatever its features are called


@dataclass(slots=True)
class _Lookup:
    """What is looked up of one stored view in one way."""

    selected: Selected
    columns: dict[int, str]  # by number


@dataclass(slots=True)
class _Draft:
    """A step in the making."""

    relation: Relation
    way: Reference
    mark: str
    columns: dict[int, str] = field(default_factory=dict)
    brought: dict[str, Brought] = field(default_factory=dict)
    looked: dict[str, Looked] = field(default_factory=dict)
    takes: dict[Way, None] = field(default_factory=dict)

    @property
    def told(self) -> tuple[str, str, str]:
        return (f"{self.mark}status", f"{self.mark}event_timestamp", f"{self.mark}valid_to")


class _Planner:
    """Works out, from what is shown, what else has to be looked up, and the steps."""

    def __init__(self, catalog: Catalog, selection: Sequence[Selected], taken: tuple[str, ...], status: bool) -> None:
        self._catalog = catalog
        self._status = status
        self._taken = set(taken)
        stored = [selected for selected in selection if selected.relation.computed is None]
        self._shown = [_Lookup(selected, dict(zip(selected.numbers, selected.outputs, strict=True))) for selected in stored]
        self._hidden: dict[Way, _Lookup] = {}
        self._drafts: dict[Way, _Draft] = {}

    def sources(self, selected: Selected) -> list[str]:
        """The columns that hold what a selection shows."""
        if selected.relation.computed is None:
            return list(_names([selected], self._status))
        _check_columns(self._catalog, selected)
        found = [self._need(selected.relation, selected.way, number) for number in selected.numbers]
        return found + list(self._drafts[_place(selected.relation, selected.way)].told if self._status else ())

    def stored(self) -> list[Selected]:
        """What is looked up: what is shown of it first."""
        return [lookup.selected for lookup in (*self._shown, *self._hidden.values())]

    def steps(self) -> tuple[Step, ...]:
        """Each on-demand view after those it takes."""
        ordered = sorted(self._drafts, key=self._level)
        return tuple(self._step(self._drafts[place]) for place in ordered)

    def functions(self) -> tuple[tuple[str, str], ...]:
        """(view, hash) of what is not told by the definitions alone: Python functions."""
        found = {}
        for draft in self._drafts.values():
            assert draft.relation.computed is not None
            code = draft.relation.computed.view.code
            if code is not None:
                found[f"{draft.relation.entry.name}@{draft.relation.entry.version}"] = code.digest
        return tuple(sorted(found.items()))

    def _need(self, relation: Relation, way: Reference, number: int) -> str:
        """The column that will hold a feature."""
        if relation.computed is None:
            return self._look_up(relation, way, number)
        place = _place(relation, way)
        if place not in self._drafts:
            self._drafts[place] = _Draft(relation, way, self._mark(relation.label))
        draft = self._drafts[place]
        if number not in draft.columns:
            draft.columns[number] = f"{draft.mark}{relation.layout.features[number].name}"
            for argument in _arguments_of(relation, number):
                self._supply(draft, argument)
        return draft.columns[number]

    def _supply(self, draft: _Draft, argument: Argument) -> None:
        name, dtype = argument.name, argument.dtype
        if name in draft.looked or name in draft.brought:
            return
        if argument.feature is None:
            column = dict(draft.way.keys).get(name, name)
            draft.brought[name] = Brought(name, column, dtype, f"{draft.relation.label}.{name}")
            return
        relation = self._catalog.relation(argument.feature.view, argument.feature.version)
        way = _passed_on(relation, argument.feature, draft.way)
        assert argument.feature.feature is not None
        draft.looked[name] = Looked(name, self._need(relation, way, relation.number(argument.feature.feature)), dtype)
        draft.takes[_place(relation, way)] = None

    def _look_up(self, relation: Relation, way: Reference, number: int) -> str:
        """A stored feature: as it is shown, or beside what is shown of its view, or out of sight."""
        place = _place(relation, way)
        shown = [lookup for lookup in self._shown if _place(lookup.selected.relation, lookup.selected.way) == place]
        for known in shown:
            if number in known.columns:
                return known.columns[number]
        # The status of what is shown tells of the features shown: then others are looked up on their own.
        beside = shown[0] if shown and not self._status else None
        lookup = beside or self._hidden.get(place)
        if lookup is None:
            hidden = replace(way, prefix=self._mark("input"))
            lookup = self._hidden[place] = _Lookup(Selected(relation, (), (), hidden), {})
        if number not in lookup.columns:
            column = f"{self._mark('input')}{relation.label}__{relation.layout.features[number].name}"
            selected = lookup.selected
            lookup.selected = replace(selected, numbers=(*selected.numbers, number), outputs=(*selected.outputs, column))
            lookup.columns[number] = column
        return lookup.columns[number]

    def _mark(self, name: str) -> str:
        """What names out of sight begin with: no name that is given or shown does."""
        mark = f"{name}<-"
        count = 1
        while any(taken.startswith(mark) for taken in self._taken):
            count += 1
            mark = f"{name}<-{count}:"
        self._taken.add(mark)
        return mark

    def _level(self, place: Way) -> int:
        if place not in self._drafts:
            return 0
        return 1 + max((self._level(other) for other in self._drafts[place].takes), default=0)

    def _step(self, draft: _Draft) -> Step:
        numbers = tuple(draft.columns)
        told, times = None, []
        if self._status:
            told = draft.told
            for place in draft.takes:
                if place in self._drafts:
                    times.append(Times(*self._drafts[place].told[1:], "us"))
                else:
                    times += [_times(lookup.selected) for lookup in self._lookups(place)]
        return Step(
            prepare(draft.relation, numbers),
            tuple(draft.brought.values()),
            tuple(draft.looked.values()),
            tuple(draft.columns.values()),
            told,
            tuple(times),
        )

    def _lookups(self, place: Way) -> list[_Lookup]:
        known = (*self._shown, *self._hidden.values())
        return [lookup for lookup in known if _place(lookup.selected.relation, lookup.selected.way) == place]


def _times(selected: Selected) -> Times:
    _, since, until = status_names(selected)
    return Times(since, until, selected.relation.layout.time_unit)


def _place(relation: Relation, way: Reference) -> Way:
    return relation.label, replace(way, prefix="", view=relation.entry.name, version=None, feature=None)


def _arguments_of(relation: Relation, number: int) -> list[Argument]:
    """What one feature takes: of a function, all there is."""
    assert relation.computed is not None
    view, arguments = relation.computed.view, relation.computed.arguments
    if view.code is not None:
        return list(arguments)
    names = view.features[view.outputs[number]].columns
    return [argument for argument in arguments if argument.name in names]


def _passed_on(relation: Relation, feature: Reference, outer: Reference) -> Reference:
    """How an input is looked up, where the view that takes it is asked for in a way of its own."""
    columns = dict(outer.keys)
    keys = columns | {key: columns.get(column, column) for key, column in feature.keys}
    if relation.computed is None:
        keys = {key.name: keys[key.name] for key in relation.layout.keys if keys.get(key.name, key.name) != key.name}
    has_ttl = relation.window is None
    return Reference(
        relation.entry.name,
        keys=tuple(sorted(keys.items())),
        offset_ns=feature.offset_ns + outer.offset_ns,
        ttl_ns=None if not has_ttl else outer.ttl_ns if feature.ttl_ns is None else feature.ttl_ns,
    )


def _check_columns(catalog: Catalog, selected: Selected) -> None:
    columns = needed_columns(catalog, selected.relation)
    for name, _ in selected.way.keys:
        if name not in columns:
            message = f"{str(selected.way)!r}: {selected.relation.label} takes no key or request column {name!r}"
            raise UsageError(message, hint=suggest(name, columns))


def needed_columns(catalog: Catalog, relation: Relation) -> dict[str, DType]:
    """The columns of keys and requests that a view is asked by, and their types."""
    if relation.computed is None:
        return {key.name: key.dtype for key in relation.layout.keys}
    found: dict[str, DType] = {}
    for argument in relation.computed.arguments:
        if argument.feature is None:
            found[argument.name] = argument.dtype
        else:
            renamed = dict(argument.feature.keys)
            inner = needed_columns(catalog, catalog.relation(argument.feature.view, argument.feature.version))
            found |= {renamed.get(name, name): dtype for name, dtype in inner.items()}
    return found


def _one(looked: Looked, at_hand: Mapping[str, pa.Array], found: Mapping[str, Any]) -> pa.Array:
    known = at_hand.get(looked.column)
    return pa.array([found[looked.column]], looked.dtype.arrow) if known is None else known


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _statuses(computed: Sequence[pa.Array], rows: int) -> pa.Array:
    """PRESENT where any output is not null."""
    codes = pa.repeat(pa.scalar(IS_NULL, pa.int8()), rows)
    for column in computed:
        codes = pc.if_else(column.is_valid(), pa.scalar(IS_PRESENT, pa.int8()), codes)
    return pa.array(STATUSES, pa.string()).take(codes)

"""The catalogue: every definition the file ever had, by name, version and revision.

A table's data hangs on its number. A *version* (`weather@2`) is another table; a *revision* is the same table with other features or
types. What was withdrawn is known to older versions only; its rows stay for them.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from mlstore.engine.entries import CATALOG, CatalogEntry, read_entry
from mlstore.engine.lazy import lazy
from mlstore.engine.versions import Scope, read_counter
from mlstore.errors import DefinitionError, UnknownNameError, UsageError
from mlstore.format.keys import KeySpec
from mlstore.format.rows import RowPlan, RowReader, compile_plan
from mlstore.format.values import ValueForm, compile_form
from mlstore.schema.arguments import Argument, ondemand_layout, resolve_arguments
from mlstore.schema.dtypes import DType, widens
from mlstore.schema.entity import Entity
from mlstore.schema.layout import Field, Layout, table_layout, view_layout
from mlstore.schema.ondemand import OnDemandView
from mlstore.schema.outputs import Output, resolve_outputs, window_layout
from mlstore.schema.record import Definition
from mlstore.schema.reference import Reference, parse_reference
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView
from mlstore.storage.transaction import Reader

REMEMBERED = 1024
DEEPEST = 64  # on-demand views one upon the other

WHOLE = 0  # the revision, which nothing is stored in, of rows with all features that their table ever had

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Revision:
    """What a revision says of rows: features, and the number of each."""

    fields: tuple[tuple[str, DType], ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WindowInputs:
    """What a window view is worked out from: its definition, the events of `source`, and the outputs as its source has them now."""

    view: WindowView
    source: "Relation"
    outputs: tuple[Output, ...]

    @property
    def levels_ns(self) -> tuple[int, ...]:
        """The widths of its tiles, finest first."""
        return self.view.levels_ns


@dataclass(frozen=True, slots=True)
class Computed:
    """What an on-demand view is computed from: its definition, and the columns it takes."""

    view: OnDemandView
    arguments: tuple[Argument, ...]


class Relation:
    """A view or table made ready for work: its layout, keys and row plans; of a view that has no rows, what it is made of."""

    def __init__(
        self,
        entry: CatalogEntry,
        layout: Layout,
        revisions: Mapping[int, Revision],
        window: WindowInputs | None = None,
        computed: Computed | None = None,
    ) -> None:
        self.entry = entry
        self.layout = layout
        self.table = entry.table
        self.revision = entry.revision
        self.label = entry.label
        self.window = window
        self.computed = computed
        self.key_spec = KeySpec(tuple(field.dtype for field in layout.keys))
        self.numbers = {field.name: number for number, field in enumerate(layout.features)}
        self.places: Sequence[int] = entry.numbers or range(len(layout.features))  # under which number each feature is stored
        self._revisions = revisions
        self._remembered: dict[Hashable, Any] = {}

    @lazy
    def plan(self) -> RowPlan:
        self.require_rows("write")
        return compile_plan(self.revision, self._revisions[self.revision].fields)

    def remember(self, question: Hashable, answer: Callable[[], Answer]) -> Answer:
        """What was worked out before from this relation, which never changes; else the answer, kept."""
        found: Answer | None = self._remembered.get(question)
        if found is None:
            found = self._remembered[question] = answer()
        return found

    @lazy
    def form(self) -> ValueForm | None:
        """How a dict of Python values is packed; None: through Arrow only."""
        return compile_form(self.layout, self.plan)

    def is_same(self, other: "Relation") -> bool:
        """Whether rows packed for one are rows of the other."""
        return self is other or (self.table, self.revision, self.layout) == (other.table, other.revision, other.layout)

    @lazy
    def rows(self) -> RowReader:
        self.require_rows()
        plans = {number: compile_plan(number, revision.fields) for number, revision in self._revisions.items()}
        return RowReader(plans, self.plan, {number: revision.numbers for number, revision in self._revisions.items()})

    @lazy
    def whole(self) -> "Relation":
        """The relation with all that older versions may still see of its rows: features taken back, and types before they were narrowed.

        What writes rows of one place to another writes these. Names may come twice: features go by their positions.
        """
        held = _held(self._revisions)
        fields, numbers = tuple(held[number] for number in sorted(held)), tuple(sorted(held))
        if numbers == tuple(self.places) and fields == self._fields:
            return self
        return _Reading(self.entry, self.layout, self._revisions, fields, numbers)

    def beside(self, *others: "Relation") -> "Relation":
        """The relation as it reads rows that other places have written to the same table, in types that hold what is there."""
        revisions = dict(self._revisions)
        for other in others:
            revisions |= other._revisions
        held = _held(revisions)
        fields = tuple((name, held[number][1]) for number, (name, _) in zip(self.places, self._fields, strict=True))
        return _Reading(replace(self.entry, revision=WHOLE), self.layout, revisions, fields, tuple(self.places))

    @property
    def _fields(self) -> tuple[tuple[str, DType], ...]:
        return tuple((field.name, field.dtype) for field in self.layout.features)

    def require_rows(self, doing: str = "read") -> None:
        """Refuse what only makes sense where rows are kept: a window view and an on-demand view have none."""
        if self.computed is not None:
            message = f"{self.label!r} is an on-demand view: it is computed when asked for, and has no rows to {doing}"
            inputs = ", ".join(self.computed.view.references)
            raise UsageError(message, hint=f"{doing} those of its inputs: {inputs}" if inputs else "ask for its features")
        if self.window is not None:
            message = f"{self.label!r} is a window view: it is worked out from events, and has no rows to {doing}"
            raise UsageError(message, hint=f"{doing} those of its source, {self.window.source.label!r}")

    def knows(self, revision: int) -> bool:
        """Whether rows of a revision can be read: other lines, and later versions, have revisions of their own."""
        return revision in self._revisions

    def number(self, feature: str) -> int:
        """The number of a feature; UnknownNameError names the nearest."""
        if feature not in self.numbers:
            raise UnknownNameError(f"{self.label} has no feature {feature!r}", hint=suggest(feature, self.numbers))
        return self.numbers[feature]


class _Reading(Relation):
    """A relation with other features than it was declared with: rows are read so, and written to segments, but never packed."""

    def __init__(
        self,
        entry: CatalogEntry,
        layout: Layout,
        revisions: Mapping[int, Revision],
        fields: tuple[tuple[str, DType], ...],
        numbers: tuple[int, ...],
    ) -> None:
        features = tuple(Field(*field) for field in fields)
        revisions = {**revisions, WHOLE: Revision(fields, numbers)}
        super().__init__(replace(entry, numbers=numbers), replace(layout, features=features), revisions)

    @lazy
    def plan(self) -> RowPlan:
        return compile_plan(WHOLE, self._revisions[WHOLE].fields)


def _held(revisions: Mapping[int, Revision]) -> dict[int, tuple[str, DType]]:
    """By number, each feature that any of the revisions has, in its widest type."""
    held: dict[int, tuple[str, DType]] = {}
    for revision in revisions.values():
        for number, (name, dtype) in zip(revision.numbers, revision.fields, strict=True):
            shown, known = held.get(number, (name, dtype))
            held[number] = shown, dtype if widens(known, dtype) else known
    return held


class Catalog:
    """All definitions a version knows."""

    def __init__(self, entries: list[CatalogEntry]) -> None:
        self.entries = entries
        self._newest: dict[tuple[str, str], list[CatalogEntry]] = {}
        for entry in entries:  # in order of (kind, name, version, revision)
            versions = self._newest.setdefault((_space(entry.kind), entry.name), [])
            if versions and (versions[-1].kind, versions[-1].version) == (entry.kind, entry.version):
                versions[-1] = entry
            else:
                versions.append(entry)
        self._withdrawn = [entry for versions in self._newest.values() for entry in versions if entry.is_withdrawn]
        if self._withdrawn:
            live = {place: [entry for entry in versions if not entry.is_withdrawn] for place, versions in self._newest.items()}
            self._newest = {place: versions for place, versions in live.items() if versions}
        self._relations: dict[tuple[str, int], Relation] = {}
        self._named: dict[tuple[str, int | None], Relation] = {}
        self._remembered: dict[Hashable, Any] = {}

    def remember(self, question: Hashable, answer: Callable[[], Answer]) -> Answer:
        """What was answered before about this catalogue, which never changes; else the answer, kept."""
        found: Answer | None = self._remembered.get(question)
        if found is None:
            found = answer()
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            self._remembered[question] = found
        return found

    def current(self) -> Iterator[CatalogEntry]:
        """The latest revision of every version of every definition."""
        for versions in self._newest.values():
            yield from versions

    def find(self, space: str, name: str) -> list[CatalogEntry]:
        """All versions of a name, oldest first."""
        return self._newest.get((space, name), [])

    def next_version(self, space: str, name: str) -> int:
        """A number that no version of a name has here, nor had."""
        return 1 + max((entry.version for entry in self.entries if (_space(entry.kind), entry.name) == (space, name)), default=0)

    def entity(self, name: str) -> Entity:
        found = self.find("entity", name)
        if not found:
            names = [known for space, known in self._newest if space == "entity"]
            raise UnknownNameError(f"no entity {name!r}", hint=suggest(name, names))
        assert isinstance(found[-1].definition, Entity)
        return found[-1].definition

    def _keyed_by(self, name: str) -> Entity:
        """An entity, withdrawn perhaps: what was withdrawn with it has its keys still."""
        for entry in self._withdrawn:
            if isinstance(entry.definition, Entity) and entry.name == name and not self.find("entity", name):
                return entry.definition
        return self.entity(name)

    def service(self, name: str) -> FeatureService | None:
        """The service of a name: its newest version, or the one asked for, `model@2`."""
        bare, _, version = name.partition("@")
        for entry in reversed(self.find("relation", bare)):
            if isinstance(entry.definition, FeatureService) and version in ("", str(entry.version)):
                return entry.definition
        return None

    def relation(self, name: str, version: int | None = None) -> Relation:
        """The view or table of a name: its newest version, or the one asked for."""
        found = self._named.get((name, version))
        if found is None:
            found = self._named[name, version] = self._relation(name, version, ())
        return found

    def _relation(self, name: str, version: int | None, above: tuple[str, ...]) -> Relation:
        """`above`: the on-demand views that it is looked up for."""
        if version is None and "@" in name:
            reference = parse_reference(name)
            name, version = reference.view, reference.version
        versions = [e for e in self.find("relation", name) if isinstance(e.definition, FeatureView | WindowView | Table | OnDemandView)]
        chosen = [entry for entry in versions if version in (None, entry.version)]
        if not chosen:
            raise self._unknown_relation(name, version, versions)
        return self._compiled(chosen[-1], above)

    def stored(self, name: str, *, doing: str) -> Relation:
        """The view or table of a name, which must be one that holds rows: window views and on-demand views are refused."""
        relation = self.relation(name)
        relation.require_rows(doing)
        return relation

    def windows(self) -> Iterator[Relation]:
        """Every window view, which holds no rows."""
        for entry in self.current():
            if isinstance(entry.definition, WindowView):
                yield self._compiled(entry)

    def relations(self) -> Iterator[Relation]:
        """Every view and table that holds rows."""
        for entry in self.current():
            if isinstance(entry.definition, FeatureView | Table):
                yield self._compiled(entry)

    def stores(self) -> Iterator[Relation]:
        """Every view and table that rows may lie in, those included that were withdrawn."""
        yield from self.relations()
        yield from (self._made_of_rows(entry) for entry in self._withdrawn if isinstance(entry.definition, FeatureView | Table))

    def store(self, table: int) -> Relation:
        """The one of `stores` whose rows hang on this number."""
        return next(relation for relation in self.stores() if relation.table == table)

    def layout(self, definition: FeatureView | WindowView | Table) -> Layout:
        if isinstance(definition, Table):
            return table_layout(definition)
        entity = None if definition.entity_name is None else self._keyed_by(definition.entity_name)
        if isinstance(definition, WindowView):
            keys = () if entity is None else tuple(Field(name, dtype) for name, dtype in entity.keys.items())
            return window_layout(definition, keys, self.relation(definition.source_name).layout)
        return view_layout(definition, entity)

    def _compiled(self, entry: CatalogEntry, above: tuple[str, ...] = ()) -> Relation:
        key = (entry.name, entry.version)
        if key not in self._relations:
            definition = entry.definition
            if isinstance(definition, OnDemandView):
                self._relations[key] = self._computed(entry, definition, above)
            else:
                self._relations[key] = self._made_of_rows(entry)
        return self._relations[key]

    def _computed(self, entry: CatalogEntry, view: OnDemandView, above: tuple[str, ...]) -> Relation:
        """An on-demand view; DefinitionError: it is computed from itself, as only a file says that somebody made up."""
        if entry.label in above or len(above) > DEEPEST:
            told = " -> ".join((*above, entry.label)[-10:])
            raise DefinitionError(f"on-demand views in a circle, or one upon more than {DEEPEST}: {told}", hint="compute them in one view")

        def features_of(reference: Reference) -> tuple[Field, ...]:
            relation = self._relation(reference.view, reference.version, (*above, entry.label))
            if reference.feature is not None:
                relation.number(reference.feature)
            return relation.layout.features

        arguments = resolve_arguments(view, features_of)
        return Relation(entry, ondemand_layout(view, arguments), {}, computed=Computed(view, arguments))

    def _made_of_rows(self, entry: CatalogEntry) -> Relation:
        definition, revisions, window = entry.definition, dict[int, Revision](), None
        assert isinstance(definition, FeatureView | WindowView | Table)
        if isinstance(definition, WindowView):
            source = self.relation(definition.source_name)
            window = WindowInputs(definition, source, resolve_outputs(definition, source.layout))
        for other in self.entries:
            if other.table == entry.table and isinstance(other.definition, FeatureView | Table):
                fields = self.layout(other.definition).features
                revisions[other.revision] = Revision(tuple((field.name, field.dtype) for field in fields), other.numbers)
        return Relation(entry, self.layout(definition), revisions, window)

    def _unknown_relation(self, name: str, version: int | None, versions: list[CatalogEntry]) -> UnknownNameError:
        if versions:
            known = ", ".join(entry.label for entry in versions)
            return UnknownNameError(f"no version {version} of {name!r}", hint=f"there is {known}")
        if self.find("relation", name):
            return UnknownNameError(f"{name!r} is a feature service, not a view or table", hint="name one of its views")
        names = [known for space, known in self._newest if space == "relation"]
        return UnknownNameError(f"no view or table {name!r}", hint=suggest(name, names))


def with_entry(catalog: Catalog, entry: CatalogEntry) -> Catalog:
    """The catalogue as it would be with one more entry."""
    return Catalog(sorted([*catalog.entries, entry], key=lambda known: (known.kind, known.name, known.version, known.revision)))


def load_catalog(reader: Reader, scope: Scope) -> Catalog:
    """The catalogue as a place knows it."""
    bounds = dict(scope.lineage())
    entries = (read_entry(key, packed) for key, packed in reader.scan(CATALOG))
    return Catalog([entry for entry in entries if entry.seq <= bounds.get(entry.line, 0)])


def catalog_tick(reader: Reader) -> int:
    """Changes whenever the catalogue does, or a branch moves to another line."""
    return read_counter(reader, "catalog")


def suggest(wrong: str, known: object) -> str:
    """The cure for a misspelt name."""
    names = sorted(str(name) for name in known)  # type: ignore[attr-defined]
    close = get_close_matches(wrong, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there is {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}" if names else "nothing is registered yet"


def feature_names(definition: Definition) -> tuple[str, ...]:
    """The names of the columns beside keys and times; none of an entity or a service."""
    if isinstance(definition, WindowView):
        return definition.output_names
    if isinstance(definition, OnDemandView):
        return definition.outputs
    return tuple(definition.schema) if isinstance(definition, FeatureView | Table) else ()


def _space(kind: str) -> str:
    # Views, tables and services share one space of names: a reference must mean one thing.
    return "entity" if kind == "entity" else "relation"

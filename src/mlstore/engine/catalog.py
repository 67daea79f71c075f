"""The catalogue: every definition the file ever had, by name, version and revision.

An entry is written once and never changed; a table's data hangs on its number. A *version* (`weather@2`) is another table;
a *revision* is the same table with more features or wider numbers.
"""

from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from hashlib import blake2b
from typing import Any, TypeVar

from mlstore.engine.lazy import lazy
from mlstore.engine.versions import FIRST_LINE, Scope, read_counter, take_numbers
from mlstore.errors import CorruptionError, DefinitionError, UnknownNameError, UsageError
from mlstore.format.keys import KeySpec
from mlstore.format.manifest import EPOCH, decode_fields, encode_fields, is_time
from mlstore.format.packed import CURE, FixedFields
from mlstore.format.rows import RowPlan, RowReader, compile_plan
from mlstore.format.values import ValueForm, compile_form
from mlstore.schema.arguments import Argument, ondemand_layout, resolve_arguments
from mlstore.schema.dtypes import DType
from mlstore.schema.entity import Entity
from mlstore.schema.layout import Field, Layout, table_layout, view_layout
from mlstore.schema.ondemand import OnDemandView
from mlstore.schema.outputs import Output, resolve_outputs, window_layout
from mlstore.schema.record import Definition, from_record, to_record
from mlstore.schema.reference import Reference, parse_reference
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView
from mlstore.storage.keyspace import declare
from mlstore.storage.transaction import Reader, Writer

CATALOG = declare("catalog")

KINDS = {
    Entity: "entity",
    FeatureView: "view",
    WindowView: "window",
    Table: "table",
    OnDemandView: "on_demand",
    FeatureService: "service",
}

REMEMBERED = 1024
DEEPEST = 64  # on-demand views one upon the other

Answer = TypeVar("Answer")

_SUFFIX = FixedFields(">II")
_LINE = FixedFields(">I")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One definition as registered: kind, name, version, revision, the definition, and since when.

    `table` is the number its data hangs on (0 for entities and services); `seq` bounds the versions of its `line` that do not know it.
    """

    kind: str
    name: str
    version: int
    revision: int
    definition: Definition
    table: int
    seq: int
    time_us: int
    line: int = FIRST_LINE

    @property
    def created(self) -> datetime:
        """When it was registered, UTC."""
        return EPOCH + timedelta(microseconds=self.time_us)

    @property
    def label(self) -> str:
        """The name as written in references: `weather`, `weather@2`."""
        return self.name if self.version == 1 else f"{self.name}@{self.version}"


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
        revisions: dict[int, tuple[tuple[str, DType], ...]],
        lines: dict[int, int],
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
        self._revisions = revisions
        self._lines = lines  # the line that made each revision
        self._remembered: dict[Hashable, Any] = {}

    @lazy
    def plan(self) -> RowPlan:
        self.require_rows("write")
        return compile_plan(self.revision, self._revisions[self.revision])

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
        plans = {revision: compile_plan(revision, fields) for revision, fields in self._revisions.items()}
        return RowReader(plans, self.plan)

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

    def width(self, lines: Collection[int]) -> int:
        """How many features the rows of these lines can have; what stands behind them there belongs to another line's revisions."""
        return max((len(fields) for revision, fields in self._revisions.items() if self._lines[revision] in lines), default=0)

    def number(self, feature: str) -> int:
        """The number of a feature; UnknownNameError names the nearest."""
        if feature not in self.numbers:
            raise UnknownNameError(f"{self.label} has no feature {feature!r}", hint=suggest(feature, self.numbers))
        return self.numbers[feature]


class Catalog:
    """All definitions a version knows."""

    def __init__(self, entries: list[CatalogEntry]) -> None:
        self.entries = entries
        self._newest: dict[tuple[str, str], list[CatalogEntry]] = {}
        for entry in entries:  # in order of (kind, name, version, revision)
            versions = self._newest.setdefault((_space(entry.kind), entry.name), [])
            if versions and versions[-1].version == entry.version:
                versions[-1] = entry
            else:
                versions.append(entry)
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

    def entity(self, name: str) -> Entity:
        found = self.find("entity", name)
        if not found:
            names = [known for space, known in self._newest if space == "entity"]
            raise UnknownNameError(f"no entity {name!r}", hint=suggest(name, names))
        assert isinstance(found[-1].definition, Entity)
        return found[-1].definition

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

    def layout(self, definition: FeatureView | WindowView | Table) -> Layout:
        if isinstance(definition, Table):
            return table_layout(definition)
        entity = None if definition.entity_name is None else self.entity(definition.entity_name)
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
        return Relation(entry, ondemand_layout(view, arguments), {}, {}, computed=Computed(view, arguments))

    def _made_of_rows(self, entry: CatalogEntry) -> Relation:
        definition, revisions, lines, window = entry.definition, {}, {}, None
        assert isinstance(definition, FeatureView | WindowView | Table)
        if isinstance(definition, WindowView):
            source = self.relation(definition.source_name)
            window = WindowInputs(definition, source, resolve_outputs(definition, source.layout))
        for other in self.entries:
            if other.table == entry.table and isinstance(other.definition, FeatureView | Table):
                fields = self.layout(other.definition).features
                revisions[other.revision] = tuple((field.name, field.dtype) for field in fields)
                lines[other.revision] = other.line
        return Relation(entry, self.layout(definition), revisions, lines, window)

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
    bounds = dict(scope.layers())
    entries = (read_entry(key, packed) for key, packed in reader.scan(CATALOG))
    return Catalog([entry for entry in entries if entry.seq <= bounds.get(entry.line, 0)])


def next_revision(reader: Reader, entry: CatalogEntry) -> int:
    """A number that no revision of this version had before, on any line: a row names its columns by it."""
    found = (read_entry(key, packed) for key, packed in reader.scan_prefix(CATALOG, _prefix(entry.kind, entry.name)))
    return 1 + max((other.revision for other in found if (other.version, other.table) == (entry.version, entry.table)), default=0)


def catalog_tick(reader: Reader) -> int:
    """Changes whenever the catalogue does, or a branch moves to another line."""
    return read_counter(reader, "catalog")


def put_entry(writer: Writer, entry: CatalogEntry) -> bytes:
    """Write an entry; its digest, which the commit keeps."""
    key, packed = _key(entry), encode_fields([entry.table, entry.seq, entry.time_us, to_record(entry.definition)])
    writer.put(CATALOG, key, packed, overwrite=False)
    take_numbers(writer, "catalog")
    return _digest(key, packed)


def entry_digests(reader: Reader) -> Iterator[tuple[int, bytes]]:
    """The sequence of every entry on every line, and its digest."""
    for key, packed in reader.scan(CATALOG):
        yield read_entry(key, packed).seq, _digest(key, packed)


def _digest(key: bytes, packed: bytes) -> bytes:
    return blake2b(key + packed, digest_size=16).digest()


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


def kind_of(definition: object) -> str:
    for kind, name in KINDS.items():
        if isinstance(definition, kind):
            return name
    raise DefinitionError(
        f"{type(definition).__name__} {definition!r:.60} is no definition",
        hint="give Entity, FeatureView, WindowView, OnDemandView, Table or FeatureService",
    )


def _space(kind: str) -> str:
    # Views, tables and services share one space of names: a reference must mean one thing.
    return "entity" if kind == "entity" else "relation"


def _prefix(kind: str, name: str) -> bytes:
    return f"{kind}\0{name}\0".encode()


def _key(entry: CatalogEntry) -> bytes:
    line = b"" if entry.line == FIRST_LINE else _LINE.pack(entry.line)
    return _prefix(entry.kind, entry.name) + _SUFFIX.pack(entry.version, entry.revision) + line


def read_entry(key: bytes, packed: bytes) -> CatalogEntry:
    """The entry of a record; CorruptionError if it says what cannot be."""
    table, seq, time_us, record = decode_fields(packed, int, int, int, dict)
    definition = from_record(record)
    stem = _prefix(kind_of(definition), definition.name)
    suffix = key[len(stem) :]
    if not key.startswith(stem) or not 0 <= table < 2**32 or not is_time(time_us):
        raise CorruptionError(f"the catalogue says what cannot be of {kind_of(definition)} {definition.name!r}", hint=CURE)
    version, revision = _SUFFIX.unpack(suffix[: _SUFFIX.size])
    line = _LINE.unpack(suffix[_SUFFIX.size :])[0] if len(suffix) > _SUFFIX.size else FIRST_LINE
    return CatalogEntry(kind_of(definition), definition.name, version, revision, definition, table, seq, time_us, line)

"""The catalogue: every definition the file ever had, by name, version and revision.

An entry is written once and never changed; a table's data hangs on its number. A *version* (`weather@2`) is another table;
a *revision* is the same table with more features or wider numbers.
"""

import struct
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, TypeVar

from mlstore.engine.lazy import lazy
from mlstore.engine.versions import FIRST_LINE, Scope, read_counter, take_numbers
from mlstore.errors import DefinitionError, UnknownNameError, UsageError
from mlstore.format.keys import KeySpec
from mlstore.format.manifest import EPOCH, decode_fields, encode_fields
from mlstore.format.rows import RowPlan, RowReader, compile_plan
from mlstore.format.values import ValueForm, compile_form
from mlstore.schema.dtypes import DType
from mlstore.schema.entity import Entity
from mlstore.schema.layout import Field, Layout, table_layout, view_layout
from mlstore.schema.outputs import Output, resolve_outputs, window_layout
from mlstore.schema.record import Definition, from_record, to_record
from mlstore.schema.reference import parse_reference
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView
from mlstore.storage.keyspace import declare
from mlstore.storage.transaction import Reader, Writer

CATALOG = declare("catalog")

KINDS = {Entity: "entity", FeatureView: "view", WindowView: "window", Table: "table", FeatureService: "service"}

REMEMBERED = 1024

Answer = TypeVar("Answer")

_SUFFIX = struct.Struct(">II")
_LINE = struct.Struct(">I")


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


class Relation:
    """A view or table made ready for work: its layout, keys and row plans; of a window view, which has no rows, what it is made of."""

    def __init__(
        self,
        entry: CatalogEntry,
        layout: Layout,
        revisions: dict[int, tuple[tuple[str, DType], ...]],
        lines: dict[int, int],
        window: WindowInputs | None = None,
    ) -> None:
        self.entry = entry
        self.layout = layout
        self.table = entry.table
        self.revision = entry.revision
        self.label = entry.label
        self.window = window
        self.key_spec = KeySpec(tuple(field.dtype for field in layout.keys))
        self.numbers = {field.name: number for number, field in enumerate(layout.features)}
        self._revisions = revisions
        self._lines = lines  # the line that made each revision

    @lazy
    def plan(self) -> RowPlan:
        self.require_rows("write")
        return compile_plan(self.revision, self._revisions[self.revision])

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
        """Refuse what only makes sense where rows are kept: a window view has none."""
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
        if version is None and "@" in name:
            reference = parse_reference(name)
            name, version = reference.view, reference.version
        versions = [e for e in self.find("relation", name) if isinstance(e.definition, FeatureView | WindowView | Table)]
        chosen = [entry for entry in versions if version in (None, entry.version)]
        if not chosen:
            raise self._unknown_relation(name, version, versions)
        return self._compiled(chosen[-1])

    def stored(self, name: str, *, doing: str) -> Relation:
        """The view or table of a name, which must be one that holds rows: window views are refused."""
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

    def _compiled(self, entry: CatalogEntry) -> Relation:
        key = (entry.name, entry.version)
        if key not in self._relations:
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
            self._relations[key] = Relation(entry, self.layout(definition), revisions, lines, window)
        return self._relations[key]

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
    entries = (_decode(key, packed) for key, packed in reader.scan(CATALOG))
    return Catalog([entry for entry in entries if entry.seq <= bounds.get(entry.line, 0)])


def next_revision(reader: Reader, entry: CatalogEntry) -> int:
    """A number that no revision of this version had before, on any line: a row names its columns by it."""
    found = (_decode(key, packed) for key, packed in reader.scan_prefix(CATALOG, _prefix(entry.kind, entry.name)))
    return 1 + max((other.revision for other in found if (other.version, other.table) == (entry.version, entry.table)), default=0)


def catalog_tick(reader: Reader) -> int:
    """Changes whenever the catalogue does, or a branch moves to another line."""
    return read_counter(reader, "catalog")


def put_entry(writer: Writer, entry: CatalogEntry) -> None:
    body = [entry.table, entry.seq, entry.time_us, to_record(entry.definition)]
    writer.put(CATALOG, _key(entry), encode_fields(body), overwrite=False)
    take_numbers(writer, "catalog")


def search_catalog(catalog: Catalog, search: str | None, *, tag: str | None, owner: str | None, kind: str | None) -> list[CatalogEntry]:
    """The entries that fit all that is asked, by kind and name."""
    found = [
        entry
        for entry in catalog.current()
        if (kind is None or entry.kind == kind)
        and (owner is None or entry.definition.owner == owner)
        and (tag is None or _has_tag(entry.definition, tag))
        and (search is None or search.lower() in _searchable(entry))
    ]
    return sorted(found, key=lambda entry: (entry.kind, entry.name, entry.version))


def _has_tag(definition: Definition, tag: str) -> bool:
    name, equals, value = tag.partition("=")
    return name in definition.tags and (not equals or definition.tags[name] == value)


def _searchable(entry: CatalogEntry) -> str:
    definition = entry.definition
    columns = definition.keys if isinstance(definition, Entity) else feature_names(definition)
    references = definition.features if isinstance(definition, FeatureService) else ()
    words = (entry.label, definition.description, definition.owner, *columns, *references, *definition.tags, *definition.tags.values())
    return " ".join(words).lower()


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
    return tuple(definition.schema) if isinstance(definition, FeatureView | Table) else ()


def kind_of(definition: object) -> str:
    for kind, name in KINDS.items():
        if isinstance(definition, kind):
            return name
    raise DefinitionError(
        f"{type(definition).__name__} {definition!r:.60} is no definition",
        hint="give Entity, FeatureView, WindowView, Table or FeatureService",
    )


def _space(kind: str) -> str:
    # Views, tables and services share one space of names: a reference must mean one thing.
    return "entity" if kind == "entity" else "relation"


def _prefix(kind: str, name: str) -> bytes:
    return f"{kind}\0{name}\0".encode()


def _key(entry: CatalogEntry) -> bytes:
    line = b"" if entry.line == FIRST_LINE else _LINE.pack(entry.line)
    return _prefix(entry.kind, entry.name) + _SUFFIX.pack(entry.version, entry.revision) + line


def _decode(key: bytes, packed: bytes) -> CatalogEntry:
    kind, name, suffix = key.split(b"\0", 2)
    version, revision = _SUFFIX.unpack_from(suffix)
    line = _LINE.unpack_from(suffix, _SUFFIX.size)[0] if len(suffix) > _SUFFIX.size else FIRST_LINE
    table, seq, time_us, record = decode_fields(packed)
    return CatalogEntry(kind.decode(), name.decode(), version, revision, from_record(record), table, seq, time_us, line)

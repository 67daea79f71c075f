"""Entries of the catalogue: one definition as registered, and the record that says it. Written once and never changed.

A feature's number is given once per table, whatever the line: what a row or a segment holds under it always means that feature.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from mlstore.engine.versions import FIRST_LINE, take_numbers
from mlstore.errors import CorruptionError, DefinitionError
from mlstore.format.manifest import EPOCH, decode_fields, encode_fields, is_time
from mlstore.format.packed import CURE, FixedFields
from mlstore.schema.entity import Entity
from mlstore.schema.ondemand import OnDemandView
from mlstore.schema.record import Definition, from_record, to_record
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

UNNUMBERED = -1

_SUFFIX = FixedFields(">II")
_LINE = FixedFields(">I")
_HEAD = (int, int, int, dict)
_SHAPES = (_HEAD, (*_HEAD, list), (*_HEAD, list, type(None)))


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One definition as registered: kind, name, version, revision, the definition, and since when.

    `table` is the number its data hangs on (0 for entities and services); `seq` bounds the versions of its `line` that do not know it.
    `numbers`: those of its features in their order, which the data goes by; no other feature of the table ever has one of them, on whatever
    line. -1, and table -1: to be given when it is registered. `is_withdrawn`: it was taken back, and older versions only have it.
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
    numbers: tuple[int, ...] = ()
    is_withdrawn: bool = False

    def changed(self, definition: Definition, numbered: Mapping[str, int] | None = None) -> "CatalogEntry":
        """Its next revision: features keep their numbers; others have those of `numbered`, or are to be given one."""
        known = dict(numbered or {}) | dict(zip(stored_names(self.definition), self.numbers, strict=True))
        numbers = tuple(known.get(name, -1) for name in stored_names(definition))
        return replace(self, revision=self.revision + 1, definition=definition, numbers=numbers)

    @property
    def created(self) -> datetime:
        """When it was registered, UTC."""
        return EPOCH + timedelta(microseconds=self.time_us)

    @property
    def label(self) -> str:
        """The name as written in references: `weather`, `weather@2`."""
        return self.name if self.version == 1 else f"{self.name}@{self.version}"


def stored_names(definition: Definition) -> tuple[str, ...]:
    """The names of the features that a row holds, in their order; none of what has no rows."""
    if isinstance(definition, FeatureView):
        return tuple(definition.schema)
    return tuple(name for name in definition.schema if name not in definition.key) if isinstance(definition, Table) else ()


def settle_numbers(reader: Reader, entry: CatalogEntry) -> CatalogEntry:
    """The entry with a revision and numbers of features that its table never had before, on any line: a row names its columns by them."""
    found = [read_entry(key, packed) for key, packed in reader.scan_prefix(CATALOG, _prefix(entry.kind, entry.name))]
    revision = 1 + max((other.revision for other in found if other.version == entry.version), default=0)
    fresh = 1 + max((number for other in found if other.table == entry.table for number in other.numbers), default=-1)
    numbers = list(entry.numbers) or [UNNUMBERED] * len(stored_names(entry.definition))
    for place, number in enumerate(numbers):
        if number == UNNUMBERED:
            numbers[place], fresh = fresh, fresh + 1
    return replace(entry, revision=revision, numbers=tuple(numbers))


def put_entry(writer: Writer, entry: CatalogEntry) -> bytes:
    """Write an entry; its digest, which the commit keeps."""
    key, packed = _key(entry), encode_fields([entry.table, entry.seq, entry.time_us, to_record(entry.definition), *_told(entry)])
    writer.put(CATALOG, key, packed, overwrite=False)
    take_numbers(writer, "catalog")
    return _digest(key, packed)


def entry_digests(reader: Reader) -> Iterator[tuple[int, bytes]]:
    """The sequence of every entry on every line, and its digest."""
    for key, packed in reader.scan(CATALOG):
        yield read_entry(key, packed).seq, _digest(key, packed)


def _digest(key: bytes, packed: bytes) -> bytes:
    return blake2b(key + packed, digest_size=16).digest()


def kind_of(definition: object) -> str:
    for kind, name in KINDS.items():
        if isinstance(definition, kind):
            return name
    raise DefinitionError(
        f"{type(definition).__name__} {definition!r:.60} is no definition",
        hint="give Entity, FeatureView, WindowView, OnDemandView, Table or FeatureService",
    )


def _prefix(kind: str, name: str) -> bytes:
    return f"{kind}\0{name}\0".encode()


def _key(entry: CatalogEntry) -> bytes:
    line = b"" if entry.line == FIRST_LINE else _LINE.pack(entry.line)
    return _prefix(entry.kind, entry.name) + _SUFFIX.pack(entry.version, entry.revision) + line


def _told(entry: CatalogEntry) -> list[list[int] | None]:
    """What most records leave out: that features are numbered otherwise than by their place, or that the definition is withdrawn."""
    if entry.is_withdrawn:
        return [list(entry.numbers), None]
    return [] if entry.numbers == tuple(range(len(entry.numbers))) else [list(entry.numbers)]


def read_entry(key: bytes, packed: bytes) -> CatalogEntry:
    """The entry of a record; CorruptionError if it says what cannot be."""
    table, seq, time_us, record, *told = _fields(packed)
    definition = from_record(record)
    stem, names = _prefix(kind_of(definition), definition.name), stored_names(definition)
    numbers = tuple(told[0]) if told else tuple(range(len(names)))
    suffix = key[len(stem) :]
    is_numbered = len(numbers) == len(set(numbers)) == len(names) and all(type(number) is int and 0 <= number < 2**16 for number in numbers)
    if not key.startswith(stem) or not 0 <= table < 2**32 or not is_time(time_us) or not is_numbered:
        raise CorruptionError(f"the catalogue says what cannot be of {kind_of(definition)} {definition.name!r}", hint=CURE)
    version, revision = _SUFFIX.unpack(suffix[: _SUFFIX.size])
    if table and revision >= 2**16:
        raise CorruptionError(f"the catalogue tells of revision {revision} of {definition.name!r}, and rows have 16 bits for it", hint=CURE)
    line = _LINE.unpack(suffix[_SUFFIX.size :])[0] if len(suffix) > _SUFFIX.size else FIRST_LINE
    kind, is_withdrawn = kind_of(definition), len(told) == 2
    return CatalogEntry(kind, definition.name, version, revision, definition, table, seq, time_us, line, numbers, is_withdrawn)


def _fields(packed: bytes) -> list[Any]:
    fields = decode_fields(packed)
    if tuple(map(type, fields)) not in _SHAPES:
        raise CorruptionError(f"a record of the catalogue says what cannot be: {fields!r:.200}", hint=CURE)
    return fields

"""Sessions: a place in the file (a line, up to a version), and the contexts in which one call works there.

A context is one transaction with what it takes to understand it: the catalogue and the shelves as of that transaction.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from mlstore.engine.catalog import Catalog, Relation, catalog_tick, load_catalog
from mlstore.engine.meter import Meter
from mlstore.engine.offline import History, Shelves
from mlstore.engine.versions import LIVE, Scope, commit_time, record_commit
from mlstore.errors import ReadOnlyError
from mlstore.format.manifest import Commit, TableChange
from mlstore.storage.environment import Environment
from mlstore.storage.transaction import Reader, Writer


@dataclass(frozen=True, slots=True)
class ReadContext:
    """One consistent view of the file."""

    reader: Reader
    catalog: Catalog
    scope: Scope
    shelves: Shelves

    def history(self, relation: Relation) -> History:
        return History(self.reader, relation, self.scope, self.shelves)


@dataclass(frozen=True, slots=True)
class WriteContext(ReadContext):
    """One write transaction. Its shelves are its own: what it reads may never be committed."""

    writer: Writer
    now_us: int

    def commit(self, *changes: TableChange, author: str, message: str) -> Commit:
        return record_commit(self.writer, self.scope.line, changes, author=author, message=message, time_us=self.now_us)


@dataclass
class Session:
    """A place in a file: the line and version a handle stands at, and what its process remembers of the file."""

    environment: Environment
    scope: Scope
    clock_us: Callable[[], int]
    shelves: Shelves = field(default_factory=Shelves)
    place: str = ""  # how the version of this handle was named
    _catalog: tuple[tuple[int, int], Catalog] | None = None
    meter: Meter = field(default_factory=Meter)

    @classmethod
    def begin(cls, environment: Environment, scope: Scope, clock_us: Callable[[], int], *, place: str = "") -> Self:
        """The first session of a handle: told when the file is mapped anew."""
        session = cls(environment, scope, clock_us, place=place)
        environment.on_remap(session.shelves.forget_addresses)
        return session

    def at(self, bound: int, place: str) -> "Session":
        """The same place, as it was at a version."""
        scope = Scope(self.scope.line, bound, self.scope.ancestry)
        return Session(self.environment, scope, self.clock_us, self.shelves, place)

    @contextmanager
    def reading(self) -> Iterator[ReadContext]:
        with self.environment.reader() as reader:
            yield ReadContext(reader, self._load_catalog(reader), self.scope, self.shelves)

    @contextmanager
    def writing(self) -> Iterator[WriteContext]:
        if not self.scope.is_live:
            raise ReadOnlyError(
                f"{self.environment.path}: this handle stands at version {self.place} and only reads",
                hint="write through the store itself: ml.open(path)",
            )
        if self.environment.is_read_only:
            raise ReadOnlyError(f"{self.environment.path}: opened read-only", hint="open it without read_only=True")
        with self.environment.writer() as writer:
            now_us = commit_time(writer, self.clock_us())
            yield WriteContext(writer, self._load_catalog(writer), self.scope, Shelves(), writer, now_us)

    def _load_catalog(self, reader: Reader) -> Catalog:
        place = catalog_tick(reader), self.scope.bound
        if self._catalog is None or self._catalog[0] != place:
            self._catalog = place, load_catalog(reader, LIVE if self.scope.is_live else self.scope.bound)
        return self._catalog[1]

"""Sessions: a place in the file (a branch as it is, or a version), and the contexts in which one call works there.

A context is one transaction with what it takes to understand it: the scope, the catalogue and the shelves as of that transaction.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from mlstore.engine.catalog import Catalog, Relation, catalog_tick, load_catalog
from mlstore.engine.history.offline import History, Shelves
from mlstore.engine.meter import Meter
from mlstore.engine.mirror import require_no_mirror
from mlstore.engine.versions import Scope, branch_scope, commit_time, record_commit, require_retained
from mlstore.errors import MlstoreError, ReadOnlyError
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
        relation.require_rows()
        return History(self.reader, relation, self.scope, self.shelves)

    def at(self, scope: Scope) -> "ReadContext":
        """Another place, through the same transaction."""
        return ReadContext(self.reader, load_catalog(self.reader, scope), scope, self.shelves)


@dataclass(frozen=True, slots=True)
class WriteContext(ReadContext):
    """One write transaction. Its shelves are its own: what it reads may never be committed."""

    writer: Writer
    now_us: int
    gathered: list[TableChange] | None = None  # the changes so far of a commit that several steps make together

    def commit(self, *changes: TableChange, author: str, message: str, merged: Commit | None = None) -> Commit:
        if self.gathered is not None:
            self.gathered.extend(changes)
            return Commit("", 0, self.scope.line, (), author, message, self.now_us, changes)
        return record_commit(self.writer, self.scope, changes, author=author, message=message, time_us=self.now_us, merged=merged)


@dataclass
class Session:
    """A place in a file: the branch or version a handle stands at, and what its process remembers of the file."""

    environment: Environment
    branch: str
    clock_us: Callable[[], int]
    past: Scope | None = None  # the version it stands at; None: the branch, wherever that moves
    shelves: Shelves = field(default_factory=Shelves)
    place: str = ""  # how the version of this handle was named
    _seen: tuple[int, Scope, Catalog] | None = None
    meter: Meter = field(default_factory=Meter)

    @classmethod
    def begin(
        cls, environment: Environment, branch: str, clock_us: Callable[[], int], *, past: Scope | None = None, place: str = ""
    ) -> Self:
        """The first session of a handle: told when the file is mapped anew."""
        session = cls(environment, branch, clock_us, past, place=place)
        environment.on_remap(session.shelves.forget_addresses)
        return session

    def at(self, scope: Scope, place: str) -> "Session":
        """The same file, as it was at a version."""
        return Session(self.environment, self.branch, self.clock_us, scope, self.shelves, place)

    def on(self, branch: str) -> "Session":
        """The same file, on another branch."""
        return Session(self.environment, branch, self.clock_us, None, self.shelves)

    @property
    def lends(self) -> bool:
        """Whether what is read may lie in the map; within a transaction nothing of it may ever be committed."""
        return True

    def defer(self, work: Callable[["Session"], None]) -> bool:
        """Whether work is taken to be done later, as soon as the transaction under way has committed."""
        return False

    def require_outside(self, what: str) -> None:
        """Refuse what cannot be a step of a transaction."""

    @contextmanager
    def reading(self) -> Iterator[ReadContext]:
        with self.environment.reader() as reader:
            scope, catalog = self._look(reader)
            yield ReadContext(reader, catalog, scope, self.shelves)

    def target(self, name: str) -> Relation:
        """The view or table of a name, to be written to, as of now; the write transaction that comes later may know another."""
        with self.environment.reader(views=False) as reader:
            return self._look(reader)[1].stored(name, doing="write")

    def guess(self, name: str) -> Relation | None:
        """The view or table of a name as it was when this process last looked; to be compared with the one of a transaction."""
        try:
            return None if self._seen is None else self._seen[2].stored(name, doing="write")
        except MlstoreError:  # whoever asks for good hears of it
            return None

    @contextmanager
    def writing(self) -> Iterator[WriteContext]:
        if self.past is not None:
            raise ReadOnlyError(
                f"{self.environment.path}: this handle stands at version {self.place} and only reads",
                hint="write through the store itself: ml.open(path)",
            )
        if self.environment.is_read_only:
            raise ReadOnlyError(f"{self.environment.path}: opened read-only", hint="open it without read_only=True")
        with self.environment.writer() as writer:
            require_no_mirror(writer, self.environment.path)
            now_us = commit_time(writer, self.clock_us())
            scope, catalog = self._look(writer)
            yield WriteContext(writer, catalog, scope, Shelves(), writer, now_us)

    def _look(self, reader: Reader) -> tuple[Scope, Catalog]:
        """Where the branch stands, and what is known there: looked up again only when the tick says that something moved."""
        tick = catalog_tick(reader)
        if self._seen is None or self._seen[0] != tick:
            if self.past is not None:
                require_retained(reader, self.past, f"version {self.place}")
            scope = self.past or branch_scope(reader, self.branch)
            self._seen = tick, scope, load_catalog(reader, scope)
        return self._seen[1:]

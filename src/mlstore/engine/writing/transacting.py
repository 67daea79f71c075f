"""Transactions: several steps of one handle in one write transaction, and one commit that lists all of their changes.

The handle inside stands on that transaction, so each step sees the ones before it. All or nothing.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType

from mlstore.engine.catalog import Relation
from mlstore.engine.session import ReadContext, Session, WriteContext
from mlstore.engine.versions import Scope
from mlstore.errors import ClosedError, UsageError
from mlstore.format.manifest import Commit, TableChange


@dataclass
class OpenTransaction(Session):
    """A session whose every context is the same write transaction."""

    context: WriteContext = field(kw_only=True)
    changes: list[TableChange] = field(default_factory=list)
    deferred: list[Callable[[Session], None]] = field(default_factory=list)
    thread: int = field(default_factory=threading.get_ident)
    is_over: bool = False
    is_spoiled: bool = False

    @property
    def lends(self) -> bool:
        return False

    def defer(self, work: Callable[[Session], None]) -> bool:
        self.deferred.append(work)
        return True

    def require_outside(self, what: str) -> None:
        raise UsageError(f"{self.environment.path}: {what} cannot be a step of a transaction", hint="end the `with` block first")

    def at(self, scope: Scope, place: str) -> Session:
        """A version that was committed before: read from a transaction of its own."""
        return Session(self.environment, self.branch, self.clock_us, scope, place=place)

    @contextmanager
    def reading(self) -> Iterator[ReadContext]:
        self._require_open()
        scope, catalog = self._look(self.context.writer)
        yield ReadContext(self.context.writer, catalog, scope, self.shelves)

    def target(self, name: str) -> Relation:
        with self.reading() as context:
            return context.catalog.stored(name, doing="write")

    @contextmanager
    def writing(self) -> Iterator[WriteContext]:
        self._require_open()
        scope, catalog = self._look(self.context.writer)
        written, told = self.context.writer.dirty_bytes, len(self.changes)
        try:
            yield replace(self.context, catalog=catalog, scope=scope, shelves=self.shelves, gathered=self.changes)
        except BaseException:
            # Every step takes its numbers first: if nothing was put, nothing was done.
            self.is_spoiled |= self.context.writer.dirty_bytes != written
            del self.changes[told:]
            raise

    def _require_open(self) -> None:
        if self.is_over:
            raise ClosedError(f"{self.environment.path}: the transaction is over", hint="go on with the store itself")
        if threading.get_ident() != self.thread:
            raise UsageError(
                f"{self.environment.path}: a transaction belongs to the thread that began it", hint="let each thread begin its own"
            )


class Transaction:
    """One transaction of a session, in a `with` block; `commit` is what it made: None before its end, and if nothing was done."""

    def __init__(self, session: Session, *, author: str, message: str) -> None:
        session.require_outside("a transaction")
        self._outer = session
        self._author = author
        self._message = message
        self._stack = ExitStack()
        self._session: OpenTransaction | None = None
        self.commit: Commit | None = None

    def __enter__(self) -> OpenTransaction:
        context = self._stack.enter_context(self._outer.writing())
        outer = self._outer
        self._session = OpenTransaction(outer.environment, outer.branch, outer.clock_us, context=context)
        return self._session

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        session, commit = self._session, None
        assert session is not None
        session.is_over = True
        if kind is None:
            try:
                commit = self._seal(session)
            except BaseException as failure:
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            self.commit = commit
            for work in session.deferred:
                work(self._outer)

    def _seal(self, session: OpenTransaction) -> Commit | None:
        if session.is_spoiled:
            raise UsageError(
                f"{session.environment.path}: a step of the transaction failed half-way, so nothing was stored",
                hint="let its error leave the `with` block",
            )
        if not session.changes:
            return None
        return session.context.commit(*session.changes, author=self._author, message=self._message)

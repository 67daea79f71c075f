"""Streams: rows appended one by one, by any number of threads, and written in groups by one thread: one commit for each group.

Invariants: what was acknowledged is durable; rows are written in the order of their appends; a row that does not fit harms no
other; after a write has failed nothing more is taken in, and everybody concerned hears of it.
"""

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import takewhile
from types import TracebackType
from typing import Any, Self

from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.session import Session
from mlstore.engine.writing import ingest, upkeep
from mlstore.engine.writing.appending import Form, Item, Pace, fit, rows_of, take_together
from mlstore.engine.writing.receipts import Group, Outcome, Receipt
from mlstore.errors import ClosedError, InvalidDataError, MlstoreError, SchemaMismatchError, StoreBusyError, StoreError, UsageError

_REMEMBERED = 1000  # refusals that nobody has looked at yet

# (first item, behind the last item, what became of them)
Part = tuple[int, int, Outcome]


class Stream:
    """An open stream, made by `Store.stream`; use it in a `with` block. Threads may share it.

    A forked child cannot use its parent's stream; it opens one of its own.
    """

    def __init__(self, session: Session, name: str, pace: Pace, *, author: str, message: str) -> None:
        with session.writing() as context:  # refuses at once if this handle may not write
            relation = context.catalog.stored(name, doing="write")
        self._session, self._label = session, relation.label
        self._max_rows, self._max_seconds, self._max_pending = pace.max_rows, pace.max_seconds, pace.max_pending
        self._author, self._message = author, message
        self._form = Form(relation)
        self._lock = threading.Lock()
        self._work, self._room = threading.Condition(self._lock), threading.Condition(self._lock)
        self._groups: deque[Group] = deque([self._new_group()])
        self._busy: list[Group] = []
        self._due = 0.0  # when the last group is to be written, whether it is full or not
        self._pending = 0
        self._lost = 0
        self._refusal: Callable[[], MlstoreError] | None = None  # why nothing more is taken in
        self._failure: BaseException | None = None
        self._unseen: dict[int, BaseException] = {}
        self._thread = threading.Thread(target=self._run, name=f"mlstore-stream-{self._label}", daemon=True)
        _OPEN.add(self)
        self._thread.start()

    def append(self, row: Mapping[str, Any], *, timeout: float | None = None) -> Receipt:
        """Hand over one row, a dict of all columns; it will be written in the order of appends.

        Parameters
        ----------
        row : dict
            Keys, time columns and features. The dict may be used again at once, and so may a list or array in it.
        timeout : float, optional
            Seconds to wait for room when `max_pending` rows wait to be written; without end unless given.

        Returns
        -------
        Receipt
            A future of the commit, done when the row is durable. A value that does not fit is told there, a missing or unknown
            column at once.

        Raises
        ------
        SchemaMismatchError
            A column is missing or unknown; nothing was taken.
        StoreBusyError
            No room within `timeout`; nothing was taken.
        ClosedError, StoreError
            The stream is closed, or could not write before; nothing was taken.
        """
        while True:
            form = self._form
            item: Item | None = form.pack(row)
            if item is None:
                item = form.values(row)
            with self._lock:
                if self._refusal is not None or self._pending >= self._max_pending:
                    self._wait_for_room(1, timeout)
                group = self._groups[-1]
                if group.form is form:
                    return self._add(group, item, 1)

    def append_many(self, data: Any, *, timeout: float | None = None) -> Receipt:
        """Hand over rows that become visible together: whatever `Store.write` takes, but a stream, checked at once.

        Raises what `append` does, and SchemaMismatchError or InvalidDataError for any row that does not fit.
        """
        while True:
            form = self._form
            batch = take_together(form.relation, data)
            rows = rows_of(batch)
            if rows > min(limits.BATCH_ROWS, self._max_pending):
                raise UsageError(f"{self._label}: a batch of {rows} rows is too large for the stream", hint="write() it, or cut it up")
            with self._lock:
                if self._refusal is not None or self._pending + rows > self._max_pending:
                    self._wait_for_room(rows, timeout)
                group = self._groups[-1]
                if group.form is form:
                    return self._add(group, batch, rows)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was appended so far is durable, or raise why it cannot be; TimeoutError after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            groups = [*self._busy, *(group for group in self._groups if group.items)]
        for group in groups:
            group.outcome(0, None if end is None else max(0.0, end - time.monotonic()))
        if self._failure is not None:
            raise self._broken() from self._failure

    def close(self) -> None:
        """Write what is left and end.

        Raises
        ------
        StoreError
            Rows could not be written; how many, and why.
        InvalidDataError
            Rows were refused because they do not fit, and nobody has looked at their receipts.
        """
        with self._lock:
            if self._refusal is None:
                self._refusal = self._closed
            self._work.notify()
            self._room.notify_all()
        self._thread.join()
        if self not in _OPEN:
            return
        _OPEN.discard(self)
        if self._failure is not None:
            raise self._broken() from self._failure
        if self._unseen:
            error = next(iter(self._unseen.values()))
            raise InvalidDataError(
                f"{self._label}: {len(self._unseen)} appends were refused and nobody asked; the first: {error}",
                hint="look at result() or exception() of what append returns",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # A stream is no transaction: what was appended before the block failed is written all the same.
        try:
            self.close()
        except MlstoreError as failure:
            if error is None:
                raise
            error.add_note(f"and the stream could not be closed: {failure}")

    # -- taking in, under the lock -------------------------------------------------------------------------------------

    def _new_group(self) -> Group:
        return Group(self._form, self._hasten, self._note_seen)

    def _add(self, group: Group, item: Any, rows: int) -> Receipt:
        items = group.items
        number = len(items)
        items.append(item)
        group.rows += rows
        self._pending += rows
        if group.rows >= self._max_rows:
            self._groups.append(self._new_group())
            self._work.notify()
        elif number == 0:
            self._due = time.monotonic() + self._max_seconds
            self._work.notify()
        return Receipt(group, number)

    def _wait_for_room(self, rows: int, timeout: float | None) -> None:
        def may_go_on() -> bool:
            return self._refusal is not None or self._pending + rows <= self._max_pending

        has_room = self._room.wait_for(may_go_on, timeout)
        if self._refusal is not None:
            raise self._refusal() from self._failure
        if not has_room:
            message = f"{self._label}: {self._pending} rows wait to be written, and none was within {timeout} s"
            raise StoreBusyError(message, hint="append slower, or raise max_pending")

    def _hasten(self, group: Group) -> None:
        with self._lock:
            group.is_wanted = True
            self._work.notify()

    def _note_seen(self, error: BaseException) -> None:
        self._unseen.pop(id(error), None)

    def _closed(self) -> MlstoreError:
        return ClosedError(f"{self._label}: the stream is closed", hint="append inside the `with` block")

    def _broken(self) -> MlstoreError:
        error = self._failure
        kind = type(error) if isinstance(error, StoreError) else StoreError
        message = f"{self._label}: the stream could not write, {self._lost} rows appended to it are not stored: "
        hint = error.hint if isinstance(error, MlstoreError) else ""
        return kind(message + (error.message if isinstance(error, MlstoreError) else repr(error)), hint=hint or "open another stream")

    # -- writing, in a thread of its own -------------------------------------------------------------------------------

    def _run(self) -> None:
        while groups := self._next():
            parts: list[Part] = []
            items = groups[0].items if len(groups) == 1 else [item for group in groups for item in group.items]
            try:
                owed = self._commit(groups[0].form, items, 0, len(items), parts)
                self._settle(groups, parts)
                upkeep.pay(self._session, self._form.relation, owed)
            except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
                self._break(error, parts)
                return

    def _next(self) -> list[Group]:
        """What is to be written in one commit: all groups that are full, and the last one too if it is due; none when all is done."""
        with self._lock:
            while True:
                last = self._groups[-1]
                is_due = bool(last.items) and (last.is_wanted or self._refusal is not None or time.monotonic() >= self._due)
                if is_due or len(self._groups) > 1:
                    self._busy = _of_one_form(list(self._groups) if is_due else list(self._groups)[:-1])
                    for _ in self._busy:
                        self._groups.popleft()
                    if not self._groups:
                        self._groups.append(self._new_group())
                    return self._busy
                if last.items:
                    self._work.wait(max(0.0, self._due - time.monotonic()))
                elif self._refusal is not None:
                    return []
                else:
                    self._work.wait()

    def _commit(self, form: Form, items: list[Item], first: int, last: int, parts: list[Part]) -> int:
        """Write items in one commit; if some do not fit, by halves, until those are alone. What is owed to merging."""
        chosen = items[first:last]
        try:
            ahead = ingest.fitted(form.relation, fit(form, chosen, form.relation), partial(fit, form, chosen))
            commit, relation, owed = ingest.write_few(
                self._session,
                self._label,
                ahead,
                author=self._author,
                message=self._message,
            )
        except (InvalidDataError, SchemaMismatchError) as error:
            if last - first == 1:
                parts.append((first, last, error))
                return 0
            middle = (first + last) // 2
            return self._commit(form, items, first, middle, parts) + self._commit(form, items, middle, last, parts)
        parts.append((first, last, commit))
        self._follow(relation)
        return owed

    def _follow(self, relation: Relation) -> None:
        """Take rows apart by another revision from now on, if the view has evolved."""
        with self._lock:
            if relation.revision == self._form.relation.revision:
                return
            self._form = Form(relation)
            if self._groups[-1].items:
                self._groups.append(self._new_group())
            else:
                self._groups[-1].form = self._form

    def _settle(self, groups: list[Group], parts: list[Part]) -> None:
        with self._lock:
            self._busy = []
            self._pending -= sum(group.rows for group in groups)
            for _, _, outcome in parts:
                if isinstance(outcome, BaseException) and len(self._unseen) < _REMEMBERED:
                    self._unseen[id(outcome)] = outcome
            self._room.notify_all()
        _tell(groups, parts)

    def _break(self, error: BaseException, parts: list[Part]) -> None:
        """Nothing more can be written: tell all who wait, and all who will come."""
        with self._lock:
            busy, self._busy = self._busy, []
            waiting = [group for group in self._groups if group.items]
            items = [item for group in (*busy, *waiting) for item in group.items]
            written = parts[-1][1] if parts else 0
            self._lost = sum(map(rows_of, items[written:]))
            self._failure, self._refusal = error, self._broken
            self._pending = 0
            self._room.notify_all()
        _tell([*busy, *waiting], [*parts, (written, len(items), self._broken())])

    def _orphan(self) -> None:
        """In the child of a fork: the thread that writes is the parent's, and so are the rows."""

        def refuse() -> MlstoreError:
            return UsageError(f"{self._label}: the stream was opened before the fork", hint="open another one in the child")

        self._lock = threading.Lock()
        self._work, self._room = threading.Condition(self._lock), threading.Condition(self._lock)
        self._refusal = refuse
        for group in (*self._busy, *self._groups):
            group.orphan(refuse())
        self._busy, self._pending = [], 0


def _of_one_form(groups: list[Group]) -> list[Group]:
    """The groups from the first one on whose rows are of the same revision."""
    return list(takewhile(lambda group: group.form is groups[0].form, groups))


def _tell(groups: list[Group], parts: list[Part]) -> None:
    """Say to each group what became of its items, which are numbered through all of them in the parts."""
    start = 0
    for group in groups:
        stop = start + len(group.items)
        group.settle([(max(first - start, 0), outcome) for first, last, outcome in parts if first < stop and last > start])
        start = stop


_OPEN: weakref.WeakSet[Stream] = weakref.WeakSet()


def _close_all() -> None:
    """At the end of the interpreter: nothing that was appended may be lost in silence."""
    for stream in list(_OPEN):
        stream.close()


def _leave_to_parent() -> None:
    for stream in list(_OPEN):
        stream._orphan()
    _OPEN.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)

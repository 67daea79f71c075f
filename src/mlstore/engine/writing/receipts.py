"""Receipts: what an append to a stream gives back, a future that costs little, because one group of rows shares what there is to wait for.

A group is what one commit writes. Its outcomes are set once, all at the same time; after that nothing of it changes.
"""

import asyncio
import logging
import threading
from bisect import bisect_right
from collections.abc import Callable, Generator
from typing import Any

from mlstore.format.manifest import Commit

Outcome = Commit | BaseException

_LOG = logging.getLogger("mlstore")


class Group:
    """Items that are to share a commit: each one row, or a batch. `form` tells the columns of the rows."""

    __slots__ = ("_callbacks", "_is_done", "_lock", "_outcomes", "_starts", "form", "hasten", "is_wanted", "items", "note_seen", "rows")

    def __init__(self, form: Any, hasten: "Callable[[Group], None]", note_seen: Callable[[BaseException], None]) -> None:
        self.form = form
        self.items: list[Any] = []
        self.rows = 0
        self.is_wanted = False  # somebody waits for it, so it is not to wait for more rows
        self.hasten = hasten
        self.note_seen = note_seen
        self._lock = threading.Lock()
        self._is_done = threading.Event()
        self._starts: list[int] = []  # item from which on each outcome counts
        self._outcomes: list[Outcome] = []
        self._callbacks: list[Callable[[], object]] = []

    @property
    def is_done(self) -> bool:
        return self._is_done.is_set()

    def settle(self, outcomes: list[tuple[int, Outcome]]) -> None:
        """Say what became of the items: (first item, outcome), from the first one on. Callbacks are called, waiting threads go on."""
        with self._lock:
            self._starts = [start for start, _ in outcomes]
            self._outcomes = [outcome for _, outcome in outcomes]
            self.items = []
            callbacks, self._callbacks = self._callbacks, []
            self._is_done.set()
        for callback in callbacks:
            _call(callback)

    def orphan(self, error: BaseException) -> None:
        """In the child of a fork: nobody here will write it, and the locks may be held by threads that are not here."""
        self._lock, self._is_done, self._callbacks = threading.Lock(), threading.Event(), []
        self.settle([(0, error)])

    def outcome(self, number: int, timeout: float | None) -> Outcome:
        """What became of an item; waits for it, and lets it be written at once."""
        if not self._is_done.is_set():
            self.hasten(self)
            if not self._is_done.wait(timeout):
                raise TimeoutError(f"not yet written after {timeout} s")
        found = self._outcomes[bisect_right(self._starts, number) - 1]
        if isinstance(found, BaseException):
            self.note_seen(found)
        return found

    def when_done(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if not self._is_done.is_set():
                self._callbacks.append(callback)
                return
        _call(callback)


class Receipt:
    """What `Stream.append` gives: it resolves, with the commit, as soon as what was appended is durable.

    Behaves as a `concurrent.futures.Future`, and can be awaited. It cannot be cancelled: what was appended is written.
    """

    __slots__ = ("_group", "_number")

    def __init__(self, group: Group, number: int) -> None:
        self._group = group
        self._number = number

    def result(self, timeout: float | None = None) -> Commit:
        """The commit; waits until it is made. Raises the error if there was one, TimeoutError after `timeout` seconds."""
        found = self._group.outcome(self._number, timeout)
        if isinstance(found, BaseException):
            raise found
        return found

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error, None if it was written; waits as `result` does."""
        found = self._group.outcome(self._number, timeout)
        return found if isinstance(found, BaseException) else None

    def done(self) -> bool:
        """Whether it is known what became of it."""
        return self._group.is_done

    def running(self) -> bool:
        """Whether it is still to be written."""
        return not self._group.is_done

    def cancel(self) -> bool:
        """False: what was appended is written."""
        return False

    def cancelled(self) -> bool:
        """False."""
        return False

    def add_done_callback(self, callback: "Callable[[Receipt], object]") -> None:
        """Call this with the receipt when it is done, in the thread that writes, or now if it is done already."""
        self._group.when_done(lambda: callback(self))

    def __await__(self) -> Generator[Any, None, Commit]:
        if not self._group.is_done:
            loop = asyncio.get_running_loop()
            woken = loop.create_future()
            self._group.when_done(lambda: _wake_in(loop, woken))
            self._group.hasten(self._group)
            yield from woken
        return self.result()

    def __repr__(self) -> str:
        return f"<Receipt {'done' if self.done() else 'pending'}>"


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:  # noqa: BLE001 - the thread that writes serves others too
        _LOG.exception("a callback of a receipt failed")


def _wake_in(loop: asyncio.AbstractEventLoop, future: "asyncio.Future[None]") -> None:
    def wake() -> None:
        if not future.done():  # the task that awaited it may have been cancelled
            future.set_result(None)

    if not loop.is_closed():
        loop.call_soon_threadsafe(wake)

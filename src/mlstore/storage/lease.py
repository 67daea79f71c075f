"""Leases: what keeps a segment's bytes in place while arrays look at them, across processes and without a reader.

A lease is a shared lock of one byte per segment, far beyond the end of the data file; who would collect a segment takes
the exclusive lock first. The kernel drops the locks of a process that dies. They are locks of an open file description
(OFD), so they never meet LMDB's own, which are on the -lock file. Invariant: shared leases and collecting use two
descriptions, since the locks of one never conflict with themselves.
"""

import errno
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

from mlstore.errors import UsageError
from mlstore.storage.lockbyte import LockKind, lock_byte, locks_are_supported

MAX_SEGMENT_ID: Final = (1 << 61) - 1
_FIRST_BYTE: Final = 1 << 62
_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

_books: "weakref.WeakSet[LeaseBook]" = weakref.WeakSet()


class Lease:
    """A promise that one segment stays where it is; ends when the last reference to it, or to a buffer of it, is gone."""

    __slots__ = ("__weakref__", "_book", "_keeper", "segment_id")

    def __init__(self, segment_id: int, book: "LeaseBook", keeper: object) -> None:
        self.segment_id = segment_id
        self._keeper = keeper
        self._book = book

    def buffer(self, address: int, size: int) -> pa.Buffer:
        """The bytes at an address of the map, without a copy; they hold this lease."""
        return pa.foreign_buffer(address, size, base=self)

    def __del__(self) -> None:
        # At exit the kernel does it, and the modules may be gone.
        if not sys.is_finalizing() and hasattr(self, "_book"):
            self._book._give_back(self.segment_id)


class LeaseBook:
    """The leases of one file held by this process, counted; one lock in the kernel for each leased segment.

    `keeper` is held by every lease (weakly by the book): it owns the map that the leased bytes lie in.
    """

    def __init__(self, path: str, *, is_writable: bool = True, keeper: object | None = None) -> None:
        self._is_writable = is_writable
        self._keeper = weakref.ref(keeper) if keeper is not None else None
        self._counts: dict[int, int] = {}
        self._collecting: set[int] = set()
        self._returned: deque[int] = deque()
        self._mutex = threading.Lock()
        self._shared_fd = -1
        self._collector_fd = -1
        self._is_supported = locks_are_supported()
        if self._is_supported:
            self._open(path)
        _books.add(self)

    @property
    def is_supported(self) -> bool:
        """Whether the platform has locks to lease with; without them nobody can tell what other processes hold."""
        return self._is_supported

    def acquire(self, segment_id: int) -> Lease | None:
        """A lease; None if a collector is about to take the segment, or if the platform has no such locks: copy instead."""
        if not 0 <= segment_id <= MAX_SEGMENT_ID:
            raise UsageError(f"segment {segment_id}: no number of a segment", hint=f"use 0 to {MAX_SEGMENT_ID}")
        return self._lease(segment_id, self._keeper() if self._keeper is not None else None)

    def repeat(self, other: "LeaseBook") -> list[Lease | None]:
        """Leases of what is leased from another book, whose file was replaced by this one; they hold no map."""
        return [self._lease(segment_id, None) for segment_id in other.held()]

    @contextmanager
    def collecting(self, segment_ids: Iterable[int]) -> Iterator[list[int]]:
        """Those of the segments that nobody leases; nobody can until the block ends. End it after the commit, not before."""
        self._settle()
        taken: list[int] = []
        try:
            with self._mutex:
                for segment_id in segment_ids:
                    if self._is_collectable(segment_id):
                        self._collecting.add(segment_id)
                        taken.append(segment_id)
            yield list(taken)
        finally:
            with self._mutex:
                for segment_id in taken:
                    self._collecting.discard(segment_id)
                    self._lock(self._collector_fd, LockKind.NONE, segment_id)
            self._settle()

    def held(self) -> dict[int, int]:
        """How many leases of each segment live in this process."""
        self._settle()
        with self._mutex:
            return dict(self._counts)

    def _lease(self, segment_id: int, keeper: object) -> Lease | None:
        with self._mutex:
            is_leased = self._is_supported and self._count_up(segment_id)
        lease = Lease(segment_id, self, keeper) if is_leased else None
        self._settle()
        return lease

    def _count_up(self, segment_id: int) -> bool:
        count = self._counts.get(segment_id, 0)
        if count == 0 and not self._lock(self._shared_fd, LockKind.SHARED, segment_id):
            return False
        self._counts[segment_id] = count + 1
        return True

    def _is_collectable(self, segment_id: int) -> bool:
        if not self._is_writable or segment_id in self._counts or segment_id in self._collecting:
            return False
        # Where there are no locks, there are no leases: every reader copies.
        return not self._is_supported or self._lock(self._collector_fd, LockKind.EXCLUSIVE, segment_id)

    def _give_back(self, segment_id: int) -> None:
        # Runs in finalizers: perhaps in the middle of this book's own work, in the same thread. So it never waits.
        self._returned.append(segment_id)
        self._settle()

    def _settle(self) -> None:
        # Looks again after letting go of the mutex: a finalizer that met it taken has left its segment to us.
        while self._returned and self._mutex.acquire(blocking=False):
            try:
                while self._returned:
                    self._count_down(self._returned.popleft())
            finally:
                self._mutex.release()

    def _count_down(self, segment_id: int) -> None:
        count = self._counts.get(segment_id, 0)
        if count > 1:
            self._counts[segment_id] = count - 1
        elif self._counts.pop(segment_id, None):
            self._lock(self._shared_fd, LockKind.NONE, segment_id)

    def _lock(self, fd: int, kind: LockKind, segment_id: int) -> bool:
        if fd < 0:
            return False
        try:
            return lock_byte(fd, kind, _FIRST_BYTE + segment_id)
        except OSError as error:
            # A file system without such locks: nobody can lease, everybody copies. Anything else: refuse this one.
            self._is_supported = self._is_supported and error.errno not in _UNSUPPORTED
            return False

    def _open(self, path: str) -> None:
        self._shared_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if self._is_writable:
            self._collector_fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def _start_again_after_fork(self) -> None:
        """In the child: descriptions of our own, and locks of our own on what the inherited arrays look at."""
        self._mutex = threading.Lock()
        self._collecting.clear()
        if not self._is_supported:
            return
        inherited = (self._shared_fd, self._collector_fd)
        try:
            # Through /proc: the same file, even if its name was changed.
            self._open(f"/proc/self/fd/{inherited[0]}")
        except OSError:
            self._shared_fd, self._collector_fd = -1, -1
        for segment_id in self._counts:
            self._lock(self._shared_fd, LockKind.SHARED, segment_id)
        # The parent's locks live as long as any descriptor of their description: ours must not outlive the parent.
        _close(*inherited)

    def __del__(self) -> None:
        if hasattr(self, "_collector_fd"):
            _close(self._shared_fd, self._collector_fd)


def _close(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def _start_again_after_fork() -> None:
    for book in list(_books):
        book._start_again_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_again_after_fork)

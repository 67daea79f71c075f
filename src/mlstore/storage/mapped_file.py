"""One file, mapped once in this process; what all handles, transactions and leases of it share.

LMDB must not open a file twice in a process, so there is one `MappedFile` per (device, inode). It is unmapped when the
last reference to it is gone: a handle that closes lets go, arrays that are still looked at hold on.
Invariants: keyspace handles are opened outside of all transactions that use them; no reader waits for a writer.
"""

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import lmdb

from mlstore.errors import StoreBusyError, UsageError
from mlstore.format.header import HEADER_KEY, Header, decode_header, encode_header
from mlstore.storage.filesystem import Obstacle
from mlstore.storage.keyspace import META, declared, declared_count
from mlstore.storage.lease import LeaseBook
from mlstore.storage.nodes import Nodes
from mlstore.storage.presence import Presence
from mlstore.storage.recognition import names_of, recognize
from mlstore.storage.turn import Turn

Handles = dict[str, lmdb._Database]

_mappings: Final = itertools.count()


class Ongoing(Protocol):
    """A transaction at work."""

    def orphan(self) -> None:
        """In the child of a fork: the transaction is the parent's."""


class Viewer(Protocol):
    """Somebody who was given addresses of a provisional map."""

    @property
    def forgets_addresses(self) -> bool:
        """True if nobody is left with addresses when the file is mapped anew."""

    def forget_addresses(self) -> None:
        """Tell whoever keeps addresses that they become void now."""


class Holder(Protocol):
    """A handle on the file."""

    def move_on(self) -> None:
        """Hold the file that took the place of this one."""


class MappedFile:
    """The LMDB environment of a file, its keyspace handles, its leases, and who is writing.

    `obstacle` says why the file may only be read. Opened while somebody else writes, the file is mapped for reading only:
    *provisionally*, until it can be mapped anew without taking an address from anybody. Once `is_replaced`, the name of the file
    stands for another one: what looks at this one may go on, and all that begins must map the other.
    """

    def __init__(
        self, path: str, open_env: Callable[[bool], lmdb.Environment], *, shown: str, obstacle: Obstacle | None, is_meta_synced: bool
    ) -> None:
        self.path = path
        self.obstacle = obstacle
        self.is_meta_synced = is_meta_synced
        # First: as long as it is held, the path names this file.
        self.presence = Presence(path, can_write=obstacle is None)
        self.turn = Turn(path, can_write=obstacle is None)
        self._open_env = open_env
        self.is_inherited = False
        self.is_replaced = False
        # The files that stood here before, as long as somebody looks at them.
        self.forebears: weakref.WeakSet[MappedFile] = weakref.WeakSet()
        # What is to be done when the last reference is gone, if anything.
        self.farewell: weakref.finalize[..., MappedFile] | None = None
        # Counts commits that failed: a handle opened before the last of them may not write any more.
        self.failures = 0
        self.gate = threading.RLock()
        self.write_lock = threading.Lock()
        self.writer_thread: int | None = None
        self.open_transactions: set[Ongoing] = set()
        self.viewers: weakref.WeakSet[Viewer] = weakref.WeakSet()
        self.holders: weakref.WeakSet[Holder] = weakref.WeakSet()
        self.handles: Handles = {}
        self._complete_for = -1  # as many declared keyspaces have a handle, or are not there
        self._whole_for = -1  # as many declared keyspaces have a handle
        self._looked_at_txn = -1
        self.leases = LeaseBook(path, is_writable=obstacle is None, keeper=self)
        self.header = self._map(shown)

    @property
    def file_id(self) -> str:
        """The identity of the store; empty as long as there is none in the file."""
        return self.header.file_id if self.header is not None else ""

    @property
    def is_provisional(self) -> bool:
        """True if the file can be written, but not through this map; addresses of it may become void, which viewers must hear."""
        return self.obstacle is None and not self._is_map_writable and not self.is_replaced

    def begin_read(self, handle: "lmdb._Database | None" = None) -> "lmdb.Transaction[bytes]":
        """A read transaction whose values are bytes; takes back the slots of dead processes if all are taken.

        handle: the keyspace that is meant where none is named.
        """
        try:
            return self.env.begin(handle)
        except lmdb.ReadersFullError:
            self.env.reader_check()
            return self.env.begin(handle)

    def begin_view(self) -> "lmdb.Transaction[memoryview]":
        """A read transaction whose values are memory of the map itself."""
        try:
            return self.env.begin(buffers=True)
        except lmdb.ReadersFullError:
            self.env.reader_check()
            return self.env.begin(buffers=True)

    def take_turn(self, shown: str) -> None:
        """Nobody else writes until `give_turn`; this thread waits for that, but never for itself."""
        thread = threading.get_ident()
        if self.writer_thread == thread:
            raise UsageError(
                f"{shown}: this thread is writing already, and there is one writer at a time",
                hint="use the writer at hand, or end its `with` block first",
            )
        self.write_lock.acquire()
        try:
            self.turn.take()
            self.writer_thread = thread
        except BaseException:
            self.write_lock.release()
            raise

    def give_turn(self) -> None:
        """Let others write."""
        self.writer_thread = None
        try:
            self.turn.give_back()
        finally:
            self.write_lock.release()

    @contextmanager
    def still(self, shown: str) -> Iterator[None]:
        """Nobody else writes meanwhile."""
        self.take_turn(shown)
        try:
            yield
        finally:
            self.give_turn()

    @contextmanager
    def writing(self, shown: str) -> Iterator[None]:
        """This thread is the one that writes, and the file is mapped for it."""
        with self.still(shown):
            self.map_for_writing(shown)
            yield

    def begin_write(self) -> "lmdb.Transaction[bytes]":
        """The write transaction, inside `writing`; all declared keyspaces are there."""
        if self._whole_for != declared_count():
            count = declared_count()
            missing = [space.name for space in declared() if space.name not in self.handles]
            if missing:
                with self.env.begin(write=True) as transaction:
                    made = self._open_in(transaction, missing, create=True)
                self.handles = self.handles | made
            self._whole_for = count
        return self.env.begin(write=True)

    def find_keyspaces(self, shown: str) -> Handles:
        """Handles of the keyspaces that the file has; a declared one that it has not reads as empty."""
        if self._complete_for == declared_count():
            return self.handles
        count = declared_count()
        with self.begin_read() as transaction:
            snapshot = transaction.id()
            unknown = [space.name for space in declared() if space.name not in self.handles]
            made_elsewhere = [name for name in unknown if transaction.get(name.encode()) is not None]
        if made_elsewhere:
            with self.writing(shown) if self._is_map_writable else self.gate:
                self._open(made_elsewhere)
        if len(unknown) == len(made_elsewhere):
            self._complete_for = count
        self._looked_at_txn = snapshot
        return self.handles

    def may_miss_keyspaces(self, txn_id: int) -> bool:
        """True if a commit after the last look into the file may have made a keyspace that has no handle yet."""
        return self._complete_for != declared_count() and self._looked_at_txn != txn_id

    def create_header(self, header: Header, shown: str) -> None:
        """Make a new file a store: all keyspaces and the header, in one transaction. Another process may have been faster."""
        with self.writing(shown):
            with self.env.begin(write=True) as transaction:
                made = self._open_in(transaction, [space.name for space in declared()], create=True)
                found = transaction.get(HEADER_KEY, db=made[META.name])
                if found is None:
                    transaction.put(HEADER_KEY, encode_header(header), db=made[META.name])
            self.handles = self.handles | made
            self.header = header if found is None else decode_header(found, place=shown)

    def _map(self, shown: str) -> Header | None:
        """Map the file and open its keyspaces: for writing too, unless that would mean to wait for a writer. None: it is new."""
        is_free = self.obstacle is None and self.turn.hold_off()
        try:
            return self._map_as(shown, is_writable=is_free)
        finally:
            if is_free:
                self.turn.give_back()

    def map_for_good(self, shown: str) -> None:
        """Map the file for writing too, if nobody writes now and nobody looks at the map. The caller holds the gate."""
        if self.open_transactions or self.viewers or self.leases.held() or not self.write_lock.acquire(blocking=False):
            return
        try:
            if not self.is_replaced and self.turn.hold_off():
                try:
                    self.env.close()
                    self.header = self._map_as(shown, is_writable=True)
                finally:
                    self.turn.give_back()
        finally:
            self.write_lock.release()

    def map_for_writing(self, shown: str) -> None:
        """Map the file for writing too; the caller has the turn."""
        if not self.is_provisional:
            return
        with self.gate:
            keeping = [viewer for viewer in self.viewers if not viewer.forgets_addresses]
            if self.open_transactions or self.leases.held() or keeping:
                raise StoreBusyError(
                    f"{shown}: was opened while another process was writing, so it is mapped for reading only",
                    hint="end all readers and drop all arrays of this store, or close it, then open it again",
                )
            for viewer in list(self.viewers):
                viewer.forget_addresses()
            self.viewers.clear()
            self.env.close()
            self.header = self._map_as(shown, is_writable=True)

    def _map_as(self, shown: str, *, is_writable: bool) -> Header | None:
        self.handles, self._complete_for, self._whole_for = {}, -1, -1
        self.env = self._open_env(is_writable)
        self.mapping = next(_mappings)
        self.nodes = Nodes(self.env.stat()["psize"])
        self._is_map_writable = is_writable
        try:
            self.env.reader_check()
            return self._recognize(shown)
        except BaseException:
            # At once: an error that somebody keeps would keep the map, too.
            self.env.close()
            raise

    def _recognize(self, shown: str) -> Header | None:
        # Whose file it is comes first: the names in a foreign one are no keyspaces.
        with self.begin_read() as transaction:
            is_blank = transaction.stat()["entries"] == 0
            has_meta = transaction.get(META.name.encode()) is not None
        self._open([META.name] if has_meta else [])
        with self.begin_read() as transaction:
            data = transaction.get(HEADER_KEY, db=self.handles[META.name]) if has_meta else None
            names = list(transaction.cursor().iternext(values=False)) if data is not None else []
        header = recognize(data, is_blank=is_blank, shown=shown)
        self._open(names_of(names, shown=shown))
        return header

    def _open(self, names: Iterable[str]) -> None:
        # Handles last only if the transaction commits, and the lmdb package commits reading ones only on a map for reading.
        # So the caller keeps other writers away.
        if not self._is_map_writable:
            found = {name: self.env.open_db(name.encode(), create=False) for name in names}
        else:
            with self.env.begin(write=True) as transaction:
                found = self._open_in(transaction, names, create=False)
        self.handles = self.handles | found

    def _open_in(self, transaction: "lmdb.Transaction[bytes]", names: Iterable[str], *, create: bool) -> Handles:
        return {name: self.env.open_db(name.encode(), txn=transaction, create=create) for name in names}

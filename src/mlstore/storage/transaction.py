"""Transactions: a Reader is one consistent view of the file, a Writer the one who changes it, all or nothing.

They know bytes and keyspaces only. Invariants: no error of LMDB gets past this room; a Reader never waits; a Writer
commits when its block ends well and leaves no trace when it does not.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice, repeat
from operator import add, lt
from types import TracebackType
from typing import Any, Final, Self

import lmdb

from mlstore.errors import ClosedError, MlstoreError, StoreError, StoreFullError, UsageError
from mlstore.storage.failures import translate
from mlstore.storage.handle import Handle
from mlstore.storage.keyspace import MAX_KEY_BYTES, Keyspace, prefix_end, require_key
from mlstore.storage.lease import LeaseBook
from mlstore.storage.mapped_file import MappedFile
from mlstore.storage.mapped_value import MappedValue, copied_value
from mlstore.storage.ranges import iterate_backward, iterate_forward
from mlstore.storage.touched import TouchedKeys

_CHUNK: Final = 512  # items put at once: fewer objects than make the collector of garbage run
_FEW: Final = 16  # items for which it does not pay to find out whether they may be appended, which looks for no place in the tree
# Key and value together up to here lie in a leaf page of LMDB; larger ones (from 2030 or so) get pages of their own.
_SURELY_INLINE: Final = 2000

Value = bytes | bytearray | memoryview
Item = tuple[bytes, bytes]


class _Ended:
    """Stands in for a transaction that is over: whatever is asked of it, the answer is this error."""

    def __init__(self, message: str, hint: str) -> None:
        self._message = message
        self._hint = hint

    def __getattr__(self, name: str) -> Any:
        raise ClosedError(self._message, hint=self._hint)


_NOT_BEGUN: Final = _Ended("the transaction has not begun", "use it in a `with` block")
_OVER: Final = _Ended("the transaction has ended", "read inside the `with` block")
_OF_THE_PARENT: Final = _Ended("the transaction was begun before the fork", "begin another one in the child")


class Reader:
    """One consistent view of the file, in a `with` block; made by `Environment.reader()`. One thread at a time."""

    def __init__(self, environment: Handle, *, views: bool = True) -> None:
        self._environment = environment
        self._wants_views = views
        self._transaction: Any = _NOT_BEGUN
        self._viewing: Any = None
        self._handles: dict[str, lmdb._Database] = {}
        self._mapped: MappedFile | None = None
        self._is_provisional = False

    def __enter__(self) -> Self:
        mapped = self._environment.use()
        try:
            if mapped.is_provisional:
                with mapped.gate:
                    mapped.map_for_good(self._environment.path)
                    self._begin(mapped)
            else:
                self._begin(mapped)
        except lmdb.Error as error:
            raise self._translated(error, "begin to read") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        mapped, transaction = self._leave()
        if mapped is not None:
            transaction.abort()

    @property
    def environment(self) -> Handle:
        """The handle this transaction was begun from."""
        return self._environment

    @property
    def txn_id(self) -> int:
        """The number of the last commit seen; a Writer's own number, one more than that."""
        return int(self._transaction.id())

    @property
    def leases(self) -> LeaseBook:
        """The leases of the file that this transaction sees."""
        return self._file.leases

    @property
    def mapping(self) -> int:
        """Which mapping of the file the addresses are of: no two of a process have the same number."""
        return self._file.mapping

    def get(self, space: Keyspace, key: bytes) -> bytes | None:
        """The value of a key."""
        handle = self._handles.get(space.name)
        if handle is None:
            return None
        try:
            found: bytes | None = self._transaction.get(key, None, handle)
        except lmdb.Error as error:
            raise self._translated(error, f"read a key of {space.name}") from error
        return found

    def get_many(self, space: Keyspace, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of many keys, in their order."""
        handle = self._handles.get(space.name)
        if handle is None:
            return [None] * len(keys)
        try:
            # One `get` after the other: `Cursor.getmulti` takes longer, for the pairs it makes, and so does putting the keys in order.
            return list(map(self._transaction.get, keys, repeat(None), repeat(handle)))
        except lmdb.Error as error:
            raise self._translated(error, f"read keys of {space.name}") from error

    def view(self, space: Keyspace, key: bytes) -> MappedValue | None:
        """Where the value of a key lies in the map, without copying it: for values that are written once and then kept."""
        handle = self._handles.get(space.name)
        if handle is None:
            return None
        if self._viewing is None:
            raise UsageError("this reader was begun with views=False", hint="begin it with views=True")
        if self._is_provisional and self._mapped is not None:
            self._mapped.viewers.add(self._environment)
        try:
            return self._file.nodes.view(self._viewing, handle, key)
        except lmdb.Error as error:
            raise self._translated(error, f"view a key of {space.name}") from error

    def scan(
        self, space: Keyspace, *, start: bytes = b"", stop: bytes | None = None, reverse: bool = False, keys_only: bool = False
    ) -> Iterator[Item]:
        """All items with start <= key < stop, in order of their keys. `keys_only` leaves the values empty and unread."""
        handle = self._handles.get(space.name)
        if handle is None:
            return
        try:
            cursor = self._transaction.cursor(handle)
            found = (iterate_backward if reverse else iterate_forward)(cursor, start, stop, keys_only=keys_only)
            yield from ((key, b"") for key in found) if keys_only else found
        except lmdb.Error as error:
            raise self._translated(error, f"scan {space.name}") from error

    def scan_prefix(self, space: Keyspace, prefix: bytes, *, reverse: bool = False) -> Iterator[Item]:
        """All items whose key starts with the prefix, in order of their keys."""
        return self.scan(space, start=prefix, stop=prefix_end(prefix), reverse=reverse)

    def first(self, space: Keyspace, start: bytes = b"", stop: bytes | None = None) -> Item | None:
        """The item with the smallest key in start <= key < stop."""
        handle = self._handles.get(space.name)
        if handle is None:
            return None
        try:
            cursor = self._transaction.cursor(handle)
            found: Item | None = cursor.item() if cursor.set_range(start) else None
        except lmdb.Error as error:
            raise self._translated(error, f"scan {space.name}") from error
        return found if found is not None and (stop is None or found[0] < stop) else None

    def last(self, space: Keyspace, start: bytes = b"", stop: bytes | None = None) -> Item | None:
        """The item with the greatest key in start <= key < stop."""
        handle = self._handles.get(space.name)
        if handle is None:
            return None
        try:
            cursor = self._transaction.cursor(handle)
            is_there = cursor.prev() if stop is not None and cursor.set_range(stop) else cursor.last()
            found: Item | None = cursor.item() if is_there else None
        except lmdb.Error as error:
            raise self._translated(error, f"scan {space.name}") from error
        return found if found is not None and found[0] >= start else None

    def count(self, space: Keyspace) -> int:
        """How many items there are; costs nothing."""
        handle = self._handles.get(space.name)
        return int(self._transaction.stat(handle)["entries"]) if handle is not None else 0

    def _begin(self, mapped: MappedFile) -> None:
        while True:
            self._handles = mapped.find_keyspaces(self._environment.path)
            transaction, viewing = _begin_pair(mapped) if self._wants_views else (mapped.begin_read(), None)
            if not mapped.may_miss_keyspaces(transaction.id()):
                break
        self._transaction, self._viewing, self._mapped = transaction, viewing, mapped
        self._is_provisional = mapped.is_provisional
        mapped.open_transactions.add(self)

    def _leave(self) -> tuple[MappedFile | None, Any]:
        """Let go of LMDB's transaction, which the caller ends; None for the file if it is not ours to end."""
        mapped, transaction = self._mapped, self._transaction
        if mapped is None:
            return None, transaction
        self._mapped = None
        mapped.open_transactions.discard(self)
        self._transaction = _OVER
        if self._viewing is not None:
            self._viewing.abort()
            self._viewing = self._transaction
        return mapped, transaction

    def orphan(self) -> None:
        """In the child of a fork: the transaction is the parent's."""
        self._mapped = None
        self._transaction = _OF_THE_PARENT
        self._viewing = self._transaction if self._viewing is not None else None

    @property
    def _file(self) -> MappedFile:
        if self._mapped is None:
            self._transaction.id()  # the error of a transaction that is none
        assert self._mapped is not None
        return self._mapped

    def _translated(self, error: lmdb.Error, doing: str) -> MlstoreError:
        return translate(error, self._environment.path, doing)


class Writer(Reader):
    """The one write transaction of a file, in a `with` block; made by `Environment.writer()`.

    Sees its own writes. Commits if the block ends well; an exception undoes everything. Bound to its thread.
    """

    def __init__(self, environment: Handle) -> None:
        super().__init__(environment)
        self._dirty_bytes = 0
        self._thread = 0
        self._failed: MlstoreError | None = None
        self._touched = TouchedKeys()
        self._large = TouchedKeys()
        self._after_commit: list[Callable[[], object]] = []
        self._after_abort: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        while True:
            mapped = self._environment.use_for_writing()
            mapped.take_turn(self._environment.path)
            try:
                mapped.map_for_writing(self._environment.path)
                is_begun = not mapped.is_replaced
                if is_begun:
                    self._begin_alone(mapped)
            except BaseException:
                mapped.give_turn()
                raise
            if is_begun:
                break
            mapped.give_turn()
        self._thread = threading.get_ident()
        self._mapped = mapped
        mapped.open_transactions.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        own = self._own
        if self._mapped is None and kind is None:
            # The child of a fork leaves a block of its parent: the error of a transaction that is not ours, never silence.
            own.commit()
        mapped, transaction = self._leave()
        if mapped is None:
            return
        try:
            try:
                if kind is None:
                    self._commit(mapped, transaction)
                else:
                    transaction.abort()
            except BaseException:
                _run_all(self._after_abort)
                raise
            _run_all(self._after_commit if kind is None else self._after_abort)
        finally:
            mapped.give_turn()

    def _begin_alone(self, mapped: MappedFile) -> None:
        self._environment.require_sound(mapped)
        try:
            self._transaction = mapped.begin_write()
            self._handles = mapped.handles
        except lmdb.Error as error:
            raise self._translated(error, "begin to write") from error

    @property
    def dirty_bytes(self) -> int:
        """The bytes put so far; they lie on the heap until the commit, so bound them."""
        return self._dirty_bytes

    def put(self, space: Keyspace, key: bytes, value: Value, *, overwrite: bool = True) -> bool:
        """Store a value; False if the key is there and may not be overwritten."""
        name, size = space.name, len(key) + len(value)
        if not 0 < len(key) <= MAX_KEY_BYTES:
            require_key(key, space)
        if overwrite and self._large.may_have(name, key):
            # LMDB would put a smaller value into the pages of the larger one, and verify() would take the rest for lost.
            self.delete(space, key)
        try:
            is_stored: bool = self._own.put(key, value, overwrite=overwrite, db=self._handles[name])
        except lmdb.Error as error:
            raise self._spoiled(error, f"put a key into {name}") from error
        self._dirty_bytes += size
        self._touched.add(name, key)
        if size > _SURELY_INLINE:
            self._large.add(name, key)
        return is_stored

    def put_many(self, space: Keyspace, items: Iterable[tuple[bytes, Value]], *, append: bool = False) -> None:
        """Store many values; those in rising order beyond all that are there, as `append` promises, faster. A broken promise is no harm."""
        try:
            cursor = self._own.cursor(self._handles[space.name])
        except lmdb.Error as error:
            raise self._spoiled(error, f"put keys into {space.name}") from error
        remaining = iter(items)
        while chunk := list(islice(remaining, _CHUNK)):
            keys, values = zip(*chunk, strict=True)
            key_sizes = list(map(len, keys))
            if not 0 < min(key_sizes) <= max(key_sizes) <= MAX_KEY_BYTES:
                for key in keys:
                    require_key(key, space)
            sizes = list(map(add, key_sizes, map(len, values)))
            if self._large.knows(space.name) or max(sizes) > _SURELY_INLINE:
                for key, value in chunk:
                    self.put(space, key, value)
                continue
            try:
                append = append or (len(chunk) > _FEW and (not cursor.last() or cursor.key() < keys[0]) and all(map(lt, keys, keys[1:])))
                _, added = cursor.putmulti(chunk, append=append)
                if added != len(chunk):
                    # Out of order after all; those already appended are stored once more, unchanged.
                    append = False
                    cursor.putmulti(chunk)
            except lmdb.Error as error:
                raise self._spoiled(error, f"put keys into {space.name}") from error
            self._dirty_bytes += sum(sizes)
            self._touched.add_many(space.name, keys)

    def delete(self, space: Keyspace, key: bytes) -> bool:
        """Remove a key; False if it was not there."""
        require_key(key, space)
        try:
            is_deleted: bool = self._own.delete(key, db=self._handles[space.name])
        except lmdb.Error as error:
            raise self._spoiled(error, f"delete a key of {space.name}") from error
        self._touched.add(space.name, key)
        return is_deleted

    def delete_many(self, space: Keyspace, keys: Iterable[bytes]) -> int:
        """Remove keys; how many of them were there."""
        return sum(self.delete(space, key) for key in sorted(keys))

    def delete_range(self, space: Keyspace, start: bytes = b"", stop: bytes | None = None) -> int:
        """Remove all keys with start <= key < stop; how many there were."""
        try:
            if not start and stop is None:
                return self._delete_all(space)
            keys = [key for key, _ in self.scan(space, start=start, stop=stop, keys_only=True)]
            delete, handle = self._own.delete, self._handles[space.name]
            for key in keys:
                delete(key, b"", handle)
            self._touched.add_many(space.name, keys)
            return len(keys)
        except lmdb.Error as error:
            raise self._spoiled(error, f"delete keys of {space.name}") from error

    def view(self, space: Keyspace, key: bytes) -> MappedValue | None:
        """As a Reader's; but a value this transaction may have changed has no place in the map yet, and is given as a copy."""
        if self._touched.may_have(space.name, key):
            value = self.get(space, key)
            return None if value is None else copied_value(value)
        if self._viewing is None:
            try:  # nobody else can commit now, so this sees exactly what this transaction began with
                self._viewing = self._file.begin_view()
            except lmdb.Error as error:
                raise self._translated(error, f"view a key of {space.name}") from error
        return super().view(space, key)

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call this once the commit is done, in this thread, before the next writer begins."""
        self._after_commit.append(callback)

    def on_abort(self, callback: Callable[[], object]) -> None:
        """Call this once everything is undone."""
        self._after_abort.append(callback)

    @property
    def _own(self) -> Any:
        if self._mapped is not None and threading.get_ident() != self._thread:
            place = self._environment.path
            raise UsageError(f"{place}: a writer belongs to the thread that began it", hint="let each thread begin its own")
        return self._transaction

    def _delete_all(self, space: Keyspace) -> int:
        count = self.count(space)
        self._own.drop(self._handles[space.name], delete=False)
        self._touched.add_all(space.name)
        return count

    def _spoiled(self, error: lmdb.Error, doing: str) -> MlstoreError:
        self._failed = self._translated(error, doing)
        return self._failed

    def _commit(self, mapped: MappedFile, transaction: Any) -> None:
        if self._failed is not None:
            transaction.abort()
            failed = self._failed
            raise StoreError(
                f"{self._environment.path}: nothing was stored, since a write failed before: {failed.message}", hint=failed.hint
            )
        try:
            transaction.commit()
            if self._environment.durability == "full" and not mapped.is_meta_synced:
                mapped.env.sync(force=True)
        except lmdb.Error as error:
            failure = self._translated(error, "commit")
            # Out of room, nothing of the last good state was touched. After anything else nobody knows what the disk holds.
            if not isinstance(failure, StoreFullError):
                mapped.failures += 1
            raise failure from error


def _begin_pair(mapped: MappedFile) -> tuple[Any, Any]:
    """Two transactions that see the same commit: LMDB gives bytes from one and addresses from the other."""
    while True:
        transaction = mapped.begin_read()
        try:
            viewing = mapped.begin_view()
        except BaseException:
            transaction.abort()
            raise
        if viewing.id() == transaction.id():
            return transaction, viewing
        transaction.abort()
        viewing.abort()


def _run_all(callbacks: list[Callable[[], object]]) -> None:
    # All of them run, in order, even if one fails; the error goes on.
    if not callbacks:
        return
    with ExitStack() as stack:
        for callback in reversed(callbacks):
            stack.callback(callback)

"""Environment: a handle of one store file, the door through which everything above gets its transactions.

Handles of one file share one mapping and may differ in rights and durability. A handle survives a fork (it opens the file
anew in the child) and pickles as path and rights. Invariant: nothing above this room opens the file.
"""

import importlib
import os
import secrets
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Literal, Self

import lmdb

from mlstore.errors import ClosedError, ReadOnlyError, StoreError, UsageError
from mlstore.format.header import Header
from mlstore.storage.backup import copy_environment
from mlstore.storage.failures import translate
from mlstore.storage.lease import LeaseBook
from mlstore.storage.mapped_file import MappedFile
from mlstore.storage.registry import map_file, map_private_file
from mlstore.storage.transaction import Reader, Writer

MEMORY: Final = ":memory:"
_VERIFY_TRIES: Final = 5

Durability = Literal["full", "normal"]


class Environment:
    """A handle of a store file; use `Environment.open`. May be used from several threads."""

    def __init__(self, mapped: MappedFile, path: str, *, read_only: bool, durability: Durability) -> None:
        self._mapped: MappedFile | None = mapped
        self._path = path
        self._place = mapped.path
        self._is_read_only = read_only
        self._durability: Durability = durability
        self._file_id = mapped.file_id
        self._failures_at_open = mapped.failures
        self._on_remap: list[Callable[[], object]] = []

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        durability: Durability = "full",
        writer_version: str,
    ) -> "Environment":
        """A handle of the store at this path, made if it is not there; ":memory:" gives a private one that dies with its handle.

        `durability="normal"` may lose the last commits in a power cut, and never anything else.

        Raises
        ------
        NotAStoreError
            The path holds something else; it is left as it was.
        FormatVersionError
            A newer mlstore wrote the file.
        StoreError
            The file cannot be opened so: no such folder, no permission, a network file system, no room.
        """
        shown = os.fspath(path)
        if durability not in ("full", "normal"):
            raise UsageError(f"durability={durability!r}: no such durability", hint='use "full" or "normal"')
        header = _new_header(writer_version)
        if shown == MEMORY:
            if read_only:
                raise UsageError(f"{MEMORY}: an empty store that can only be read", hint="leave out read_only=True")
            return cls(map_private_file(header, shown=shown), shown, read_only=False, durability=durability)
        mapped = _map(shown, None if read_only else header, read_only=read_only, durability=durability)
        return cls(mapped, os.path.abspath(shown), read_only=read_only, durability=durability)

    @property
    def path(self) -> str:
        """The absolute path of the file, or ":memory:"."""
        return self._path

    @property
    def is_read_only(self) -> bool:
        """True if this handle refuses to write."""
        return self._is_read_only

    @property
    def durability(self) -> Durability:
        """What a commit waits for: "full" or "normal"."""
        return self._durability

    @property
    def is_closed(self) -> bool:
        """True after `close()`."""
        return self._mapped is None

    @property
    def file_id(self) -> str:
        """The identity of the store, given when it was made and kept by its copies."""
        return self._file_id

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        mapped = self._use()
        try:
            return os.stat(mapped.path).st_size
        except OSError as error:
            raise translate(error, self._path, "look at it") from error

    @property
    def leases(self) -> LeaseBook:
        """The leases of this file held by this process."""
        return self._use().leases

    def reader(self, *, views: bool = True) -> Reader:
        """A read transaction, in a `with` block. Without `views` it begins a little faster and cannot `view`."""
        return Reader(self, views=views)

    def writer(self) -> Writer:
        """The write transaction, in a `with` block; waits for the writer at work."""
        return Writer(self)

    def on_remap(self, callback: Callable[[], object]) -> None:
        """Call this before addresses given by views become void; whoever keeps some must forget them then.

        It happens at most once: in a process that opened the file while another was writing, and now writes itself.
        """
        self._on_remap.append(callback)

    def info(self) -> dict[str, Any]:
        """Figures of the file: sizes, pages, last commit, readers."""
        mapped = self._use()
        try:
            return _figures(mapped, self._path)
        except lmdb.Error as error:
            raise translate(error, self._path, "look at it") from error

    def copy_to(self, path: str | os.PathLike[str]) -> None:
        """A consistent, compact copy in a new file, on the disk when this returns; writers go on meanwhile."""
        copy_environment(self._use().env, os.fspath(path), source=self._path)

    def verify_pages(self) -> list[str]:
        """What is wrong with the pages of the file; nothing if all is well. Writers wait meanwhile, where they can be made to."""
        mapped = self._use()
        try:
            verifier = importlib.import_module("lmdb.verify")
        except ImportError:
            return []
        try:
            with mapped.still(self._path):
                return _verify(mapped, verifier.verify)
        except verifier.VerifyError as error:
            return [str(error)]
        except (lmdb.Error, OSError) as error:
            raise translate(error, self._path, "verify its pages") from error

    def close(self) -> None:
        """Let go of the file. Transactions at work end by themselves; arrays still looked at keep the file mapped."""
        self._mapped = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "read-only" if self._is_read_only else self._durability
        return f"<Environment {self._path} ({state})>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._path == MEMORY:
            raise UsageError(f"{MEMORY}: a store in memory lives in this process only", hint="use a file to share it")
        if self.is_closed:
            raise _closed_error(self._path)
        return _reopen, (self._path, self._is_read_only, self._durability)

    def _use(self) -> MappedFile:
        """The mapping; opened anew in the child of a fork."""
        mapped = self._mapped
        if mapped is None:
            raise _closed_error(self._path)
        if mapped.is_inherited:
            mapped = self._open_again()
        return mapped

    @property
    def forgets_addresses(self) -> bool:
        """True if nobody is left with addresses when the file is mapped anew."""
        return self.is_closed or bool(self._on_remap)

    def _forget_addresses(self) -> None:
        for callback in self._on_remap:
            callback()

    def _use_for_writing(self) -> MappedFile:
        if self._is_read_only:
            raise ReadOnlyError(f"{self._path}: this handle only reads", hint="open it without read_only=True")
        return self._use()

    def _require_sound(self, mapped: MappedFile) -> None:
        if mapped.failures != self._failures_at_open:
            raise StoreError(
                f"{self._path}: a commit failed before, so this handle writes no more", hint="close it, open it again, run verify()"
            )

    def _open_again(self) -> MappedFile:
        is_private = self._path == MEMORY
        mapped = map_file(self._place, None, shown=self._path, is_meta_synced=self._durability == "full", is_synced=not is_private)
        if mapped.file_id != self._file_id:
            raise StoreError(f"{self._path}: was replaced by another store", hint="open it again")
        self._mapped = mapped
        self._failures_at_open = mapped.failures
        return mapped


def _map(path: str, new_header: Header | None, *, read_only: bool, durability: Durability) -> MappedFile:
    # LMDB names its -lock file after the path, so all must come by the same one.
    return map_file(os.path.realpath(path), new_header, shown=path, for_writing=not read_only, is_meta_synced=durability == "full")


def _reopen(path: str, read_only: bool, durability: Durability) -> Environment:
    """A pickled handle comes back; it never makes a file."""
    return Environment(_map(path, None, read_only=read_only, durability=durability), path, read_only=read_only, durability=durability)


def _verify(mapped: MappedFile, verify: Callable[..., list[object]]) -> list[str]:
    # Where writers of other processes could not be made to wait, what they changed meanwhile would look like damage.
    problems: list[str] = []
    for _ in range(_VERIFY_TRIES):
        last_txn_id = mapped.env.info()["last_txnid"]
        problems = [str(problem) for problem in verify(mapped.path, subdir=False)]
        if not problems or mapped.env.info()["last_txnid"] == last_txn_id:
            break
    return problems


def _closed_error(path: str) -> ClosedError:
    return ClosedError(f"{path}: the store is closed", hint="open it again")


def _new_header(writer_version: str) -> Header:
    return Header(writer=f"mlstore {writer_version}", created_us=time.time_ns() // 1000, file_id=secrets.token_hex(16))


def _figures(mapped: MappedFile, shown: str) -> dict[str, Any]:
    handles = mapped.find_keyspaces(shown)
    with mapped.begin_read() as transaction:
        environment = mapped.env.info()
        trees = [transaction.stat(), *(transaction.stat(handle) for handle in handles.values())]
        last_txn_id = transaction.id()
    page_count = environment["last_pgno"] + 1
    used = sum(tree["branch_pages"] + tree["leaf_pages"] + tree["overflow_pages"] for tree in trees)
    # One line a slot: process, thread, commit seen; "-" for a slot at rest.
    seen = [int(line.split()[2]) for line in mapped.env.readers().splitlines()[1:] if line.split()[2].isdigit()]
    return {
        "map_bytes": environment["map_size"],
        "last_txn_id": last_txn_id,
        "page_bytes": trees[0]["psize"],
        "page_count": page_count,
        # Two pages are the meta pages; those of the free list itself count as free.
        "free_pages": max(0, page_count - 2 - used),
        "readers": len(seen),
        "oldest_reader_txn_id": min(seen, default=None),
        "max_readers": environment["max_readers"],
        "keyspaces": {name: tree["entries"] for name, tree in zip(handles, trees[1:], strict=True)},
    }

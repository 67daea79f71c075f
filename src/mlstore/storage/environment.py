"""Environment: the door through which everything above opens a store file and begins its transactions.

Pickles as path and rights. Invariant: nothing above this room opens the file.
"""

import os
import secrets
import time
from types import TracebackType
from typing import Any, Self

from mlstore.errors import UsageError
from mlstore.format.header import Header
from mlstore.storage.handle import MEMORY, Durability, Handle
from mlstore.storage.mapped_file import MappedFile
from mlstore.storage.registry import map_file, map_private_file
from mlstore.storage.transaction import Reader, Writer


class Environment(Handle):
    """A handle of a store file; use `Environment.open`. May be used from several threads."""

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        durability: Durability = "full",
        writer_version: str,
        is_trusted: bool = True,
    ) -> "Environment":
        """A handle of the store at this path, made if it is not there; ":memory:" gives a private one that dies with its handle.

        `durability="normal"` may lose the last commits in a power cut, and never anything else. A file that
        is not trusted is looked at page by page before it is mapped.

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
        mapped = _map(shown, None if read_only else header, read_only=read_only, durability=durability, is_trusted=is_trusted)
        return cls(mapped, os.path.abspath(shown), read_only=read_only, durability=durability)

    def reader(self, *, views: bool = True) -> Reader:
        """A read transaction, in a `with` block. Without `views` it begins a little faster and cannot `view`."""
        return Reader(self, views=views)

    def writer(self) -> Writer:
        """The write transaction, in a `with` block; waits for the writer at work."""
        return Writer(self)

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
            raise self._closed()
        return _reopen, (self._path, self._is_read_only, self._durability)


def _map(path: str, new_header: Header | None, *, read_only: bool, durability: Durability, is_trusted: bool = True) -> MappedFile:
    return map_file(
        os.path.realpath(path),  # LMDB names its -lock file after the path, so all must come by the same one
        new_header,
        shown=path,
        for_writing=not read_only,
        is_meta_synced=durability == "full",
        is_trusted=is_trusted,
    )


def _reopen(path: str, read_only: bool, durability: Durability) -> Environment:
    """A pickled handle comes back; it never makes a file."""
    return Environment(_map(path, None, read_only=read_only, durability=durability), path, read_only=read_only, durability=durability)


def _new_header(writer_version: str) -> Header:
    return Header(writer=f"mlstore {writer_version}", created_us=time.time_ns() // 1000, file_id=secrets.token_hex(16))

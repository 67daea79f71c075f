"""What LMDB and the system say when they refuse, in the words of this package.

`translate` is the one place where a code becomes an error: each code has its own cure.
"""

import errno
import os
import sys
from dataclasses import dataclass
from typing import Final

import lmdb

from mlstore.errors import (
    ClosedError,
    CorruptionError,
    FormatVersionError,
    InvalidDataError,
    MlstoreError,
    NotAStoreError,
    ReadOnlyError,
    StoreBusyError,
    StoreError,
    StoreFullError,
)

# Less than this, and a write that fell short fell short for want of room.
_NEARLY_FULL_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Cause:
    """What a code means here, and what to do about it."""

    error: type[MlstoreError]
    what: str
    cure: str


_NO_ROOM: Final = Cause(StoreFullError, "no room left on the disk", "make room, then call again: nothing of this call was stored")
_DAMAGED: Final = "stop writing, run verify(), restore a backup"
_REPORT: Final = "this is a fault of mlstore: please report it"

_LMDB_CAUSES: Final[dict[type[lmdb.Error], Cause]] = {
    lmdb.MapFullError: Cause(
        StoreFullError,
        "the memory map is full",
        "delete data or compact(); if the address space is limited (ulimit -v), raise it and open the store again",
    ),
    lmdb.TxnFullError: Cause(StoreFullError, "too many changed pages for one transaction", "write in smaller batches"),
    lmdb.DiskError: _NO_ROOM,
    lmdb.ReadersFullError: Cause(
        StoreBusyError, "all reader slots are taken", "let some readers end; opening the store frees the slots of dead processes"
    ),
    lmdb.TlsFullError: Cause(StoreBusyError, "the thread has no room for another reader", "read from fewer environments in this process"),
    lmdb.LockError: Cause(StoreBusyError, "another process holds the lock file", "wait for it to finish, then call again"),
    lmdb.DbsFullError: Cause(StoreError, "too many keyspaces", _REPORT),
    lmdb.CursorFullError: Cause(CorruptionError, "a tree is too deep to be true", _DAMAGED),
    lmdb.PageFullError: Cause(CorruptionError, "a page has no room where it must have some", _DAMAGED),
    lmdb.PageNotFoundError: Cause(CorruptionError, "a page is missing", _DAMAGED),
    lmdb.CorruptedError: Cause(CorruptionError, "a page is damaged", _DAMAGED),
    lmdb.PanicError: Cause(
        StoreError, "an earlier write could not be undone", "close every handle and every array of this store, open it again, run verify()"
    ),
    lmdb.VersionMismatchError: Cause(
        FormatVersionError, "the file or its -lock file is of another LMDB version", "use the version that wrote it, or copy the data over"
    ),
    lmdb.InvalidError: Cause(NotAStoreError, "the file is not one of LMDB", "check the path"),
    lmdb.MapResizedError: Cause(
        StoreError, "another process made the file larger than this one can map", "raise the address space limit (ulimit -v), open it again"
    ),
    lmdb.IncompatibleError: Cause(NotAStoreError, "a keyspace is of another kind than mlstore's", "check the path"),
    lmdb.BadRslotError: Cause(StoreError, "the reader slot belongs to another thread or process", "open the store again after a fork"),
    lmdb.BadTxnError: Cause(StoreError, "the transaction failed before and can only be abandoned", "leave the `with` block, begin another"),
    lmdb.BadValsizeError: Cause(InvalidDataError, "a key is empty or longer than 511 bytes, or a value longer than 4 GiB", "shorten it"),
    lmdb.BadDbiError: Cause(StoreError, "a keyspace vanished from the file", "open the store again"),
    lmdb.ReadonlyError: Cause(
        ReadOnlyError, "no permission to write", "open with read_only=True, or change the permissions of the file and of its folder"
    ),
    lmdb.MemoryError: Cause(StoreError, "not enough memory or address space", "free memory, or raise the limit (ulimit -v)"),
    lmdb.InvalidParameterError: Cause(
        StoreError, "the system refused the request as invalid", "check that the file system supports shared memory maps"
    ),
    lmdb.KeyExistsError: Cause(StoreError, "the key exists already", _REPORT),
    lmdb.NotFoundError: Cause(StoreError, "something that must be there is missing", _REPORT),
}

_ERRNO_CAUSES: Final[dict[int, Cause]] = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: Cause(StoreFullError, "the disk quota is used up", "make room, then call again: nothing of this call was stored"),
    errno.EFBIG: Cause(
        StoreFullError, "the file may not grow further", "raise the file size limit (ulimit -f), or use another file system"
    ),
    errno.EACCES: Cause(StoreError, "permission denied", "change the permissions of the file, of its -lock file and of the folder"),
    errno.EPERM: Cause(StoreError, "operation not permitted", "change the permissions of the file, of its -lock file and of the folder"),
    errno.EROFS: Cause(StoreError, "the file system is read-only", "open with read_only=True"),
    errno.ENOENT: Cause(StoreError, "no such file", "check the path; open it without read_only=True to create it"),
    errno.ENOTDIR: Cause(StoreError, "a part of the path is a file, not a folder", "check the path"),
    errno.EISDIR: Cause(NotAStoreError, "is a folder; a store is one file", "name a file in it"),
    errno.EEXIST: Cause(StoreError, "the file exists already", "choose another name"),
    errno.ENAMETOOLONG: Cause(StoreError, "the name is too long", "choose a shorter one"),
    errno.EMFILE: Cause(StoreBusyError, "this process has too many open files", "close some, or raise the limit (ulimit -n)"),
    errno.ENFILE: Cause(StoreBusyError, "the system has too many open files", "close some"),
    errno.EAGAIN: Cause(StoreBusyError, "another process holds the lock file", "wait for it to finish, then call again"),
    errno.EBUSY: Cause(StoreBusyError, "the file is in use", "wait, then call again"),
    errno.ENOLCK: Cause(StoreBusyError, "the file system gives no locks", "move the store to a local disk"),
    errno.ENOMEM: Cause(StoreError, "not enough memory or address space", "free memory, or raise the limit (ulimit -v)"),
    errno.EIO: Cause(StoreError, "the disk failed to read or write", "check the disk, open the store again, run verify()"),
}

_ENDED: Final = Cause(ClosedError, "the transaction has ended", "read inside the `with` block")
_ALREADY_OPEN: Final = Cause(
    StoreBusyError,
    "this process has the file or its -lock file open already, and not through mlstore",
    "close that one first; if the file was deleted and made anew, drop the arrays of the old one or delete the -lock file too",
)


def translate(error: Exception, path: str, doing: str) -> MlstoreError:
    """The error of this package for one of LMDB or of the system; raise it `from` the cause.

    `doing` completes "could not ...". An error of this package is returned as it is.
    """
    if isinstance(error, MlstoreError):
        return error
    cause = _cause_of(error, path)
    if cause is None:
        return StoreError(f"{path}: could not {doing}: {error}", hint="open the store again; if that does not help, run verify()")
    return cause.error(f"{path}: could not {doing}: {cause.what}", hint=cause.cure)


def _cause_of(error: Exception, path: str) -> Cause | None:
    if isinstance(error, lmdb.Error) and type(error) in _LMDB_CAUSES:
        return _LMDB_CAUSES[type(error)]
    code = getattr(error, "code", 0) if isinstance(error, lmdb.Error) else getattr(error, "errno", 0)
    if code == errno.EIO and _is_out_of_room(path):
        # LMDB reports a write that fell short, as it does on a disk just filled up, as EIO.
        return _NO_ROOM
    if code in _ERRNO_CAUSES:
        return _ERRNO_CAUSES[code]
    if "already open in this process" in str(error):
        return _ALREADY_OPEN
    return _ENDED if "closed/deleted/dropped" in str(error) else None


def _is_out_of_room(path: str) -> bool:
    try:
        volume = os.statvfs(path)
        size_bytes = os.stat(path).st_size
    except OSError:
        return False
    if volume.f_bavail * volume.f_frsize < _NEARLY_FULL_BYTES:
        return True
    limit = _file_size_limit()
    return limit is not None and size_bytes >= limit


def _file_size_limit() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if soft == resource.RLIM_INFINITY else soft

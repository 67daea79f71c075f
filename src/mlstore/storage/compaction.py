"""Compaction: a file written anew without its free pages, and put in the place of the old one at one stroke.

Invariants: only who is alone with the file does it; whatever moment the machine stops at, the name stands for the old file or the new
one, whole. The old one stays mapped for the transactions and arrays of this process that look at it.
"""

import os
import shutil
from contextlib import suppress
from typing import Final

import lmdb

from mlstore.errors import MlstoreError, StoreBusyError, StoreError
from mlstore.storage.backup import sync_folder, write_copy
from mlstore.storage.failures import translate
from mlstore.storage.filesystem import write_obstacle
from mlstore.storage.mapped_file import MappedFile

_COPY: Final = "-compact"
_OLD_LOCK: Final = "-compact-lock"


def replace_file(mapped: MappedFile, *, shown: str) -> None:
    """Put a compact copy in the place of a file. Nobody writes meanwhile: the caller sees to that, and maps the new file afterwards."""
    _require_ours(mapped, shown)
    if not mapped.presence.claim():
        raise _refusal(mapped, shown)
    try:
        remove_leftovers(mapped.path)
        _write_beside(mapped)
        _swap(mapped)
    except (lmdb.Error, OSError) as error:
        with suppress(OSError):
            remove_leftovers(mapped.path)
        if isinstance(error, MlstoreError):
            raise
        raise translate(error, shown, "compact it") from error
    finally:
        if mapped.is_replaced:
            mapped.presence.leave()
        else:
            mapped.presence.share()


def remove_leftovers(path: str) -> None:
    """Remove what a compaction left that was killed. Whoever shares the file knows that none is under way."""
    for leftover in (path + _COPY, path + _OLD_LOCK):
        with suppress(FileNotFoundError):
            os.unlink(leftover)


def _require_ours(mapped: MappedFile, shown: str) -> None:
    obstacle = write_obstacle(mapped.path) if os.path.exists(mapped.path) else None
    if obstacle is not None:
        raise StoreError(f"{shown}: cannot be compacted: it {obstacle.what}", hint=obstacle.cure)
    if mapped.presence.is_supported and not mapped.presence.is_of(mapped.path):
        raise StoreError(f"{shown}: was moved, or replaced by another file", hint="close it and open it again where it is now")


def _refusal(mapped: MappedFile, shown: str) -> StoreError:
    if not mapped.presence.is_supported:
        return StoreError(
            f"{shown}: cannot be compacted here: the system does not tell who else has it open",
            hint="backup(path) makes a compact copy; put it in place when nobody has the store open",
        )
    return StoreBusyError(
        f"{shown}: cannot be compacted while another process has it open",
        hint="close it there, then call again; backup(path) makes a compact copy meanwhile",
    )


def _write_beside(mapped: MappedFile) -> None:
    copy, old = mapped.path + _COPY, os.stat(mapped.path)
    write_copy(mapped.env, copy)
    shutil.copymode(mapped.path, copy)
    made = os.stat(copy)
    if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
        os.chown(copy, old.st_uid, old.st_gid)


def _swap(mapped: MappedFile) -> None:
    path = mapped.path
    lock, old_lock = path + "-lock", path + _OLD_LOCK
    # The lock file speaks of transactions of the old file: the new one must never be opened with it.
    os.rename(lock, old_lock)
    try:
        os.rename(path + _COPY, path)
    except BaseException:
        _put_back(mapped, old_lock, lock)
        raise
    mapped.is_replaced = True
    # Whoever opens the new file from now on removes leftovers, and may take this one for such.
    with suppress(FileNotFoundError):
        os.unlink(old_lock)
    sync_folder(os.path.dirname(path))


def _put_back(mapped: MappedFile, old_lock: str, lock: str) -> None:
    try:
        os.rename(old_lock, lock)
    except OSError:
        # Others would not see the locks of this process any more, so it must not write.
        mapped.failures += 1
        raise

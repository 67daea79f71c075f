"""The register of mapped files: one per (device, inode) and process, whatever the path; and what happens to them in a fork.

A child must neither use nor close what it inherits: LMDB's locks and reader slots are the parent's. So the inherited
environments stay mapped for good, for the arrays that look at them, and everything else opens the file anew.
"""

import ctypes
import errno
import os
import shutil
import threading
import weakref
from typing import Any, Final

import lmdb
from lmdb import _envid

from mlstore.errors import NotAStoreError, StoreError
from mlstore.format.header import Header, require_writable
from mlstore.storage.compaction import remove_leftovers
from mlstore.storage.failures import translate
from mlstore.storage.filesystem import Obstacle, make_private_folder, network_obstacle, require_file_place, write_obstacle
from mlstore.storage.keyspace import MAX_KEYSPACES
from mlstore.storage.mapped_file import MappedFile
from mlstore.storage.pages import require_sound, require_whole
from mlstore.storage.recognition import FILE_MODE, create_file, open_when_free, peek_header, require_lmdb_file

MAP_BYTES: Final = 1 << 40

_MIN_MAP_BYTES: Final = 1 << 26
_MAX_READERS: Final = 2048
_PRIVATE_NAME: Final = "memory.mls"
_MAKE_ONE: Final = "open it without read_only=True to make it a store"

_files: "weakref.WeakValueDictionary[tuple[int, int], MappedFile]" = weakref.WeakValueDictionary()
_lock = threading.RLock()
_inherited: list[lmdb.Environment] = []


def map_file(
    path: str,
    new_header: Header | None,
    *,
    shown: str,
    for_writing: bool = False,
    is_meta_synced: bool = True,
    is_synced: bool = True,
    is_trusted: bool = True,
) -> MappedFile:
    """The mapped file of an absolute path, opened if this process has not done so yet.

    `new_header` is what a new file gets; None: the file must exist and hold a store. `shown` names it in errors. One that is not
    trusted has all its pages looked at before it is mapped.
    """
    require_file_place(path, shown=shown)
    with _lock:
        try:
            _make_file(path, new_header, shown, is_synced=is_synced)
            require_lmdb_file(path, shown=shown)
            mapped = _files.get(_identity(path))
            if mapped is None:
                require_whole(path, shown=shown)
                if not is_trusted and os.path.getsize(path):
                    require_sound(path, shown=shown)
                mapped = _open(path, new_header, shown, is_meta_synced=is_meta_synced, is_synced=is_synced)
                _files[_identity(path)] = mapped
        except lmdb.ReadonlyError as error:
            # LMDB says so of the -lock file too, which readers write as well.
            raise translate(PermissionError(error.code, str(error)), shown, "open it") from error
        except (lmdb.Error, OSError) as error:
            raise translate(error, shown, "open it") from error
    if for_writing:
        _require_writable(mapped, shown)
    return mapped


def map_private_file(new_header: Header, *, shown: str) -> MappedFile:
    """A mapped file of its own, gone when the last reference to it is."""
    folder = make_private_folder()
    mapped = map_file(os.path.join(folder, _PRIVATE_NAME), new_header, shown=shown, for_writing=True, is_synced=False)
    mapped.farewell = weakref.finalize(mapped, _remove_folder, folder, os.getpid())
    return mapped


def hand_over(old: MappedFile, new: MappedFile) -> None:
    """A file was put in the place of another: what was promised for the old one holds for it."""
    # Loads under way go on in the new file, where their segments are under the same numbers.
    new.forebears.update((old, *old.forebears))
    for forebear in (old, *old.forebears):
        kept = new.leases.repeat(forebear.leases)
        weakref.finalize(forebear, kept.clear).atexit = False
    if old.farewell is not None and (left := old.farewell.detach()) is not None:
        _, function, arguments, _ = left
        new.farewell = weakref.finalize(new, function, *arguments)


def _make_file(path: str, new_header: Header | None, shown: str, *, is_synced: bool) -> None:
    if os.path.exists(path):
        if new_header is None and os.path.getsize(path) == 0:
            raise NotAStoreError(f"{shown}: the file is empty", hint=_MAKE_ONE)
        return
    if new_header is None:
        raise FileNotFoundError(errno.ENOENT, "no such file")
    obstacle = network_obstacle(path)
    if obstacle is not None:
        raise _refusal(obstacle, shown)
    create_file(path, is_synced=is_synced)


def _open(path: str, new_header: Header | None, shown: str, *, is_meta_synced: bool, is_synced: bool) -> MappedFile:
    if os.path.islink(path + "-lock"):
        # LMDB would follow it, and write over whatever file it names.
        raise StoreError(f"{shown}: its -lock file is a symbolic link", hint="delete the link, and find out who made it")
    if os.path.getsize(path) and not os.path.exists(path + "-lock"):
        peek_header(path, shown=shown)

    def open_env(is_writable: bool) -> lmdb.Environment:
        return _open_environment(path, is_writable=is_writable, is_meta_synced=is_meta_synced, is_synced=is_synced)

    mapped = MappedFile(path, open_env, shown=shown, obstacle=write_obstacle(path), is_meta_synced=is_meta_synced)
    if mapped.obstacle is None and mapped.presence.is_supported:
        remove_leftovers(path)
    if mapped.header is None and new_header is not None and mapped.obstacle is None:
        try:
            mapped.create_header(new_header, shown)
        except BaseException:
            mapped.env.close()
            raise
    if mapped.header is None:
        mapped.env.close()
        raise NotAStoreError(f"{shown}: holds no store yet", hint=_MAKE_ONE)
    return mapped


def _open_environment(path: str, *, is_writable: bool, is_meta_synced: bool, is_synced: bool) -> lmdb.Environment:
    """LMDB on a file that exists, with the largest map the system grants."""
    map_bytes = MAP_BYTES
    while True:
        try:
            return open_when_free(
                path,
                map_size=map_bytes,
                readonly=not is_writable,
                metasync=is_meta_synced,
                sync=is_synced,
                mode=FILE_MODE,
                max_readers=_MAX_READERS,
                max_dbs=MAX_KEYSPACES,
            )
        except lmdb.MemoryError:
            map_bytes //= 2
            if map_bytes < _MIN_MAP_BYTES:
                raise


def _require_writable(mapped: MappedFile, shown: str) -> None:
    if mapped.obstacle is not None:
        raise _refusal(mapped.obstacle, shown)
    if mapped.header is not None:
        require_writable(mapped.header, place=shown)


def _refusal(obstacle: Obstacle, shown: str) -> StoreError:
    return StoreError(f"{shown}: cannot be opened for writing: it {obstacle.what}", hint=obstacle.cure)


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _remove_folder(folder: str, owner: int) -> None:
    # A forked child may be using the file still; only who made it removes it.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _leave_to_parent() -> None:
    """In the child of a fork: let go of everything inherited without touching it."""
    global _files, _lock
    inherited = list(_files.values())
    _files, _lock = weakref.WeakValueDictionary(), threading.RLock()
    for mapped in inherited:
        mapped.is_inherited = True
        mapped.turn.leave_to_parent()
        mapped.presence.leave()
        for transaction in mapped.open_transactions:
            transaction.orphan()
        mapped.open_transactions.clear()
        # Never deallocated, not even at exit: that would unmap the arrays and free the parent's reader slots.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(mapped.env))
        _inherited.append(mapped.env)
    if inherited:
        _forget_inherited_names()


def _forget_inherited_names() -> None:
    # The lmdb package refuses to open what it believes to be open in this process, and does not notice that the process
    # is another one since. The identities it compares are told apart by the process here.
    original: Any = _envid.env_keys
    process = os.getpid()

    def env_keys(path: Any, subdir: Any) -> tuple[Any, ...]:
        return tuple((process, key) for key in original(path, subdir))

    _envid.env_keys = env_keys


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)

"""Copies of a store: consistent, compact, on the disk before they get their name.

Invariant: a file of the wanted name is either complete or absent, and one that was there is never replaced.
"""

import os
import secrets
from collections.abc import Callable
from typing import Final

import lmdb

from mlstore.errors import AlreadyExistsError
from mlstore.storage.failures import translate

_FILE_MODE: Final = 0o644


def copy_environment(env: lmdb.Environment, target: str, *, source: str, check: Callable[[str], None] | None = None) -> None:
    """Copy what the last commit left into a new file, which `check` may refuse."""
    _require_absent(target)
    partial = f"{target}.partial-{secrets.token_hex(4)}"
    try:
        write_copy(env, partial)
        if check is not None:
            check(partial)
        _give_name(partial, target)
    except (lmdb.Error, OSError) as error:
        _remove(partial)
        raise translate(error, _readable_place(target), f"copy {source} to it") from error
    except BaseException:
        _remove(partial)
        raise


def write_copy(env: lmdb.Environment, path: str) -> None:
    """A compact copy of what the last commit left, on the disk when this returns, under a name that was free."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0), _FILE_MODE)
    try:
        env.copyfd(fd, compact=True)
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: str) -> None:
    """See to it that the names in a folder are on the disk."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _give_name(partial: str, target: str) -> None:
    try:
        # Unlike a rename, a link never replaces what is there.
        os.link(partial, target)
    except FileExistsError:
        _require_absent(target)
        raise
    except OSError:
        # A file system without links.
        _require_absent(target)
        os.rename(partial, target)
    _remove(partial)
    sync_folder(os.path.dirname(os.path.abspath(target)))


def _require_absent(target: str) -> None:
    if os.path.lexists(target):
        raise AlreadyExistsError(f"{target}: is there already", hint="choose a new name; a copy never replaces a file")


def _readable_place(target: str) -> str:
    # The place whose free room tells whether the disk is full.
    return target if os.path.exists(target) else os.path.dirname(os.path.abspath(target))


def _remove(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)

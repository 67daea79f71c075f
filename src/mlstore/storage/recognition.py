"""What a file is, found out without changing it: a new one, one of mlstore, or somebody else's, which is refused."""

import os
import sys
import time
from collections.abc import Iterable
from typing import Any, Final

import lmdb

from mlstore.errors import CorruptionError, NotAStoreError
from mlstore.format.header import HEADER_KEY, Header, decode_header
from mlstore.storage.backup import sync_folder
from mlstore.storage.keyspace import META

FILE_MODE: Final = 0o644

_MAGIC: Final = (0xBEEFC0DE).to_bytes(4, sys.byteorder)
_FORMAT: Final = (1).to_bytes(4, sys.byteorder)
# The magic number follows the header of the first page, whose size differs between the formats of LMDB.
_HEAD_BYTES: Final = 64
_TRIES: Final = 100
_PAUSE_SECONDS: Final = 0.01
_UNTOUCHED: Final = "name another file; this one was left as it was"


def create_file(path: str, *, is_synced: bool) -> None:
    """An empty file, which LMDB takes for a new one; somebody else's file of that name is left alone.

    Its name is on the disk when this returns: LMDB syncs what is in the file, and a power cut may take a file without a name.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0)
    try:
        os.close(os.open(path, flags, FILE_MODE))
    except FileExistsError:
        return
    if is_synced:
        try:
            sync_folder(os.path.dirname(path))
        except OSError:
            os.unlink(path)
            raise


def require_lmdb_file(path: str, *, shown: str) -> None:
    """Refuse a file that LMDB has not written, by its first bytes. An empty file is a new one."""
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return
    place = head.find(_MAGIC)
    if place < 0:
        raise NotAStoreError(f"{shown}: no mlstore file, but something else", hint=_UNTOUCHED)
    if head[place + 4 : place + 8] != _FORMAT:
        raise NotAStoreError(f"{shown}: a file of another LMDB format, not of mlstore", hint=_UNTOUCHED)


def open_when_free(path: str, **options: Any) -> lmdb.Environment:
    """LMDB on a file; waits a little where another thread is unmapping this very moment what had the same place on the disk."""
    tries = 0
    while True:
        try:
            return lmdb.Environment(path, subdir=False, lib_version=0, **options)
        except lmdb.Error as error:
            tries += 1
            if "already open" not in str(error) or tries == _TRIES:
                raise
            time.sleep(_PAUSE_SECONDS)


def peek_header(path: str, *, shown: str) -> Header | None:
    """The header of a file nobody has open, read without locks, so that no -lock file appears beside a foreign one."""
    with open_when_free(path, readonly=True, lock=False, max_dbs=1) as env, env.begin() as transaction:
        is_blank = transaction.stat()["entries"] == 0
        try:
            meta = env.open_db(META.name.encode(), txn=transaction, create=False)
            data = transaction.get(HEADER_KEY, db=meta)
        except (lmdb.NotFoundError, lmdb.IncompatibleError):
            data = None
    return recognize(data, is_blank=is_blank, shown=shown)


def recognize(data: bytes | None, *, is_blank: bool, shown: str) -> Header | None:
    """The header for the record found in a file; None if the file is new. LMDB files of others are refused."""
    if data is not None:
        return decode_header(data, place=shown)
    if is_blank:
        return None
    raise NotAStoreError(f"{shown}: an LMDB file, but not of mlstore", hint=_UNTOUCHED)


def names_of(found: Iterable[bytes], *, shown: str) -> list[str]:
    """The names of the keyspaces in a file of ours; CorruptionError: one of them is no text."""
    try:
        return [name.decode() for name in found]
    except UnicodeDecodeError as cause:
        raise CorruptionError(
            f"{shown}: a keyspace whose name is no text: {cause}", hint="restore a backup, or take out what is left: mlstore salvage"
        ) from cause

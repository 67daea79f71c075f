"""Pages: whether those of a file are sound, told without mapping it, so that not even a forged file can do harm.

LMDB trusts its pages. A file that was cut short ends a process that maps it, so its length is looked at whenever it is opened.
"""

import importlib
import os
import struct
import sys
from typing import Any, Final

from mlstore.errors import CorruptionError, StoreError
from mlstore.storage.failures import translate

_CURE: Final = "restore a backup, or take out what can be read: mlstore salvage"
_PAGE_HEAD: Final = 16
_PAGE_SIZES: Final = tuple(1 << power for power in range(8, 16))
_ORDER: Final = "<" if sys.byteorder == "little" else ">"
# Of a meta page, behind its head: magic, format, address, map size; two trees of 48 bytes, the first of which begins with the page
# size; the last page; the transaction.
_PAGE_SIZE: Final = struct.Struct(f"{_ORDER}24xI")
_LAST_PAGE: Final = struct.Struct(f"{_ORDER}120xQQ")


def require_whole(path: str, *, shown: str) -> None:
    """Refuse an LMDB file that ends before pages that it needs. An empty file is a new one."""
    with open(path, "rb") as file:
        first = file.read(_PAGE_HEAD + _LAST_PAGE.size)
        if not first:
            return
        page_size = _PAGE_SIZE.unpack_from(first.ljust(_PAGE_HEAD + _LAST_PAGE.size, b"\0"), _PAGE_HEAD)[0]
        if page_size not in _PAGE_SIZES:
            raise CorruptionError(f"{shown}: its first page is damaged", hint=_CURE)
        file.seek(page_size)
        second = file.read(_PAGE_HEAD + _LAST_PAGE.size)
        # The length last: a writer makes the file longer before it says so.
        size = file.seek(0, os.SEEK_END)
    is_headed = len(second) == _PAGE_HEAD + _LAST_PAGE.size
    newest = max((_LAST_PAGE.unpack_from(meta, _PAGE_HEAD) for meta in (first, second)), key=_transaction) if is_headed else (0, 0)
    # The last pages may be free ones that were never written: then nothing is missing.
    if not is_headed or ((newest[0] + 1) * page_size > size and find_page_damage(path, shown=shown)):
        raise CorruptionError(f"{shown}: was cut short: its end is missing", hint=_CURE)


def find_page_damage(path: str, *, shown: str) -> list[str]:
    """What is wrong with the pages; nothing if all is well. Writers should wait meanwhile: what they change may look like damage."""
    try:
        verifier = importlib.import_module("lmdb.verify")
    except ImportError as error:
        raise StoreError(f"{shown}: this lmdb package cannot verify pages", hint="pip install --upgrade lmdb") from error
    try:
        return [*_find_lost_head(path), *(str(problem) for problem in verifier.verify(path, subdir=False))]
    except verifier.VerifyError as error:
        return [str(error)]
    except (RecursionError, struct.error):
        return ["pages that lead nowhere"]
    except OSError as error:
        raise translate(error, shown, "verify its pages") from error


def _find_lost_head(path: str) -> list[str]:
    """Of the two head pages one is of the last commit, the other of the one before it: so the loss of the last is seen."""
    with open(path, "rb") as file:
        size = _PAGE_SIZE.unpack_from(file.read(_PAGE_HEAD + _PAGE_SIZE.size), _PAGE_HEAD)[0]
        file.seek(0)
        first = file.read(_PAGE_HEAD + _LAST_PAGE.size)
        file.seek(size)
        second = file.read(_PAGE_HEAD + _LAST_PAGE.size)
    last = [_LAST_PAGE.unpack_from(meta, _PAGE_HEAD)[1] for meta in (first, second)]
    if abs(last[0] - last[1]) <= 1:
        return []
    return [f"the head pages are of commits {last[0]} and {last[1]}, which do not follow each other: the last commit may be lost"]


def require_sound(path: str, *, shown: str) -> None:
    """Refuse a file with any page that is not as LMDB writes it."""
    problems = find_page_damage(path, shown=shown)
    if problems:
        listed = "; ".join(problems[:5])
        raise CorruptionError(f"{shown}: its pages are damaged: {listed}", hint=_CURE)


def _transaction(meta: tuple[Any, ...]) -> int:
    return int(meta[1])

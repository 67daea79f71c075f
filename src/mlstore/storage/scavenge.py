"""Scavenging: the records of a file that LMDB may not be trusted with, found page by page without it.

Pages that are damaged are passed over and told of; whatever can still be reached is given. Nothing is written.
"""

import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from mlstore.errors import NotAStoreError
from mlstore.storage.failures import translate
from mlstore.storage.keyspace import declared

_ORDER: Final = "<" if sys.byteorder == "little" else ">"
_MAGIC: Final = 0xBEEFC0DE
_PAGE: Final = struct.Struct(f"{_ORDER}QHHHH")  # number, pad, flags, lower, upper
_TREE_ROOT: Final = struct.Struct(f"{_ORDER}40xQ")
_NODE: Final = struct.Struct(f"{_ORDER}HHHH")  # size low, size high, flags, size of the key
_NUMBER: Final = struct.Struct(f"{_ORDER}Q")
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_BIG, _TREE = 1, 2
_NOTHING: Final = (1 << 64) - 1
_DEEPEST: Final = 32
_TREE_BYTES: Final = 48
_MAIN_AT: Final = 16 + 24 + _TREE_BYTES  # of the tree of names, in a head page
_LAST_AT: Final = 16 + 24 + 2 * _TREE_BYTES
_PAGE_SIZES: Final = tuple(1 << power for power in range(8, 16))
_USUAL_PAGE: Final = 4096

Record = tuple[str, bytes, bytes]  # keyspace, key, value


@dataclass(slots=True)
class Scavenger:
    """Walks the trees of one file; `losses` says what could not be read."""

    path: str
    losses: list[str] = field(default_factory=list)
    page_bytes: int = _USUAL_PAGE
    _seen: set[int] = field(default_factory=set)

    def records(self) -> Iterator[Record]:
        """Every record that can be reached, of every keyspace that this version knows."""
        try:
            with open(self.path, "rb") as file:
                yield from self._walk_file(file)
        except OSError as error:
            raise translate(error, self.path, "read it") from error

    def _walk_file(self, file: BinaryIO) -> Iterator[Record]:
        known = {space.name.encode(): space.name for space in declared()}
        for commit, main in self._heads(file):
            self._seen.clear()
            found = list(self._nodes(file, main, "the names of the keyspaces", 0))
            trees = [(known[key], value) for flags, key, value in found if flags & _TREE and key in known and len(value) == _TREE_BYTES]
            if not trees:
                self.losses.append(f"the state of commit {commit}: its names cannot be read")
                continue
            for name, tree in trees:
                for flags, key, value in self._nodes(file, _TREE_ROOT.unpack(tree)[0], name, 0):
                    if not flags & _TREE:
                        yield name, key, value
            return
        raise NotAStoreError(f"{self.path}: nothing in it can be read as a store", hint="restore a backup")

    def _heads(self, file: BinaryIO) -> list[tuple[int, int]]:
        """Of each head page that can be read: the commit, and the root of the tree of names; the newest first."""
        heads = []
        first = self._read(file, 0, 256)
        stated = struct.unpack_from(f"{_ORDER}I", first.ljust(256, b"\0"), 16 + 24)[0]
        self.page_bytes = stated if stated in _PAGE_SIZES else _USUAL_PAGE
        for place in (0, self.page_bytes):
            head = self._read(file, place, 256)
            if len(head) < _LAST_AT + 16 or struct.unpack_from(f"{_ORDER}I", head, 16)[0] != _MAGIC:
                self.losses.append(f"the head page at byte {place}")
                continue
            heads.append((_NUMBER.unpack_from(head, _LAST_AT + 8)[0], _TREE_ROOT.unpack_from(head, _MAIN_AT)[0]))
        heads.sort(reverse=True)
        if len(heads) == 2 and heads[0][0] - heads[1][0] > 1:
            self.losses.append(f"perhaps the last commit: the head pages are of commits {heads[1][0]} and {heads[0][0]}")
        return heads

    def _nodes(self, file: BinaryIO, number: int, tree: str, depth: int) -> Iterator[tuple[int, bytes, bytes]]:
        """(flags, key, value) of every node below a page."""
        if number == _NOTHING:
            return
        page = self._page(file, number, tree, depth)
        if page is None:
            return
        _, _, kind, lower, _ = _PAGE.unpack_from(page)
        for place in range(_PAGE.size, lower, 2):
            at = int.from_bytes(page[place : place + 2], sys.byteorder)
            if at < lower or at + _NODE.size > len(page):
                self.losses.append(f"a record in page {number} of {tree}")
                continue
            low, high, flags, key_size = _NODE.unpack_from(page, at)
            if kind & _BRANCH:
                yield from self._nodes(file, low | high << 16 | flags << 32, tree, depth + 1)
                continue
            key = page[at + _NODE.size : at + _NODE.size + key_size]
            value = self._value(file, page, at + _NODE.size + key_size, low | high << 16, flags)
            if not 0 < len(key) == key_size <= 511 or value is None:
                self.losses.append(f"a record in page {number} of {tree}")
            else:
                yield flags, key, value

    def _page(self, file: BinaryIO, number: int, tree: str, depth: int) -> bytes | None:
        page = self._read(file, number * self.page_bytes, self.page_bytes) if number not in self._seen and depth < _DEEPEST else b""
        self._seen.add(number)
        if len(page) == self.page_bytes:
            own, _, kind, lower, upper = _PAGE.unpack_from(page)
            if own == number and kind in (_BRANCH, _LEAF) and _PAGE.size <= lower <= upper <= len(page):
                return page
        self.losses.append(f"page {number} of {tree}")
        return None

    def _value(self, file: BinaryIO, page: bytes, at: int, size: int, flags: int) -> bytes | None:
        if not flags & _BIG:
            value = page[at : at + size]
            return value if len(value) == size else None
        if at + _NUMBER.size > len(page):
            return None
        number = _NUMBER.unpack_from(page, at)[0]
        head = self._read(file, number * self.page_bytes, _PAGE.size)
        if len(head) < _PAGE.size or _PAGE.unpack_from(head)[0] != number or not _PAGE.unpack_from(head)[2] & _OVERFLOW:
            return None
        value = self._read(file, number * self.page_bytes + _PAGE.size, size)
        return value if len(value) == size else None

    def _read(self, file: BinaryIO, place: int, size: int) -> bytes:
        end = os.fstat(file.fileno()).st_size
        if place >= end:
            return b""
        file.seek(place)
        return file.read(min(size, end - place))

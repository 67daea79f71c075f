"""Nodes: where a large value lies, as its node in a leaf page tells, so that the value itself is not touched.

LMDB's binding reads a byte of every page of a value that it looks up: of a segment that is looked into here and there, that is much of
the cost, and on a cold disk the whole file. What has to be known of the map is taken from the binding's own answer, once; a node that
looks otherwise is left to the binding.
"""

import ctypes
import struct
import sys
from typing import Any, Final

import pyarrow as pa

from mlstore.storage.mapped_value import MappedValue, mapped_value

# Of a node: the size of its value in two halves, flags, the size of its key; then the key, then the value, or the page where it begins.
_HEAD: Final = struct.Struct("<HHHH" if sys.byteorder == "little" else ">HHHH")
_PAGE: Final = struct.Struct("=Q")
_HAS_OWN_PAGES: Final = 1


class Nodes:
    """The leaf pages of one mapping."""

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        # Where the value of page 0 would lie; 0: not known yet, None: the nodes of this file are not as they should be.
        self._base: int | None = 0

    def view(self, transaction: Any, handle: Any, key: bytes) -> MappedValue | None:
        """Where the value of a key lies; the transaction is one whose values are memory of the map."""
        cursor = transaction.cursor(handle)
        if not cursor.set_key(key):
            return None
        if self._base is None:
            return mapped_value(cursor.value())
        told = _read(cursor.key(), len(key))
        if told is None:
            return mapped_value(cursor.value())
        page, size = told
        if self._base:
            return MappedValue(self._base + page * self._page_size, size)
        found = mapped_value(cursor.value())
        if found is not None:
            base = found.address - page * self._page_size
            is_as_told = found.size == size and 0 < base % self._page_size < 64
            self._base = base if is_as_told else None
        return found


def _read(key: memoryview, size: int) -> tuple[int, int] | None:
    """(page, size of the value) of the node that a key lies in; None: the value is in the node, too."""
    address: int = pa.py_buffer(key).address
    first, second, flags, key_size = _HEAD.unpack(ctypes.string_at(address - _HEAD.size, _HEAD.size))
    if not flags & _HAS_OWN_PAGES or key_size != size:
        return None
    low, high = (first, second) if sys.byteorder == "little" else (second, first)
    return _PAGE.unpack(ctypes.string_at(address + key_size, _PAGE.size))[0], low | high << 16

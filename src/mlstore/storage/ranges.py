"""Iterators over a range of keys of one cursor, without a step of Python for each item.

Both compare whole items with a tuple of one: (stop,) > (key, value) holds exactly when stop > key, and
(start,) <= (key, value) exactly when start <= key.
"""

from collections.abc import Iterator
from itertools import takewhile
from typing import Any


def iterate_forward(cursor: Any, start: bytes, stop: bytes | None, *, keys_only: bool) -> Iterator[Any]:
    """Items (or keys) with start <= key < stop, rising."""
    if not cursor.set_range(start):
        return iter(())
    found: Iterator[Any] = cursor.iternext(values=not keys_only)
    if stop is None:
        return found
    return takewhile(stop.__gt__ if keys_only else (stop,).__gt__, found)


def iterate_backward(cursor: Any, start: bytes, stop: bytes | None, *, keys_only: bool) -> Iterator[Any]:
    """Items (or keys) with start <= key < stop, falling."""
    is_there = cursor.prev() if stop is not None and cursor.set_range(stop) else cursor.last()
    if not is_there:
        return iter(())
    found: Iterator[Any] = cursor.iterprev(values=not keys_only)
    if not start:
        return found
    return takewhile(start.__le__ if keys_only else (start,).__le__, found)

"""Plain-Python twins of the key and sort kernels: slow, short, and plainly right."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from itertools import accumulate

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

Scalar = int | bool | str | bytes | datetime.date | datetime.datetime


def comparable(value: Scalar) -> int | bytes:
    """What a key's order is an order of: integers, and text by its bytes."""
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(value, datetime.date):
        return value.toordinal() - EPOCH.toordinal()
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else int(value)


def naive_encode(values: Sequence[Scalar], *, unsigned: Sequence[bool] = ()) -> bytes:
    """One key as bytes; `unsigned` tells which columns are uint64. Timestamps are of microseconds."""
    if not values:
        return bytes([128]) + bytes(7)
    encoded = bytearray()
    for i, value in enumerate(map(comparable, values)):
        if isinstance(value, int):
            flipped = value if i < len(unsigned) and unsigned[i] else value + 2**63
            encoded += bytes(flipped >> shift & 255 for shift in range(56, -1, -8))
            continue
        for byte in value:
            encoded += bytes([byte]) if byte else b"\0\1"
        encoded += b"\0\0"
    return bytes(encoded)


def naive_factorize(rows: Sequence[Sequence[Scalar | None]]) -> tuple[list[tuple[Scalar, ...]], list[int]]:
    """(the distinct rows without a null, in order; each row's place among them, or -1)."""
    whole = [tuple(value for value in row if value is not None) for row in rows]
    by_order = {tuple(map(comparable, kept)): kept for row, kept in zip(rows, whole, strict=True) if len(kept) == len(row)}
    place = {key: i for i, key in enumerate(sorted(by_order))}
    codes = [place[tuple(map(comparable, kept))] if len(kept) == len(row) else -1 for row, kept in zip(rows, whole, strict=True)]
    return [by_order[key] for key in place], codes


def naive_order(codes: Sequence[int], n_groups: int, time: Sequence[int], created: Sequence[int] | None) -> tuple[list[int], list[int]]:
    """(rows by (code, time, created, position) without those of code -1; where each group begins)."""
    known = created if created is not None else [0] * len(codes)
    order = sorted((i for i in range(len(codes)) if codes[i] >= 0), key=lambda i: (codes[i], time[i], known[i], i))
    return order, list(accumulate((sum(code == group for code in codes) for group in range(n_groups)), initial=0))


def naive_search(keys: Sequence[bytes], needles: Sequence[bytes]) -> list[int]:
    """Of each needle, its position among the keys or -1."""
    return [keys.index(needle) if needle in keys else -1 for needle in needles]

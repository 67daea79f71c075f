"""Plain-Python twins of the kernels that look at bytes of a file before anything is made of them."""

from __future__ import annotations

from collections.abc import Sequence

DEEPEST = 64
FIXED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
TEXTS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
ITEMS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def naive_is_packed(data: bytes) -> bool:
    """Whether the bytes are one value of msgpack, none missing and none left over, no deeper than 64, without extension types."""
    try:
        return _end(data, 0, 1) == len(data)
    except (IndexError, ValueError):
        return False


def _end(data: bytes, place: int, depth: int) -> int:
    code, place = data[place], place + 1
    if code <= 0x7F or code >= 0xE0 or code in (0xC0, 0xC2, 0xC3):
        return place
    if 0xA0 <= code <= 0xBF:
        return _within(data, place + (code & 0x1F))
    if code in FIXED:
        return _within(data, place + FIXED[code])
    if code in TEXTS:
        width = TEXTS[code]
        return _within(data, _within(data, place + width) + int.from_bytes(data[place : place + width], "big"))
    if 0x80 <= code <= 0x9F:
        items = 2 * (code & 0x0F) if code <= 0x8F else code & 0x0F
    elif code in ITEMS:
        width, each = ITEMS[code]
        items, place = int.from_bytes(data[place : place + width], "big") * each, _within(data, place + width)
    else:
        raise ValueError(code)
    if items > len(data) - place or (items and depth == DEEPEST):
        raise ValueError(items)
    for _ in range(items):
        place = _end(data, place, depth + 1)
    return place


def _within(data: bytes, place: int) -> int:
    if place > len(data):
        raise IndexError(place)
    return place


def naive_are_offsets(offsets: Sequence[int], end: int) -> bool:
    """Whether there is a first one, none lies below 0 or the one before it, and the last not behind the end."""
    return bool(offsets) and offsets[0] >= 0 and list(offsets) == sorted(offsets) and offsets[-1] <= end

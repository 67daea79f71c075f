"""Plain-Python twins of the gather kernels. Pick i takes row[i] of sources[source[i]] to slot[i]; source -1 takes nothing there."""

from __future__ import annotations

from collections.abc import Sequence

Ints = Sequence[int]


def naive_gather(sources: Sequence[bytes | None], width: int, source: Ints, row: Ints, slot: Ints, answer: bytes) -> bytes:
    """`answer` with the picked values in their slots; zeros where nothing is picked, or from None."""
    filled = bytearray(answer)
    for place, taken, put in zip(source, row, slot, strict=True):
        values = sources[place] if place >= 0 else None
        filled[put * width : (put + 1) * width] = bytes(width) if values is None else values[taken * width : (taken + 1) * width]
    return bytes(filled)


def naive_bits(sources: Sequence[Sequence[bool] | None], source: Ints, row: Ints, slot: Ints, answer: bytes) -> bytes:
    """`answer` with 1 or 0 for the picked bits; every bit of a source that is None is 1, and 0 where nothing is picked."""
    filled = bytearray(answer)
    for place, taken, put in zip(source, row, slot, strict=True):
        bits = sources[place] if place >= 0 else None
        filled[put] = place >= 0 and (bits is None or bits[taken])
    return bytes(filled)


def naive_texts(sources: Sequence[Sequence[bytes] | None], source: Ints, row: Ints, slot: Ints, slots: int) -> list[bytes]:
    """The picked text of each slot; b"" where none was picked, or from None."""
    filled = [b""] * slots
    for place, taken, put in zip(source, row, slot, strict=True):
        texts = sources[place] if place >= 0 else None
        filled[put] = b"" if texts is None else texts[taken]
    return filled

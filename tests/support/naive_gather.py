"""Plain-Python twins of the gather kernels."""

from __future__ import annotations

from collections.abc import Sequence


def naive_gather(source: bytes, width: int, rows: Sequence[int], slots: Sequence[int], answer: bytes) -> bytes:
    """`answer` with the value of rows[i] in place slots[i]; the last of equal slots stays."""
    filled = bytearray(answer)
    for row, slot in zip(rows, slots, strict=True):
        filled[slot * width : (slot + 1) * width] = source[row * width : (row + 1) * width]
    return bytes(filled)


def naive_bits(bits: Sequence[bool], rows: Sequence[int], slots: Sequence[int], answer: bytes) -> bytes:
    """`answer` with 1 or 0 for bits[rows[i]] in place slots[i]."""
    filled = bytearray(answer)
    for row, slot in zip(rows, slots, strict=True):
        filled[slot] = bits[row]
    return bytes(filled)

"""Gather: copy chosen values of several sources to chosen slots of the answer.

Pick i takes row[i] of the source at address sources[source[i]] to slot[i]; source -1 is a pick of nothing. Sources, rows and slots must be
in range, and what lies at the addresses alive: callers made them.
"""

import numpy as np
from numpy.typing import NDArray

Addresses = NDArray[np.uintp]
Bytes = NDArray[np.uint8]
Int32 = NDArray[np.int32]
UInt32 = NDArray[np.uint32]

def count_winners(source: Int32, slot: UInt32, wins: NDArray[np.int64], found: Bytes) -> None:
    """Count in wins, zeros before, how many asks each source has won (source -1: none has), and mark their slots in found."""

def take_fixed(values: Bytes, width: int, places: UInt32, answer: Bytes) -> None:
    """answer[i] = values[places[i]], values of `width` bytes."""

def take_chunked(sources: list[Bytes], starts: NDArray[np.int64], width: int, places: UInt32, answer: Bytes) -> None:
    """answer[i] = the value at row places[i] of a column in chunks, values of `width` bytes.

    Chunk c has the rows from starts[c] up to starts[c + 1]; the first begins at 0. Meant for chunks of thousands of rows.
    """

def gather_fixed(sources: Addresses, width: int, source: Int32, row: UInt32, slot: UInt32, answer: Bytes) -> None:
    """answer[slot[i]] = the value of pick i, of `width` bytes; zeros where there is none, or its source has address 0."""

def gather_bits(bitmaps: Addresses, offset: NDArray[np.int64], source: Int32, row: UInt32, slot: UInt32, answer: Bytes) -> None:
    """answer[slot[i]] = the bit of pick i, as a byte 0 or 1; 1 where the bitmap has address 0, and 0 where there is no pick."""

def measure_texts(offsets: Addresses, source: Int32, row: UInt32, slot: UInt32, answer_offsets: Int32) -> int:
    """Lay out the picked texts in answer_offsets, zeros before. Bytes in all; beyond 31 bits the offsets mean nothing."""

def write_texts(
    offsets: Addresses,
    texts: Addresses,
    source: Int32,
    row: UInt32,
    slot: UInt32,
    answer_offsets: Int32,
    answer: Bytes,
) -> None:
    """Copy the picked texts to where measure_texts laid them."""

"""Gather: copy chosen values of several sources to chosen slots of the answer.

Pick i takes row[i] of sources[source[i]] to slot[i]. Sources, rows and slots must be in range: callers made them.
"""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Int32 = NDArray[np.int32]
UInt32 = NDArray[np.uint32]

def pick_winners(best_source: Int32, best_row: UInt32, ask_slot: UInt32, source: Int32, row: UInt32, slot: UInt32, found: Bytes) -> int:
    """Keep the asks that have a winner (best_source >= 0), and mark their slots in found. How many."""

def take_fixed(values: Bytes, width: int, places: UInt32, answer: Bytes) -> None:
    """answer[i] = values[places[i]], values of `width` bytes."""

def take_chunked(sources: list[Bytes], starts: NDArray[np.int64], width: int, places: UInt32, answer: Bytes) -> None:
    """answer[i] = the value at row places[i] of a column in chunks, values of `width` bytes.

    Chunk c has the rows from starts[c] up to starts[c + 1]; the first begins at 0. Meant for chunks of thousands of rows.
    """

def gather_fixed(sources: list[Bytes | None], width: int, source: Int32, row: UInt32, slot: UInt32, answer: Bytes) -> None:
    """answer[slot[i]] = sources[source[i]][row[i]], values of `width` bytes; left as it is where the source is None."""

def gather_bits(bitmaps: list[Bytes | None], offset: NDArray[np.int64], source: Int32, row: UInt32, slot: UInt32, answer: Bytes) -> None:
    """answer[slot[i]] = bit row[i] of bitmaps[source[i]], as a byte 0 or 1; 1 where the bitmap is None."""

def measure_texts(offsets: list[Bytes | None], source: Int32, row: UInt32, slot: UInt32, answer_offsets: Int32) -> int:
    """Lay out the picked texts in answer_offsets, zeros before. Bytes in all; beyond 31 bits the offsets mean nothing."""

def write_texts(
    offsets: list[Bytes | None],
    texts: list[Bytes | None],
    source: Int32,
    row: UInt32,
    slot: UInt32,
    answer_offsets: Int32,
    answer: Bytes,
) -> None:
    """Copy the picked texts to where measure_texts laid them."""

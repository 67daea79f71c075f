"""Texts: runs of bytes laid end to end, numbered by value with a hash table, and laid out as numbers that sort as they do.

Text i of (offsets, data) is data[offsets[i]:offsets[i + 1]]. Offsets must never fall.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

def number_texts(offsets: Ints, data: Bytes, valid: Bytes, seed: int, numbers: NDArray[np.int32], firsts: Ints) -> int:
    """Number distinct texts in the order they are met, -1 where valid is 0; firsts: where each is first met. Their count.

    Two texts get one number only if all their bytes are equal, whatever their hashes.
    """

def find_texts(
    known_offsets: Ints, known_data: Bytes, offsets: Ints, data: Bytes, valid: Bytes, seed: int, numbers: NDArray[np.int32]
) -> None:
    """numbers[i]: the place of text i among the known ones, which are distinct; -1 where valid is 0 and where it is none of them."""

def lay_words(offsets: Ints, data: Bytes, depth: int, rows: NDArray[np.uint32], words: NDArray[np.uint64]) -> None:
    """words[i]: 8 bytes of text rows[i] from `depth` on, big-endian; zeros behind its end."""

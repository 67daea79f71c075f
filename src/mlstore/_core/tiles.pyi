"""Tiles: the states of a key's events in stretches of time of a level's width, aligned to the epoch, in records of 64-bit words.

A measure is (kind, mask, values, counted): how the values of a column are read, what its state keeps of them, their 64-bit words (the bits of
doubles; none for kind "rows") and uint8 that is 0 for events to pass over, or empty. A record holds the states of all measures, side by side; the
words of a state are: count | sum (floats 1 word, integers 2: low and high of 128 bits) | mean, m2 | m3, m4 | least | greatest.
Least and greatest are ordered words: those of doubles are bits ^ ((bits >> 63) & (2^63 - 1)), those of uint64 have the sign bit flipped; NaN
is -2^63 as least and 2^63 - 1 as greatest. Over no values: 0 | -0.0, or 0 | 0.0, 0.0 | 0.0, 0.0 | 2^63 - 1 | -2^63.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Measure = tuple[int, int, Int64, NDArray[np.uint8]]

KINDS: dict[str, int]
ASKED: dict[str, int]

def build_tiles(event_offsets: Int64, time: Int64, measures: Sequence[Measure], widths: Int64) -> tuple[Int64, Int64, Int64]:
    """The tiles of all keys that hold an event, level after level: offsets [levels, keys + 1], starts [tiles], records [tiles, words].

    Events ascend within a key; each width is a multiple of the one before. A tile that begins before the least tick starts there.
    """

def add_to_record(measures: Sequence[Measure], begin: int, end: int, record: Int64) -> None:
    """Add the events [begin, end), which come after all that the record holds. Measures have values up to `end`."""

def merge_records(measures: Sequence[Measure], records: Int64, record: Int64) -> None:
    """The record of a tile from those of its children, in order; of none: nothing. What values the measures have does not matter."""

def count_words(kind: int, mask: int) -> int:
    """Words of the state of one column."""

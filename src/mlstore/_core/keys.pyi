"""Keys: bytes of variable length, laid end to end, escaped so that their order is the order of the values.

Item i of (offsets, data) is data[offsets[i]:offsets[i + 1]]. A `measure_` kernel sizes what its `write_` twin fills; call them in that
order with the same arguments. Offsets must never fall.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

def measure_escaped(offsets: Ints, data: Bytes, escaped_offsets: Ints) -> None:
    """Fill escaped_offsets: where each text begins once 00 is written as 00 01 and its end as 00 00."""

def write_escaped(offsets: Ints, data: Bytes, escaped: Bytes) -> None:
    """Fill escaped with the texts, escaped and closed."""

def measure_taken(offsets: Ints, data: Bytes, indices: Ints, lengths: Ints) -> None:
    """Add the length of each chosen item to lengths. IndexError if an index is out of range."""

def write_taken(offsets: Ints, data: Bytes, indices: Ints, cursors: Ints, answer: Bytes) -> None:
    """Copy each chosen item to answer at its cursor, and move the cursor behind it."""

def read_ints(data: Bytes, ends: Ints, cursors: Ints, values: Ints) -> int:
    """Decode the integer at each cursor, and move the cursor behind it. The first key too short to hold it, or -1."""

def measure_unescaped(data: Bytes, ends: Ints, cursors: Ints, lengths: Ints) -> int:
    """Fill lengths: of the text at each cursor, once unescaped. The first key whose text is badly escaped or not closed, or -1."""

def write_unescaped(data: Bytes, cursors: Ints, offsets: Ints, answer: Bytes) -> None:
    """Unescape the text at each cursor to answer[offsets[i]:], and move the cursor behind its terminator."""

def search_ints(keys: Ints, needles: Ints, positions: Ints) -> None:
    """The position of each sorted needle among the sorted unique keys, or -1. Gallops: few needles skip, many merge."""

def search_bytes(offsets: Ints, data: Bytes, needle_offsets: Ints, needle_data: Bytes, positions: Ints) -> None:
    """The position of each sorted needle among the sorted unique keys, or -1. Gallops: few needles skip, many merge."""

def read_list(values: list[Any], ints: Ints) -> bool:
    """Fill ints with values; False if one is no plain Python integer of 64 bits."""

def record_of_int(prefix: bytes, value: object, low: int, high: int) -> bytes | None:
    """One encoded integer behind a prefix; None if it is no plain Python integer from low to high, which are of 64 bits."""

def records_of_ints(prefix: bytes, ints: Ints) -> list[bytes]:
    """The encoded integers behind a prefix, one bytes object each."""

def records_of_bytes(prefix: bytes, offsets: Ints, data: Bytes) -> list[bytes]:
    """The items behind a prefix, one bytes object each."""

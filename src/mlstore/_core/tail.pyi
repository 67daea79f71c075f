"""The tail: rows just written, laid out as its records, and its records taken apart again.

An entry is a row to be written and its key: u16 size of the key, key, row.
Rows end to end are `laid`, cut at `cuts`: row i is laid[cuts[i]:cuts[i + 1]]. A row or record that is too short to be one is corrupt.
"""

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

def read_entries(entries: list[bytes], event_time: Int64, created: Int64, key_sizes: Int64) -> bytes:
    """Fill the clocks of the rows and the sizes of the keys of entries; the keys end to end."""

def find_rows(entries: list[bytes], address: NDArray[np.uintp], size: Int64) -> None:
    """Fill where the row of each entry lies, as long as the entries live, and how many bytes it has."""

def measure_laid(entries: list[bytes], order: NDArray[np.uint32], cuts: Int64) -> None:
    """Fill where each row begins once the rows lie end to end in this order."""

def lay_rows(
    entries: list[bytes], order: NDArray[np.uint32], cuts: Int64, event_time: Int64, created: Int64, first_seq: int, laid: NDArray[np.uint8]
) -> None:
    """Copy the rows end to end, row i of entry order[i] and with seq first_seq + order[i], and with these clocks."""

def tail_items(
    prefix: bytes, keys: list[bytes], offsets: Int64, cuts: Int64, laid: NDArray[np.uint8], deleted_seq: int
) -> list[tuple[bytes, bytes]]:
    """The records of rows that lie by key, oldest first, in the order of the records' keys."""

def lay_alone(
    prefix: bytes, entry: bytes, tells_time: bool, tells_created: bool, now: int, seq: int, deleted_seq: int
) -> tuple[bytes, int, bytes, bytes]:
    """One row with the clocks it has from now on, of which it may tell the first two: (key, event time, record, value)."""

def newer_places(rows: list[bytes], held: list[bytes | None]) -> list[int]:
    """Places of the rows that are not older, by (event time, created, seq), than what is there; None: nothing is."""

def read_records(
    records: list[tuple[bytes, bytes]],
    prefix_size: int,
    offsets: Int64,
    key_sizes: Int64,
    clocks: Int64,
    deleted: Int64,
    address: NDArray[np.uintp],
    size: Int64,
    revision: NDArray[np.uint16],
    places: NDArray[np.uint32],
) -> tuple[int, bytes]:
    """Fill what records say of their rows: by entity key, oldest first. How many keys there are, and the keys end to end."""

"""The tail in plain Python: entries, rows end to end, and records. Written from the format's description, not from the kernel."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

HEAD = struct.Struct("<Hqqq")


@dataclass(frozen=True)
class Told:
    """What one record of a tail says."""

    key: bytes
    event_time: int
    created: int
    seq: int
    deleted: int
    row: bytes


def entry_of(key: bytes, row: bytes) -> bytes:
    return struct.pack("<H", len(key)) + key + row


def with_clocks(row: bytes, event_time: int, created: int, seq: int) -> bytes:
    return row[:2] + struct.pack("<qqq", event_time, created, seq) + row[HEAD.size :]


def clock_bytes(*clocks: int) -> bytes:
    """Newest first: the complement of (value plus 2^63), big-endian."""
    return b"".join((2**64 - 1 - (clock + 2**63)).to_bytes(8, "big") for clock in clocks)


def record_of(prefix: bytes, key: bytes, row: bytes, deleted: int) -> tuple[bytes, bytes]:
    return prefix + key + clock_bytes(*HEAD.unpack_from(row)[1:]), struct.pack("<q", deleted) + row


def read_record(prefix_size: int, record: tuple[bytes, bytes]) -> Told:
    key, value = record
    event_time, created, seq = (2**64 - 1 - int.from_bytes(key[end - 8 : end or None], "big") - 2**63 for end in (-16, -8, 0))
    return Told(key[prefix_size:-24], event_time, created, seq, struct.unpack_from("<q", value)[0], value[8:])


def newer(rows: Sequence[bytes], held: Sequence[bytes | None]) -> list[int]:
    pairs = enumerate(zip(rows, held, strict=True))
    return [place for place, (row, old) in pairs if old is None or HEAD.unpack_from(row)[1:] >= HEAD.unpack_from(old)[1:]]

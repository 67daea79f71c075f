"""Key vectors: many encoded keys in two or three arrays, searched, taken and joined without making a Python object of each.

A vector knows nothing of the types its keys came from, only whether they are plain integers or bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mlstore._core.keys import (
    measure_taken,
    read_list,
    record_of_int,
    records_of_bytes,
    records_of_ints,
    search_bytes,
    search_ints,
    write_taken,
)
from mlstore.errors import CorruptionError
from mlstore.format.packed import CURE

__all__ = [
    "SIGN",
    "Bytes",
    "Ints",
    "KeyKind",
    "Keys",
    "decode_int",
    "decode_ints",
    "encode_int",
    "encode_ints",
    "ints_of_list",
    "record_of_int",
    "sums",
]

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
KeyKind = Literal["int", "bytes"]

SIGN = 1 << 63


def _no_ints() -> Ints:
    return np.empty(0, np.int64)


def _no_bytes() -> Bytes:
    return np.empty(0, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """n keys: either `ints` [n], or `data` cut at `offsets` [n + 1] (which always holds its leading 0)."""

    ints: Ints = field(default_factory=_no_ints)
    offsets: Ints = field(default_factory=_no_ints)
    data: Bytes = field(default_factory=_no_bytes)

    @property
    def kind(self) -> KeyKind:
        return "bytes" if len(self.offsets) else "int"

    def __len__(self) -> int:
        return len(self.offsets) - 1 if len(self.offsets) else len(self.ints)

    def take(self, indices: NDArray[np.integer]) -> Self:
        """The keys at these positions, in this order; a negative one is an IndexError."""
        rows: Ints = np.ascontiguousarray(indices, np.int64)
        if self.kind == "int":
            if len(rows) and rows.min() < 0:
                raise IndexError("an index lies outside of the keys")
            return type(self)(ints=self.ints[rows])
        lengths = np.zeros(len(rows), np.int64)
        measure_taken(self.offsets, self.data, rows, lengths)
        offsets = sums(lengths)
        data = np.empty(offsets[-1], np.uint8)
        write_taken(self.offsets, self.data, rows, offsets[:-1].copy(), data)
        return type(self)(offsets=offsets, data=data)

    def slice(self, start: int, stop: int) -> Self:
        """Keys start to stop; shares the memory of this vector."""
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        if self.kind == "int":
            return type(self)(ints=self.ints[start:stop])
        offsets = self.offsets[start : stop + 1]
        return type(self)(offsets=offsets - offsets[0], data=self.data[offsets[0] : offsets[-1]])

    def encoded_at(self, position: int) -> bytes:
        """One key as the bytes that stand in the file."""
        if not 0 <= position < len(self):
            raise IndexError(f"key {position} of {len(self)}")
        if self.kind == "int":
            return encode_int(int(self.ints[position]))
        return self.data[self.offsets[position] : self.offsets[position + 1]].tobytes()

    def encoded(self) -> list[bytes]:
        """All keys as the bytes that stand in the file."""
        if self.kind == "int":
            eights: list[bytes] = encode_ints(self.ints).view("V8").tolist()
            return eights
        joined, cuts = self.data.tobytes(), self.offsets.tolist()
        return [joined[start:stop] for start, stop in pairwise(cuts)]

    def records(self, prefix: bytes) -> list[bytes]:
        """All keys as the bytes that stand in the file, behind a prefix."""
        return records_of_ints(prefix, self.ints) if self.kind == "int" else records_of_bytes(prefix, self.offsets, self.data)

    @classmethod
    def from_encoded(cls, encoded: Sequence[bytes], kind: KeyKind) -> Self:
        """The inverse of encoded()."""
        return cls.from_joined(b"".join(encoded), np.fromiter(map(len, encoded), np.int64, len(encoded)), kind)

    @classmethod
    def from_joined(cls, joined: bytes, sizes: Ints, kind: KeyKind) -> Self:
        """As from_encoded, of keys that lie end to end."""
        data = np.frombuffer(joined, np.uint8)
        if kind == "bytes":
            return cls(offsets=sums(sizes), data=data)
        if (sizes != 8).any():
            raise CorruptionError("an encoded integer key has 8 bytes", hint=CURE)
        return cls(ints=decode_ints(data))

    @classmethod
    def concat(cls, parts: Sequence["Keys"]) -> Self:
        """One vector after the other; at least one, all of one kind."""
        kinds = {part.kind for part in parts}
        if len(kinds) != 1:
            raise ValueError(f"cannot join key vectors of kinds {sorted(kinds)}")
        if kinds == {"int"}:
            return cls(ints=np.concatenate([part.ints for part in parts]))
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(offsets=sums(lengths), data=np.concatenate([part.data[part.offsets[0] : part.offsets[-1]] for part in parts]))

    def search(self, needles: "Keys") -> Ints:
        """Of each needle, its position here or -1. These keys are sorted and unique, the needles sorted."""
        positions = np.empty(len(needles), np.int64)
        if self.kind != needles.kind:
            raise ValueError(f"cannot search keys of kind {self.kind} for keys of kind {needles.kind}")
        if self.kind == "int":
            search_ints(self.ints, needles.ints, positions)
        else:
            search_bytes(self.offsets, self.data, needles.offsets, needles.data, positions)
        return positions

    def lower_bound(self, encoded: bytes) -> int:
        """The position of the first key that is not below these bytes (a whole key, or any prefix of one); these keys are sorted."""
        if self.kind == "int":
            value = decode_int(encoded[:8].ljust(8, b"\0"))
            return int(np.searchsorted(self.ints, value, side="right" if len(encoded) > 8 else "left"))
        low, high, data, offset = 0, len(self), self.data.data, self.offsets.item
        while low < high:
            middle = (low + high) // 2
            if bytes(data[offset(middle) : offset(middle + 1)]) < encoded:
                low = middle + 1
            else:
                high = middle
        return low


def encode_int(value: int) -> bytes:
    """8 bytes, big-endian, sign bit flipped."""
    return (value + SIGN).to_bytes(8, "big")


def decode_int(encoded: bytes) -> int:
    return int.from_bytes(encoded, "big") - SIGN


def ints_of_list(values: list[Any]) -> Ints | None:
    """The values as integers; None if one of them is no plain integer of 64 bits."""
    ints = np.empty(len(values), np.int64)
    return ints if read_list(values, ints) else None


def encode_ints(values: Ints) -> Bytes:
    """encode_int of each, end to end."""
    flipped = np.ascontiguousarray(values).view(np.uint64) ^ np.uint64(SIGN)
    return flipped.astype(">u8").view(np.uint8)


def decode_ints(encoded: Bytes) -> Ints:
    return (encoded.view(">u8").astype(np.uint64) ^ np.uint64(SIGN)).view(np.int64)


def sums(lengths: Ints) -> Ints:
    """Offsets of items laid end to end: a leading 0, and the running sum of lengths."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets

"""Retained: which versions of a line can still be read, as spans of its sequence. A line without a record keeps them all.

Invariant: spans only ever shrink. A row that no version of any span sees may leave the file when its segment is next rewritten.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mlstore.format.manifest import decode_fields, encode_fields
from mlstore.storage.keyspace import declare
from mlstore.storage.transaction import Reader, Writer

RETAINED = declare("retained")  # line -> [[first, last], ...]: the bounds of the versions that can be read

_LINE = struct.Struct(">I")

Int64 = NDArray[np.int64]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Spans:
    """Bounds [first, last] of versions, both inclusive, ascending and apart."""

    spans: tuple[Span, ...]

    def holds(self, bound: int) -> bool:
        """Whether the version of this bound can be read."""
        place = bisect_left(self.spans, bound, key=lambda span: span[1])
        return place < len(self.spans) and self.spans[place][0] <= bound

    def unseen(self, seq: Int64, deleted: Int64) -> NDArray[np.bool_]:
        """Which rows, written and deleted at these sequences, no version sees."""
        firsts, lasts = (np.array(ends, np.int64) for ends in zip(*self.spans, strict=True)) if self.spans else (np.empty(0, np.int64),) * 2
        place = np.searchsorted(lasts, seq, "left")
        # Behind the last span nothing is seen: a first that no deletion comes after says so.
        return np.append(firsts, np.iinfo(np.int64).max)[place] >= deleted

    def within(self, other: "Spans") -> "Spans":
        """What both hold."""
        shared, mine, theirs = list[Span](), 0, 0
        while mine < len(self.spans) and theirs < len(other.spans):
            one, two = self.spans[mine], other.spans[theirs]
            first, last = max(one[0], two[0]), min(one[1], two[1])
            if first <= last:
                shared.append((first, last))
            mine, theirs = (mine + 1, theirs) if one[1] < two[1] else (mine, theirs + 1)
        return Spans(tuple(shared))


def join_spans(spans: Iterable[Span]) -> Spans:
    """Spans in any order, some of which may overlap, as one."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    assert all(one[1] < two[0] for one, two in pairwise(joined))
    return Spans(tuple(joined))


def load_spans(reader: Reader, line: int) -> Spans | None:
    """The versions of a line that can be read; None: all of them."""
    packed = reader.get(RETAINED, _LINE.pack(line))
    return None if packed is None else Spans(tuple((first, last) for first, last in decode_fields(packed)))


def put_spans(writer: Writer, line: int, spans: Spans) -> None:
    writer.put(RETAINED, _LINE.pack(line), encode_fields(spans.spans))


def drop_spans(writer: Writer, line: int) -> None:
    writer.delete(RETAINED, _LINE.pack(line))

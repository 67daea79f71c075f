"""Batches: the rows of one write in the order of history, with the clocks and the seq they have from now on.

Invariant: by (key, event time, created, seq), which is the order of segments; online row of a key is the last of its rows.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.tail import lay_rows, measure_laid
from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Int64
from mlstore.engine.lazy import lazy
from mlstore.engine.parallel import in_parallel
from mlstore.engine.writing.packing import Packed
from mlstore.format.keys import Keys
from mlstore.format.order import order_by_time, order_rows, take_ints

Mode = Literal["append", "upsert"]
_SEQ_PLACE = np.arange(18, 26)  # where a packed row has its seq

Order = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Sorted:
    """How rows lie in order: first row of each key, clocks (`created` None: all are `same_created`); `order` leads back to the input."""

    offsets: Int64
    time: Int64
    created: Int64 | None
    same_created: int
    order: Order | None

    def codes(self) -> Int64:
        """Position of each row's key."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def order_or_identity(self) -> Order:
        return np.arange(len(self.time), dtype=np.uint32) if self.order is None else self.order

    def created_of_each(self) -> Int64:
        return self.created if self.created is not None else np.full(len(self.time), self.same_created, np.int64)


@dataclass(frozen=True)
class Batch:
    """What one write adds to a table, packed: row i is laid[cuts[i]:cuts[i + 1]], key g has the rows offsets[g] to offsets[g + 1]."""

    relation: Relation
    encoded: list[bytes]  # the distinct keys, sorted
    rows: Sorted
    cuts: Int64
    laid: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.cuts) - 1

    @lazy
    def keys(self) -> Keys:
        """The distinct keys, sorted."""
        return Keys.from_encoded(self.encoded, self.relation.key_spec.kind)

    @lazy
    def columns(self) -> list[pa.Array]:
        """The features of the rows."""
        address = np.uintp(self.laid.ctypes.data) + self.cuts[:-1].astype(np.uintp)
        reader = self.relation.plan.batches(range(len(self.relation.plan.fields)), [name for name, _ in self.relation.plan.fields])
        columns: list[pa.Array] = reader.read(address, np.diff(self.cuts)).columns
        return columns

    def newest(self) -> list[bytes]:
        """The newest row of each key."""
        last = self.rows.offsets[1:]
        return _cut(self.laid, self.cuts[last - 1], self.cuts[last])


def newest_of_run(packed: Packed, rows: Sorted, seq: int) -> tuple[list[bytes], list[bytes]]:
    """The keys, and the newest row of each, of rows that have one seq together."""
    last = rows.offsets[1:] - 1
    order = rows.order_or_identity()[last]
    cuts = np.empty(len(last) + 1, np.int64)
    measure_laid(packed.entries, order, cuts)
    laid = np.empty(int(cuts[-1]), np.uint8)
    lay_rows(packed.entries, order, cuts, rows.time[last], rows.created_of_each()[last], 0, laid)
    laid[cuts[:-1, None] + _SEQ_PLACE] = np.array([seq], "<i8").view(np.uint8)
    return packed.told.keys, _cut(laid, cuts[:-1], cuts[1:])


def _cut(laid: NDArray[np.uint8], starts: Int64, stops: Int64) -> list[bytes]:
    packed = laid.tobytes()
    return [packed[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]


def lay(relation: Relation, packed: Packed, rows: Sorted, first_seq: int) -> Batch:
    """Rows in their order, each with all of its clocks."""
    order, count = rows.order_or_identity(), len(rows.time)
    cuts = np.empty(count + 1, np.int64)
    measure_laid(packed.entries, order, cuts)
    laid = np.empty(int(cuts[-1]), np.uint8)
    lay_rows(packed.entries, order, cuts, rows.time, rows.created_of_each(), first_seq, laid)
    return Batch(relation, packed.told.keys, rows, cuts, laid)


def sort(
    relation: Relation, keys: int, codes: NDArray[np.int32], time: Int64 | None, created: Int64 | None, *, mode: Mode, now_us: int
) -> Sorted:
    """The order of rows by (key, event time, created, place); an upsert keeps of the rows that replace each other only the last."""
    now, count = ticks_of(relation, now_us), len(codes)
    time = np.full(count, now, np.int64) if time is None else time
    if count == 1:
        return Sorted(np.array([0, 1]), time, created, now, None)
    order: Order | None
    if mode == "upsert":
        by_key = replaces_key(relation)
        order, offsets = order_rows(codes, keys, np.zeros_like(time) if by_key else time)
        order, offsets = _keep_last(order, offsets, codes, None if by_key else time)
    elif created is None and count >= limits.DIRECT_ROWS:
        order, time, offsets = order_by_time(codes, keys, time, in_parallel)
        return Sorted(offsets, time, created, now, order)
    else:
        order, offsets = order_rows(codes, keys, time, created)
    if len(order) == count and _is_identity(order):
        order = None
    if order is not None:
        time, created = take_ints(time, order), None if created is None else take_ints(created, order)
    return Sorted(offsets, time, created, now, order)


def replaces_key(relation: Relation) -> bool:
    """Whether a row replaces all rows of its key, not only those of its event time: in a table that has one."""
    return not relation.layout.is_online and bool(relation.layout.keys)


def ticks_of(relation: Relation, now_us: int) -> int:
    """A time of the file as ticks of the relation's clock."""
    return now_us * 1000 if relation.layout.time_unit == "ns" else now_us


def _keep_last(order: Order, offsets: Int64, codes: NDArray[np.int32], time: Int64 | None) -> tuple[Order, Int64]:
    if not len(order):
        return order, offsets
    sorted_codes = codes[order]
    differs = sorted_codes[1:] != sorted_codes[:-1]
    if time is not None:
        differs |= time[order][1:] != time[order][:-1]
    keep = np.append(differs, True)
    kept = np.concatenate([[0], np.cumsum(keep)])
    return order[keep], kept[offsets]


def _is_identity(order: Order) -> bool:
    return bool(order.size == 0 or (order[0] == 0 and (np.diff(order.astype(np.int64)) == 1).all()))

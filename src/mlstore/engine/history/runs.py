"""Runs: sorted rows cut into segments with disjoint key ranges, and written column by column."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlstore._core.gather import take_chunked, take_fixed
from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Int64
from mlstore.format.keys import Keys
from mlstore.format.manifest import SegmentEntry
from mlstore.format.segment import BuiltSegment, Bytes, SegmentBuilder
from mlstore.schema.dtypes import DType

PutExtent = Callable[[int, int, Bytes], None]  # segment, extent, value
CHUNK_ROWS = 1 << 16  # a column in smaller chunks is put together before rows are looked up in it
Adder = Callable[[SegmentBuilder, int, int], None]  # adds a column's rows from the one up to the other to a segment


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in the order of segments. `order` leads from it to the columns, which keep theirs; `created`, `seq`: None if all are same_."""

    keys: Keys
    offsets: Int64
    time: Int64
    created: Int64 | None
    same_created: int
    seq: Int64 | None
    same_seq: int
    order: NDArray[np.uint32] | None
    columns: Sequence[pa.ChunkedArray]

    @property
    def count(self) -> int:
        return len(self.time)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where rows go: the run and its level, the first of the segment numbers set aside, the tier.

    `place`: the place in the run that the rows keep; None: behind what the run has, in the order of the segment numbers.
    """

    run: int
    level: int
    first_segment: int = 0
    tier: str = "hot"
    place: int | None = None


def plan_cuts(rows: int, column_bytes: Sequence[int]) -> list[tuple[int, int]]:
    """Row ranges of the segments of a run: full ones, and a rest."""
    widest = max((-(-size // rows) for size in column_bytes), default=1) if rows else 1
    step = max(1, min(limits.SEGMENT_ROWS, limits.SEGMENT_COLUMN_BYTES // max(1, widest)))
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]


def level_of(rows: int) -> int:
    """The level of a run: the least n for which `TAIL_ROWS * FANOUT**n` rows hold it."""
    level, capacity = 0, limits.TAIL_ROWS
    while capacity < rows:
        level, capacity = level + 1, capacity * limits.FANOUT
    return level


def write_run(
    put: PutExtent,
    relation: Relation,
    rows: Rows,
    placement: Placement,
    cuts: list[tuple[int, int]],
    *,
    workers: Executor | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> list[SegmentEntry]:
    """Write the segments of a run. All are built side by side, column by column: where a column has to be put together first, only one at
    a time is in memory twice.

    With `workers` the segments of a column are built in parallel, and `put` is called by several threads. `tell` hears of the rows
    written, once per column and segment.
    """
    builders = [_start(put, relation, rows, placement, index, cut) for index, cut in enumerate(cuts)]
    for number, field in enumerate(relation.layout.features):
        add_to = _adder(rows.columns[number], rows.order, relation.places[number], field.dtype)

        def add(place: int, add_to: Adder = add_to) -> int:
            start, stop = cuts[place]
            add_to(builders[place], start, stop)
            return stop - start

        for written in (workers.map if workers else map)(add, range(len(cuts))):
            tell(written)
    return [
        _entry(relation, rows, placement, index, cut, builder.finish())
        for index, (builder, cut) in enumerate(zip(builders, cuts, strict=True))
    ]


def _entry(relation: Relation, rows: Rows, placement: Placement, index: int, cut: tuple[int, int], built: BuiltSegment) -> SegmentEntry:
    start, stop = cut
    first, last = _key_span(rows.offsets, start, stop)
    time = _bounds(rows.time, 0, start, stop)
    created = _bounds(rows.created, rows.same_created, start, stop)
    seq = _bounds(rows.seq, rows.same_seq, start, stop)
    return SegmentEntry(
        segment=placement.first_segment + index,
        run=placement.run,
        level=placement.level,
        revision=relation.revision,
        tier=placement.tier,
        rows=stop - start,
        start_row=0,
        min_key=rows.keys.encoded_at(first),
        max_key=rows.keys.encoded_at(last - 1),
        min_time=time[0],
        max_time=time[1],
        min_created=created[0],
        max_created=created[1],
        min_seq=seq[0],
        max_seq=seq[1],
        created=rows.same_created if rows.created is None else None,
        seq=rows.same_seq if rows.seq is None else None,
        extents=built.extents,
        size_bytes=built.size_bytes,
        header_offset=built.header_offset,
        header_size=built.header_size,
        header_checksum=built.header_checksum,
        place=placement.first_segment + index if placement.place is None else placement.place,
    )


def _start(put: PutExtent, relation: Relation, rows: Rows, placement: Placement, index: int, cut: tuple[int, int]) -> SegmentBuilder:
    segment, (start, stop) = placement.first_segment + index, cut
    builder = SegmentBuilder(
        lambda extent, value: put(segment, extent, value), rows=stop - start, revision=relation.revision, tier=placement.tier
    )
    first, last = _key_span(rows.offsets, start, stop)
    builder.add_order(
        rows.keys.slice(first, last),
        np.clip(rows.offsets[first : last + 1] - start, 0, stop - start),
        rows.time[start:stop],
        None if rows.created is None else rows.created[start:stop],
        None if rows.seq is None else rows.seq[start:stop],
    )
    return builder


def _key_span(offsets: Int64, start: int, stop: int) -> tuple[int, int]:
    """Keys [first, last) that have rows in [start, stop)."""
    return int(np.searchsorted(offsets, start, "right")) - 1, int(np.searchsorted(offsets, stop, "left"))


def _bounds(clock: Int64 | None, same: int, start: int, stop: int) -> tuple[int, int]:
    return (same, same) if clock is None else (int(clock[start:stop].min()), int(clock[start:stop].max()))


def _adder(column: pa.ChunkedArray, order: NDArray[np.uint32] | None, number: int, dtype: DType) -> Adder:
    """What adds the rows of a column to segments: straight to where they stay if all values are of one width and none is null."""
    if order is None:
        return lambda builder, start, stop: builder.add_column(number, dtype, _contiguous(column.slice(start, stop - start)))
    if column.null_count or not pa.types.is_primitive(column.type) or pa.types.is_boolean(column.type):
        whole = _contiguous(column)
        return lambda builder, start, stop: builder.add_column(
            number, dtype, pc.take(whole, pa.array(order[start:stop]), boundscheck=False)
        )
    width = column.type.bit_width // 8
    chunks = column.chunks if len(column) >= column.num_chunks * CHUNK_ROWS else [_contiguous(column)]
    values = [np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * width :] for chunk in chunks if len(chunk)]
    starts = np.cumsum([0, *(len(chunk) for chunk in chunks if len(chunk))])
    if len(values) == 1:
        return lambda builder, start, stop: builder.add_filled(
            number, dtype, lambda into: take_fixed(values[0], width, order[start:stop], into)
        )
    return lambda builder, start, stop: builder.add_filled(
        number, dtype, lambda into: take_chunked(values, starts, width, order[start:stop], into)
    )


def _contiguous(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)

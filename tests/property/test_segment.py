"""Segments give back what went into them, whatever the types, slices and tiers, and notice every changed byte."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore.errors import CorruptionError
from mlstore.format import segment as sg
from mlstore.format.columns import assemble_column, flatten_column, value_range
from mlstore.format.keys import Keys, KeySpec, factorize
from mlstore.schema import dtypes as dt
from tests.support.typed_values import INT64, Typed, Values, nullable, scalars, types

SCALARS = scalars(allow_nan=False)
TYPES = types(allow_nan=False)


def present(draw: Callable[..., Any], dtype: dt.DType, values: Values, rows: int) -> pa.Array:
    """`rows` drawn values: an array of their own, a stretch of a longer one, or read back from a stream."""
    before, after = draw(st.sampled_from([(0, 0), (0, 3), (1, 0), (9, 2)]))
    item = draw(st.sampled_from([values, nullable(values), st.none()]))
    count = before + rows + after
    array = pa.array(draw(st.lists(item, min_size=count, max_size=count)), dtype.arrow).slice(before, rows)
    return streamed(array) if draw(st.booleans()) else array


def streamed(array: pa.Array) -> pa.Array:
    """The same array as another process would hand it over: cut out of its buffers in Arrow's own way."""
    sink = pa.BufferOutputStream()
    schema = pa.schema([("", array.type)])
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(pa.record_batch([array], schema=schema))
    return pa.ipc.open_stream(sink.getvalue()).read_all().column(0).combine_chunks()


@st.composite
def arrays(draw: Callable[..., Any], types: st.SearchStrategy[Typed] = TYPES) -> tuple[dt.DType, pa.Array]:
    dtype, values = draw(types)
    return dtype, present(draw, dtype, values, draw(st.integers(0, 12)))


def reassembled(array: pa.Array) -> pa.Array:
    buffers = (None if buffer is None else pa.py_buffer(buffer) for buffer in flatten_column(array))
    return assemble_column(array.type, len(array), buffers)


@given(arrays())
def test_a_column_taken_apart_comes_together_again(case: tuple[dt.DType, pa.Array]) -> None:
    _, array = case

    whole = reassembled(array)

    whole.validate(full=True)
    assert whole.type == array.type
    assert whole.equals(array)


@given(arrays(), st.integers(0, 4))
def test_a_list_that_begins_in_the_middle_of_its_values_is_kept(case: tuple[dt.DType, pa.Array], skipped: int) -> None:
    _, values = case
    cuts = sorted({min(skipped, len(values)), len(values)})
    array = pa.ListArray.from_arrays(pa.array(cuts, pa.int32()), values)

    assert reassembled(array).equals(array)


@given(arrays(st.sampled_from(SCALARS)))
def test_a_zone_map_excludes_no_value_that_is_there(case: tuple[dt.DType, pa.Array]) -> None:
    dtype, array = case

    found = value_range(array, dtype)

    if found is not None:
        low, high = found
        stored = [value for value in as_stored(array).to_pylist() if value is not None]
        assert stored
        assert all(low <= value <= high for value in stored)


def as_stored(array: pa.Array) -> pa.Array:
    """Times as the numbers they are kept as."""
    if pa.types.is_timestamp(array.type):
        return array.view(pa.int64())
    return array.view(pa.int32()) if pa.types.is_date(array.type) else array


@given(st.lists(nullable(st.floats()), max_size=9), st.sampled_from([dt.float32, dt.float64]), st.integers(0, 2))
def test_where_there_is_a_nan_there_is_no_zone_map(values: list[float | None], dtype: dt.DType, skipped: int) -> None:
    with np.errstate(over="ignore"):
        array = pa.array(np.array([math.nan if value is None else value for value in values], dtype.arrow.to_pandas_dtype()))
    array = array.slice(skipped)

    found = value_range(array, dtype)

    rest = array.to_pylist()
    if any(map(math.isnan, rest)) or not rest:
        assert found is None
    else:
        assert found == (min(rest), max(rest))


# ---------------------------------------------------------------- whole segments


@dataclass(frozen=True)
class Segment:
    """What goes into a segment, in order."""

    spec: KeySpec
    keys: Keys
    offsets: np.ndarray[Any, Any]
    time: np.ndarray[Any, Any]
    created: np.ndarray[Any, Any] | None
    seq: np.ndarray[Any, Any] | None
    columns: list[tuple[dt.DType, pa.Array]]


@st.composite
def segments(draw: Callable[..., Any]) -> Segment:
    rows = draw(st.integers(1, 12))
    dtype, values = draw(st.sampled_from([(dt.int64, INT64), (dt.string, st.text(max_size=3))]))
    column = pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), dtype.arrow)
    factored = factorize(KeySpec((dtype,)), [column], rows)
    offsets = np.append(0, np.cumsum(np.bincount(factored.codes, minlength=len(factored.keys))))
    time, created, seq = (np.array(draw(st.lists(INT64, min_size=rows, max_size=rows)), np.int64) for _ in range(3))
    typed = draw(st.lists(TYPES, max_size=3))
    columns = [(dtype, present(draw, dtype, values, rows)) for dtype, values in typed]
    optional = [clock if draw(st.booleans()) else None for clock in (created, seq)]
    return Segment(KeySpec((dtype,)), factored.keys, offsets.astype(np.int64), time, *optional, columns)


@dataclass(frozen=True)
class Stored:
    """The extents of a segment, and what its manifest entry knows."""

    extents: dict[int, bytearray]
    built: sg.BuiltSegment

    def fetch(self, extent: int) -> pa.Buffer:
        return pa.py_buffer(self.extents[extent])

    def packed_header(self) -> bytes:
        start = sg.PAD + self.built.header_offset
        return bytes(self.extents[sg.HEAD][start : start + self.built.header_size])

    def header(self) -> sg.SegmentHeader:
        return sg.decode_header(self.packed_header(), self.built.header_checksum)


def build(segment: Segment, *, tier: str, own_extent_bytes: int = 1 << 16) -> Stored:
    extents: dict[int, bytearray] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sg, "OWN_EXTENT_BYTES", own_extent_bytes)
        builder = sg.SegmentBuilder(
            lambda extent, value: extents.__setitem__(extent, bytearray(value.tobytes())), rows=len(segment.time), revision=3, tier=tier
        )
        builder.add_order(segment.keys, segment.offsets, segment.time, segment.created, segment.seq)
        for number, (dtype, array) in enumerate(segment.columns):
            builder.add_column(number, dtype, array)
        return Stored(extents, builder.finish())


tiers = st.sampled_from(["hot", "cold"])
own_sizes = st.sampled_from([1, 40, 1 << 16])


@given(segments(), tiers, own_sizes)
def test_a_segment_gives_back_what_went_in(segment: Segment, tier: str, own_extent_bytes: int) -> None:
    stored = build(segment, tier=tier, own_extent_bytes=own_extent_bytes)

    header = stored.header()
    assert (header.rows, header.revision) == (len(segment.time), 3)
    assert sg.open_keys(header, stored.fetch).encoded() == segment.keys.encoded()
    assert np.array_equal(sg.open_numbers(header.offsets, stored.fetch), segment.offsets)
    assert np.array_equal(sg.open_numbers(header.time, stored.fetch), segment.time)
    for ref, clock in ((header.created, segment.created), (header.seq, segment.seq)):
        assert (ref is None) == (clock is None)
        assert ref is None or np.array_equal(sg.open_numbers(ref, stored.fetch), clock)
    for number, (dtype, array) in enumerate(segment.columns):
        column = header.columns[number]
        assert (column.number, column.spec, column.null_count) == (number, dtype.spec, array.null_count)
        assert sg.open_column(column, header.rows, stored.fetch).equals(array)


@given(st.data(), st.sampled_from([case for case in SCALARS if case[0].kind == "fixed"]), tiers, own_sizes)
def test_a_column_filled_in_place_is_stored_like_one_that_is_added(data: st.DataObject, case: Typed, tier: str, own: int) -> None:
    dtype, values = case
    column = pa.array(data.draw(st.lists(values, min_size=1, max_size=12)), dtype.arrow)
    raw = np.frombuffer(column.buffers()[1], np.uint8, len(column) * dtype.arrow.bit_width // 8)
    extents: list[dict[int, bytes]] = [{}, {}]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sg, "OWN_EXTENT_BYTES", own)
        added, filled = (
            sg.SegmentBuilder(
                lambda extent, value, into=into: into.update({extent: value.tobytes()}), rows=len(column), revision=1, tier=tier
            )
            for into in extents
        )
        for builder in (added, filled):
            builder.add_order(Keys(ints=np.zeros(1, np.int64)), np.array([0, len(column)]), np.zeros(len(column), np.int64), None, None)
        added.add_column(0, dtype, column)
        filled.add_filled(0, dtype, lambda into: np.copyto(into, raw))
        built = added.finish(), filled.finish()

    assert built[0] == built[1]
    assert extents[0] == extents[1]


@given(segments(), tiers, own_sizes)
def test_every_raw_buffer_is_aligned_and_every_extent_fills_whole_pages(segment: Segment, tier: str, own_extent_bytes: int) -> None:
    stored = build(segment, tier=tier, own_extent_bytes=own_extent_bytes)

    assert sorted(stored.extents) == list(range(stored.built.extents))
    assert stored.built.size_bytes == sum(len(value) + sg.VALUE_OFFSET for value in stored.extents.values())
    assert all((len(value) + sg.VALUE_OFFSET) % sg.PAGE == 0 for value in stored.extents.values())
    for _, ref in sg.buffer_refs(stored.header()):
        assert (sg.VALUE_OFFSET + sg.PAD + ref.offset) % sg.ALIGNMENT == 0


@given(segments(), tiers, own_sizes, st.data())
def test_a_flipped_bit_is_found_in_its_buffer_and_in_no_other(segment: Segment, tier: str, own: int, data: st.DataObject) -> None:
    stored = build(segment, tier=tier, own_extent_bytes=own)
    refs = [ref for _, ref in sg.buffer_refs(stored.header()) if ref.size]
    assert all(sg.is_intact(ref, stored.fetch) for ref in refs)
    hit = data.draw(st.sampled_from(refs))
    place = sg.PAD + hit.offset + data.draw(st.integers(0, hit.size - 1))

    stored.extents[hit.extent][place] ^= 1 << data.draw(st.integers(0, 7))

    assert [ref for ref in refs if not sg.is_intact(ref, stored.fetch)] == [hit]


@given(segments(), st.data())
def test_a_flipped_bit_in_the_header_is_refused(segment: Segment, data: st.DataObject) -> None:
    stored = build(segment, tier="hot")
    packed = bytearray(stored.packed_header())

    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(CorruptionError, match="checksum"):
        sg.decode_header(bytes(packed), stored.built.header_checksum)


@given(segments(), tiers, st.integers(0, 200))
def test_an_extent_cut_short_is_refused(segment: Segment, tier: str, left: int) -> None:
    stored = build(segment, tier=tier)
    header = stored.header()
    del stored.extents[sg.HEAD][left:]

    for _, ref in sg.buffer_refs(header):
        if sg.PAD + ref.offset + ref.size > left:
            assert not sg.is_intact(ref, stored.fetch)
            with pytest.raises(CorruptionError, match="beyond its extent"):
                sg.open_buffer(ref, stored.fetch)


def buffers_of(array: pa.Array) -> Iterator[int]:
    yield from (0 if buffer is None else buffer.size for buffer in flatten_column(array))


@pytest.mark.parametrize(
    ("dtype", "values", "sizes"),
    [
        (dt.int32, [1, 2, 3], [0, 12]),
        (dt.int32, [1, None, 3], [1, 12]),
        (dt.bool_, [True] * 9, [0, 2]),
        (dt.string, ["ab", "", "c"], [0, 16, 3]),
        (dt.vector(2), [[1, 2], [3, 4]], [0, 0, 16]),
        (dt.list_(dt.int8), [[1, 2], None], [1, 12, 0, 2]),
        (dt.decimal(5, 1), [Decimal("1.5")], [0, 16]),
    ],
    ids=str,
)
@pytest.mark.parametrize("around", [0, 500])
def test_no_byte_of_the_rows_around_a_slice_is_kept(dtype: dt.DType, values: list[Any], sizes: list[int], around: int) -> None:
    array = pa.array(values * around + values + values * around, dtype.arrow).slice(len(values) * around, len(values))

    assert list(buffers_of(array)) == sizes

"""Segments: where buffers are placed, what an extent measures, the header as it is written, and what is refused."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import pytest
import xxhash

from mlstore.errors import CorruptionError
from mlstore.format import compression
from mlstore.format.keys import Keys
from mlstore.format.segment import (
    HEAD,
    OWN_EXTENT_BYTES,
    PAD,
    PAGE,
    VALUE_OFFSET,
    BufferRef,
    BuiltSegment,
    ExtentWriter,
    SegmentBuilder,
    SegmentHeader,
    StoredColumn,
    buffer_refs,
    decode_header,
    encode_header,
    extent_bytes,
    is_intact,
    open_buffer,
    open_column,
    open_keys,
    open_numbers,
    plain_address,
)
from mlstore.schema import dtypes as dt

KIB = 1024
REF = BufferRef(extent=2, offset=64, size=10, raw_size=20, codec=1, width=8, checksum=2**64 - 1)


class Extents:
    """The extents of one segment, in memory."""

    def __init__(self) -> None:
        self.values: dict[int, bytes] = {}

    def put(self, extent: int, value: np.ndarray[Any, Any]) -> None:
        assert extent not in self.values
        self.values[extent] = value.tobytes()

    def fetch(self, extent: int) -> pa.Buffer:
        return pa.py_buffer(self.values[extent])

    def header(self, built: BuiltSegment) -> SegmentHeader:
        start = PAD + built.header_offset
        return decode_header(self.values[HEAD][start : start + built.header_size], built.header_checksum)


@pytest.mark.parametrize(
    ("payload", "pages"),
    [
        (0, 1),
        (PAGE - 64, 1),
        (PAGE - 63, 2),
        (16 * PAGE - 64, 16),
        (16 * PAGE - 63, 17),
        (64 * KIB, 17),
        (17 * PAGE - 64, 17),
        (17 * PAGE - 63, 33),
        (2 * KIB * KIB, 513),
        (2 * KIB * KIB + PAGE - 64, 513),
        (2 * KIB * KIB + PAGE - 63, 529),
    ],
)
def test_an_extent_fills_whole_pages_in_few_sizes(payload: int, pages: int) -> None:
    assert extent_bytes(payload) + VALUE_OFFSET == pages * PAGE


def test_an_extent_always_holds_its_payload_and_its_pad() -> None:
    for payload in (*range(0, 70 * KIB, 61), 10**6, 10**7 + 1):
        assert extent_bytes(payload) >= PAD + payload


def test_small_buffers_share_the_head_and_large_ones_have_an_extent_each() -> None:
    extents = Extents()
    writer = ExtentWriter(extents.put)

    places = [writer.place(np.zeros(size, np.uint8), 1) for size in (3, OWN_EXTENT_BYTES, OWN_EXTENT_BYTES - 1, OWN_EXTENT_BYTES + 9, 0)]
    header_place = writer.finish(b"header")

    assert [(ref.extent, ref.offset) for ref in places] == [(HEAD, 0), (1, 0), (HEAD, 64), (2, 0), (HEAD, 64 + OWN_EXTENT_BYTES)]
    assert header_place == (64 + OWN_EXTENT_BYTES, 6)
    assert extents.values[HEAD][PAD + header_place[0] :][:6] == b"header"
    assert writer.extents == len(extents.values) == 3


def test_what_a_value_does_not_use_is_zero() -> None:
    extents = Extents()
    writer = ExtentWriter(extents.put)

    writer.place(np.full(3, 7, np.uint8), 1)
    writer.finish(b"h")

    assert extents.values[HEAD] == bytes(PAD) + b"\7\7\7" + bytes(61) + b"h" + bytes(PAGE - VALUE_OFFSET - PAD - 65)


def test_a_buffer_knows_its_checksum_and_its_raw_size() -> None:
    extents, data = Extents(), np.arange(100, dtype=np.int64).view(np.uint8)
    writer = ExtentWriter(extents.put, tier="cold")

    ref = writer.place(data, 8)
    writer.finish(b"")

    stored = extents.values[HEAD][PAD + ref.offset :][: ref.size]
    assert ref.raw_size == 800 > ref.size
    assert ref.codec != compression.RAW
    assert ref.checksum == xxhash.xxh3_64_intdigest(stored)
    assert open_numbers(ref, extents.fetch).tolist() == list(range(100))


def test_only_values_stored_as_they_are_without_a_null_lie_at_an_address() -> None:
    fetched = pa.py_buffer(bytes(PAD + 64) + np.arange(8, dtype=np.int64).tobytes())
    raw = BufferRef(extent=1, offset=64, size=64, raw_size=64, codec=compression.RAW, width=8, checksum=0)
    packed = raw._replace(codec=compression.ZSTD)

    def address(*buffers: BufferRef | None, size: int = 64) -> int:
        return plain_address(StoredColumn(0, "int64", 0, None, None, buffers), size, lambda _: fetched)

    assert address(None, raw) == fetched.address + PAD + 64
    assert [address(raw, raw), address(None, packed), address(None, raw, size=65)] == [0, 0, 0]
    assert [address(), address(None), address(None, None), address(None, raw, raw)] == [0, 0, 0, 0]


HEADER = SegmentHeader(
    rows=5,
    revision=2,
    keys=(REF, REF),
    offsets=REF,
    time=REF,
    created=None,
    seq=REF,
    columns=(
        StoredColumn(0, "int64", 1, -3, 2**40, (None, REF)),
        StoredColumn(7, "string", 0, None, None, (REF, REF, REF)),
        StoredColumn(9, "float32", 0, -0.5, float("inf"), (None, REF)),
        StoredColumn(10, "uint64", 0, 0, 2**64 - 1, (None, REF)),
    ),
)


def test_a_header_comes_back() -> None:
    packed = encode_header(HEADER)

    assert decode_header(packed, xxhash.xxh3_64_intdigest(packed)) == HEADER


def test_a_header_is_written_as_the_format_says() -> None:
    ref = [2, 64, 10, 20, 1, 8, 2**64 - 1]
    header = SegmentHeader(5, 2, (REF,), REF, REF, None, None, (StoredColumn(7, "string", 1, None, None, (REF, None)),))

    packed = encode_header(header)

    assert packed == msgpack.packb([5, 2, [[ref], ref, ref, None, None], [[7, "string", 1, None, None, [ref, None]]]])


@pytest.mark.parametrize(
    "packed",
    [b"", b"\xc1", b"\x93", msgpack.packb(None), msgpack.packb([5, 2]), msgpack.packb([5, 2, [[], [1], [1], None, None], []])],
)
def test_a_header_that_is_none_is_refused_even_with_the_right_checksum(packed: bytes) -> None:
    with pytest.raises(CorruptionError, match="header cannot be read") as caught:
        decode_header(packed, xxhash.xxh3_64_intdigest(packed))

    assert "backup" in caught.value.hint


def test_a_header_with_another_checksum_is_refused() -> None:
    packed = encode_header(HEADER)

    with pytest.raises(CorruptionError, match="does not match its checksum"):
        decode_header(packed, xxhash.xxh3_64_intdigest(packed) ^ 1)


def build(extents: Extents, **changes: Any) -> BuiltSegment:
    """Three rows of two keys with one column."""
    builder = SegmentBuilder(extents.put, rows=3, revision=1, tier=changes.get("tier", "hot"))
    builder.add_order(changes.get("keys", Keys(ints=np.array([-5, 9]))), np.array([0, 1, 3]), np.array([7, 8, 9]), None, None)
    builder.add_column(4, dt.int16, pa.array([3, None, -1], pa.int16()))
    return builder.finish()


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_constant_clocks_take_no_room(tier: str) -> None:
    extents = Extents()

    header = extents.header(build(extents, tier=tier))

    assert header.created is None
    assert header.seq is None
    assert [name for name, _ in buffer_refs(header)] == ["keys", "time", "offsets", "feature 4", "feature 4"]


def test_keys_of_bytes_have_offsets_and_data() -> None:
    extents, keys = Extents(), Keys.from_encoded([b"a\0\0", b"bc\0\0"], "bytes")

    header = extents.header(build(extents, keys=keys))

    assert len(header.keys) == 2
    assert open_keys(header, extents.fetch).encoded() == keys.encoded()


def test_a_column_keeps_its_number_type_nulls_and_zone_map() -> None:
    extents = Extents()

    header = extents.header(build(extents))

    column = header.columns[0]
    assert (column.number, column.spec, column.null_count, column.low, column.high) == (4, "int16", 1, -1, 3)
    assert open_column(column, 3, extents.fetch).to_pylist() == [3, None, -1]


def test_raw_buffers_are_opened_where_they_lie() -> None:
    extents = Extents()
    header = extents.header(build(extents))
    whole = extents.fetch(HEAD)

    buffer = open_buffer(header.time, lambda _: whole)

    assert buffer.address == whole.address + PAD + header.time.offset


def test_a_buffer_beyond_its_extent_is_neither_intact_nor_opened() -> None:
    short = pa.py_buffer(bytes(PAD + REF.offset + REF.size - 1))

    assert not is_intact(REF, lambda _: short)
    with pytest.raises(CorruptionError, match="beyond its extent"):
        open_buffer(REF, lambda _: short)

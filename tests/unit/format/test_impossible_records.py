"""Records that can be read and say what cannot be: each is refused by name before anything follows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import pytest

from mlstore.errors import CorruptionError
from mlstore.format import compression
from mlstore.format.act import decode_act, seal_act
from mlstore.format.columns import assemble_column
from mlstore.format.manifest import (
    Ref,
    SegmentEntry,
    TableState,
    decode_ancestry,
    decode_commit,
    decode_fields,
    decode_record,
    encode_record,
)
from mlstore.format.packed import FixedFields
from mlstore.format.segment import (
    BufferRef,
    SegmentHeader,
    StoredColumn,
    decode_header,
    encode_header,
    header_checksum,
    open_keys,
    open_numbers,
)
from tests.unit.format.test_manifest import ENTRY, REF, STATE

REF_8 = BufferRef(0, 0, 8, 8, 0, 8, 7)
COLUMN = StoredColumn(0, "int64", 0, 1, 2, (None, REF_8))
HEADER = SegmentHeader(1, 1, (REF_8,), REF_8, REF_8, None, None, (COLUMN,))


@pytest.mark.parametrize(
    "change",
    [
        {"segment": -1},
        {"segment": 2**63},
        {"run": "4"},
        {"level": 64},
        {"revision": 2**16},
        {"tier": "warm"},
        {"rows": -1},
        {"rows": 2**32},
        {"start_row": 101},
        {"start_row": True},
        {"min_key": "text"},
        {"min_time": 2**63},
        {"created": 1.5},
        {"seq": 2**64 - 1},
        {"extents": 0},
        {"extents": 2**16 + 1},
        {"header_offset": -8},
        {"header_size": None},
        {"header_checksum": -1},
        {"place": -1},
    ],
    ids=str,
)
def test_an_entry_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptionError, match="SegmentEntry record says what cannot be"):
        decode_record(SegmentEntry, encode_record(replace(ENTRY, **change)))


@pytest.mark.parametrize(
    "change",
    [
        {"tick": -1},
        {"rows": 2**63},
        {"tail_rows": -1},
        {"min_time": "now"},
        {"merges": ((1, 2),)},
        {"merges": ((0, 1, (2, "x")),)},
        {"merges": 3},
    ],
    ids=str,
)
def test_a_state_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptionError, match="TableState record says what cannot be"):
        decode_record(TableState, encode_record(replace(STATE, **change)))


@pytest.mark.parametrize(
    "change", [{"kind": "leaf"}, {"line": -1}, {"line": 2**32}, {"seq": -1}, {"commit": 7}, {"created_us": 2**62}], ids=str
)
def test_a_ref_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptionError, match="Ref record says what cannot be"):
        decode_record(Ref, encode_record(replace(REF, **change)))


CHANGE = ["append", "weather", 3, 1, 5, 5, b"\1" * 16]
COMMIT = [105, 1, ["cd" * 16], "ops", "nightly", 1_700_000_000_000_001, [CHANGE]]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 0),
        (0, -3),
        (1, 2**32),
        (2, ["xyz"]),
        (2, [7]),
        (3, 9),
        (5, 2**62),
        (5, "now"),
        (6, [[*CHANGE[:3], "1", *CHANGE[4:]]]),
        (6, [[*CHANGE[:2], -1, *CHANGE[3:]]]),
    ],
)
def test_a_commit_that_cannot_be_is_refused(place: int, value: object) -> None:
    assert decode_commit(msgpack.packb(COMMIT))
    with pytest.raises(CorruptionError, match="commit record says what cannot be"):
        decode_commit(msgpack.packb([*COMMIT[:place], value, *COMMIT[place + 1 :]]))


def test_an_act_that_cannot_be_is_refused() -> None:
    _, packed = seal_act(
        seq=3, time_us=5, author="ops", action="snapshot", subject="v1", before="", after="", message="", details={"rows": 1}, previous=""
    )
    fields = msgpack.unpackb(packed)

    for place, value in [(0, 0), (1, 2**62), (2, 7), (5, "xyz"), (8, []), (8, {"rows": None}), (9, "no id")]:
        with pytest.raises(CorruptionError, match="audit record says what cannot be"):
            decode_act(msgpack.packb([*fields[:place], value, *fields[place + 1 :]]))


def test_fields_and_pairs_of_other_types_are_refused() -> None:
    assert decode_ancestry(msgpack.packb([[1, 2], [3, 4, True]])) == (((1, 2), (3, 4)), ((1, 2),))
    for record in ([[1]], [[1, -2]], [[1, 2, False]], [[1, "2"]], [1, 2], {}, [[1, 2**63]]):
        with pytest.raises(CorruptionError):
            decode_ancestry(msgpack.packb(record))
    with pytest.raises(CorruptionError, match="says what cannot be"):
        decode_fields(msgpack.packb([1, "a"]), int, int)
    with pytest.raises(CorruptionError, match="says what cannot be"):
        decode_fields(msgpack.packb({"a": 1}))


def test_a_key_of_another_width_is_refused() -> None:
    with pytest.raises(CorruptionError, match="3 bytes, not 8"):
        FixedFields(">Q").unpack(b"123")


@pytest.mark.parametrize(
    "header",
    [
        replace(HEADER, rows=-1),
        replace(HEADER, revision="1"),
        replace(HEADER, keys=()),
        replace(HEADER, keys=(REF_8,) * 3),
        replace(HEADER, time=REF_8._replace(offset=-1)),
        replace(HEADER, time=REF_8._replace(size=2**40, raw_size=2**40)),
        replace(HEADER, time=REF_8._replace(codec=9)),
        replace(HEADER, time=REF_8._replace(width=0)),
        replace(HEADER, time=REF_8._replace(raw_size=16)),
        replace(HEADER, columns=(COLUMN, COLUMN)),
        replace(HEADER, columns=(COLUMN._replace(number=-1),)),
        replace(HEADER, columns=(COLUMN._replace(spec=7),)),
        replace(HEADER, columns=(COLUMN._replace(low="a"),)),
        replace(HEADER, columns=(COLUMN._replace(low=1, high="z"),)),
    ],
)
def test_a_segment_header_that_cannot_be_is_refused(header: SegmentHeader) -> None:
    packed = encode_header(header)

    with pytest.raises(CorruptionError, match=r"header (says what cannot be|cannot be read)"):
        decode_header(packed, header_checksum(packed))


def test_numbers_and_keys_that_lead_out_of_their_buffer_are_refused() -> None:
    extent = pa.py_buffer(bytes(48) + np.array([0, 9, 3], np.int64).tobytes())
    offsets, data = BufferRef(0, 0, 24, 24, 0, 8, 0), BufferRef(0, 0, 3, 3, 0, 1, 0)

    with pytest.raises(CorruptionError, match="buffer of numbers has 3 bytes"):
        open_numbers(data, lambda _: extent)
    with pytest.raises(CorruptionError, match="offsets of a segment's keys fall"):
        open_keys(replace(HEADER, keys=(offsets, data)), lambda _: extent)


@pytest.mark.parametrize(
    ("dtype", "buffers"),
    [
        (pa.int64(), [None, bytes(7)]),
        (pa.int64(), [b"", bytes(8)]),
        (pa.bool_(), [None, b""]),
        (pa.string(), [None, np.array([0, 5], np.int32).tobytes(), b"abc"]),
        (pa.string(), [None, np.array([-1, 2], np.int32).tobytes(), b"abc"]),
        (pa.string(), [None, bytes(4), b"abc"]),
        (pa.list_(pa.int8()), [None, np.array([0, 9], np.int32).tobytes(), None, bytes(3)]),
        (pa.list_(pa.float32(), 4), [None, None, bytes(12)]),
        (pa.int64(), [None, None]),
    ],
    ids=str,
)
def test_a_column_that_reaches_beyond_its_buffers_is_refused(dtype: pa.DataType, buffers: list[bytes | None]) -> None:
    with pytest.raises(CorruptionError):
        assemble_column(dtype, 1, iter([None if data is None else pa.py_buffer(data) for data in buffers]))


@pytest.mark.parametrize("ancestor", [(2**32, 5), (-1, 5), (1, 2**63), (1, 5, False), (1,), "1"], ids=str)
def test_an_ancestor_that_cannot_be_is_refused(ancestor: Any) -> None:
    with pytest.raises(CorruptionError, match="says what cannot be"):
        decode_ancestry(msgpack.packb([(2**32 - 1, 2**63 - 1), ancestor]))


def test_a_compressed_buffer_of_half_a_value_is_refused() -> None:
    packed = np.frombuffer(bytes(range(64)) * 100, np.uint8)[:6399]

    for codec, width in [(compression.PLANES_ZSTD, 8), (compression.DELTA_ZSTD, 8)]:
        squeezed = compression._pack(packed, 1, compression.ZSTD)
        with pytest.raises(CorruptionError, match="holds no whole values"):
            compression.decompress(memoryview(squeezed), codec, packed.size, width)

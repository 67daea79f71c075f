"""Forgeries: records of a store changed through LMDB itself, so that pages are sound and only what stands in them is not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lmdb
import msgpack
import numpy as np
import xxhash

from mlstore.format.manifest import SegmentEntry, decode_record, encode_record
from mlstore.format.segment import PAD, BufferRef, SegmentHeader, decode_header, encode_header
from tests.support.hostile_bytes import EVIL_NUMBERS, flip, scribble, write_number

PACKED = ("meta", "catalog", "refs", "lines", "reflog", "commits", "audit", "heads", "segments")
EVIL_VALUES: tuple[object, ...] = (
    None, True, -1, 0, 1, 255, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63), (1 << 64) - 1, 1.5, float("nan"),
    "", "main", b"", b"\xff" * 20,
    "x" * 1000, [], {}, [None], [[[[[[]]]]]], [1, 2, 3], msgpack.ExtType(5, b"boo"),
)  # fmt: skip


def forge(path: Path, dice: random.Random) -> str:
    """Change something in the file; what."""
    with lmdb.open(str(path), subdir=False, max_dbs=64, lock=False, map_size=1 << 26, sync=False) as env:
        handles = {}
        with env.begin() as transaction:
            names = [bytes(name) for name, _ in transaction.cursor()]
        for name in names:
            handles[name.decode()] = env.open_db(name)
        with env.begin(write=True) as transaction:
            return dice.choices([forge_record, forge_segment], [3, 2])[0](transaction, handles, dice)


def forge_record(transaction: lmdb.Transaction, handles: dict[str, Any], dice: random.Random) -> str:
    """Another value, another key, or none."""
    filled = [name for name, handle in sorted(handles.items()) if transaction.stat(handle)["entries"]]
    space = dice.choice(filled)
    items = list(transaction.cursor(handles[space]))
    key, value = dice.choice(items)
    way = dice.choice(["drop", "value", "value", "value", "key", "swap"])
    if way == "drop":
        transaction.delete(key, db=handles[space])
    elif way == "key":
        forged = bytearray(key)
        dice.choice([flip, write_number, _shorten, _lengthen])(forged, dice)
        transaction.delete(key, db=handles[space])
        transaction.put(bytes(forged[:511]) or b"\0", value, db=handles[space])
    elif way == "swap":
        transaction.put(key, dice.choice(items)[1], db=handles[space])
    else:
        transaction.put(key, forge_value(space, value, dice), db=handles[space])
    return f"{way} of {space} at {key.hex()}"


def forge_value(space: str, value: bytes, dice: random.Random) -> bytes:
    if space in PACKED and key_is_packed(value) and dice.random() < 0.7:
        return pack_hostile(_change_one(msgpack.unpackb(value, strict_map_key=False), dice), dice)
    forged = bytearray(value or b"\0")
    dice.choice([flip, scribble, write_number, _shorten, _lengthen])(forged, dice)
    return bytes(forged)


def key_is_packed(value: bytes) -> bool:
    try:
        return isinstance(msgpack.unpackb(value, strict_map_key=False), list | dict)
    except (ValueError, msgpack.UnpackException):
        return False


def pack_hostile(record: object, dice: random.Random) -> bytes:
    """As msgpack; now and then such as claims more than it has, or is nested without end."""
    packed = bytes(msgpack.packb(record))
    kind = dice.randrange(20)
    if kind == 0:
        return b"\xdd\xff\xff\xff\xff" + packed
    if kind == 1:
        return b"\x91" * 100_000 + packed
    if kind == 2:
        return b"\xdd\x00\x00\xff\x00" * 500 + packed * 1000
    if kind == 3:
        return packed[: dice.randrange(len(packed))]
    return packed + (b"\0" if kind == 4 else b"")


def forge_segment(transaction: lmdb.Transaction, handles: dict[str, Any], dice: random.Random) -> str:
    """An entry, a header or a buffer that says something else, with checksums that fit it."""
    key, packed = dice.choice(list(transaction.cursor(handles["segments"])))
    entry = decode_record(SegmentEntry, packed)
    head_key = entry.segment.to_bytes(8, "big") + b"\0\0"
    head = bytearray(transaction.get(head_key, db=handles["extents"]))
    start = PAD + entry.header_offset
    header = decode_header(bytes(head[start : start + entry.header_size]), entry.header_checksum)
    way = dice.choice(["entry", "header", "buffer", "buffer"])
    if way == "entry":
        name = dice.choice([name for name in entry.__slots__ if name != "tier"])
        old = getattr(entry, name)
        value = dice.choice(EVIL_NUMBERS) if isinstance(old, int) and dice.random() < 0.8 else dice.choice(EVIL_VALUES)
        if isinstance(value, int) and dice.random() < 0.3 and isinstance(old, int):
            value = old + dice.choice([-1, 1])
        told = f"{name}={value!r:.40}"
        values = [value if field == name else getattr(entry, field) for field in entry.__slots__]
        transaction.put(key, msgpack.packb(values), db=handles["segments"])
        return f"entry of segment {entry.segment}: {told}"
    if way == "buffer":
        header, told = _forge_buffer(head, header, dice)
    else:
        header, told = _forge_header(header, dice)
    forged = encode_header(header)
    grown = head[:start] + forged + bytes(64)
    transaction.put(head_key, bytes(grown), db=handles["extents"])
    entry = replace(entry, header_size=len(forged), header_checksum=xxhash.xxh3_64_intdigest(forged))
    transaction.put(key, encode_record(entry), db=handles["segments"])
    return f"segment {entry.segment}: {told}"


def _forge_buffer(head: bytearray, header: SegmentHeader, dice: random.Random) -> tuple[SegmentHeader, str]:
    refs = [ref for ref in _all_refs(header) if ref.extent == 0 and ref.size]
    ref = dice.choice(refs)
    start = PAD + ref.offset
    data = head[start : start + ref.size]
    dice.choice([flip, write_number, write_number, scribble, _shuffle])(data, dice)
    head[start : start + ref.size] = data[: ref.size]
    forged = ref._replace(checksum=xxhash.xxh3_64_intdigest(bytes(data[: ref.size])))
    return _with_ref(header, ref, forged), f"bytes of buffer {ref}"


def _forge_header(header: SegmentHeader, dice: random.Random) -> tuple[SegmentHeader, str]:
    if dice.random() < 0.6:
        ref = dice.choice(_all_refs(header))
        name = dice.choice([name for name in BufferRef._fields if name != "checksum"])
        value: Any = (
            dice.choice(EVIL_NUMBERS) if dice.random() < 0.5 else max(0, getattr(ref, name) + dice.choice([-8, -1, 1, 8, 64, 4096]))
        )
        return _with_ref(header, ref, ref._replace(**{name: value})), f"{name}={value} in {ref}"
    if dice.random() < 0.4 or not header.columns:
        name = dice.choice(["rows", "revision"])
        value = dice.choice(EVIL_NUMBERS) & ((1 << 63) - 1)
        return replace(header, **{name: value}), f"{name}={value}"
    column = dice.choice(header.columns)
    name = dice.choice(["number", "spec", "null_count", "low", "high", "buffers"])
    value = {
        "number": dice.choice(EVIL_NUMBERS),
        "spec": dice.choice(
            ["string", "int64", "vector<float32, 1000000000>", "list<string>", "bool", "map<string, int64>", "", "x" * 50, "list<" * 500]
        ),
        "null_count": dice.choice(EVIL_NUMBERS),
        "buffers": column.buffers[: dice.randrange(len(column.buffers) + 1)] + (None,) * dice.randrange(3),
    }.get(name, dice.choice(EVIL_VALUES[:18]))
    changed = column._replace(**{name: value})
    return replace(header, columns=tuple(changed if other is column else other for other in header.columns)), f"{name}={value!r:.60}"


def _all_refs(header: SegmentHeader) -> list[BufferRef]:
    order = [*header.keys, header.offsets, header.time, header.created, header.seq]
    return [ref for ref in [*order, *(ref for column in header.columns for ref in column.buffers)] if ref is not None]


def _with_ref(header: SegmentHeader, old: BufferRef, new: BufferRef) -> SegmentHeader:
    def put(ref: Any) -> Any:
        return new if ref is old else ref

    return replace(
        header,
        keys=tuple(map(put, header.keys)),
        offsets=put(header.offsets),
        time=put(header.time),
        created=put(header.created),
        seq=put(header.seq),
        columns=tuple(column._replace(buffers=tuple(map(put, column.buffers))) for column in header.columns),
    )


def _change_one(record: Any, dice: random.Random) -> Any:
    """The same with one part of it replaced, left out or doubled."""
    if isinstance(record, list) and record and dice.random() < 0.95:
        place = dice.randrange(len(record))
        way = dice.random()
        middle = [] if way < 0.1 else [record[place]] * 2 if way < 0.2 else [_change_one(record[place], dice)]
        return [*record[:place], *middle, *record[place + 1 :]]
    if isinstance(record, dict) and record and dice.random() < 0.95:
        name = dice.choice(list(record))
        if dice.random() < 0.2:
            return {key: value for key, value in record.items() if key != name}
        return record | {name: _change_one(record[name], dice)}
    return dice.choice(EVIL_VALUES)


def _shorten(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def _lengthen(data: bytearray, dice: random.Random) -> None:
    data += dice.randbytes(dice.choice([1, 8, 100, 10_000]))


def _shuffle(data: bytearray, dice: random.Random) -> None:
    words = np.frombuffer(bytes(data[: len(data) // 8 * 8]), np.uint64)
    data[: len(words) * 8] = np.array(dice.sample(list(words), len(words)), np.uint64).tobytes()


Forgery = Callable[[Path, random.Random], str]

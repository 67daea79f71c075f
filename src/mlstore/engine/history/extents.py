"""Extents: the bytes of segments, each large content once.

An extent that holds what another one holds already is an *alias*: its value is the key of the other, and the other counts it. An extent
whose segment is gone stays, *orphaned*, under its old key until its last alias is gone, so that no address ever moves.
The head of a segment is never shared: where it is, the segment is.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from mlstore.errors import CorruptionError
from mlstore.format.manifest import decode_fields, encode_fields
from mlstore.format.packed import CURE, FixedFields
from mlstore.format.segment import HEAD, Bytes, checksum_of
from mlstore.storage.keyspace import declare
from mlstore.storage.mapped_value import MappedValue
from mlstore.storage.transaction import Reader, Writer

EXTENTS = declare("extents")  # segment | extent -> bytes, or the key of the extent that holds them
SHARES = declare("shares")  # segment | extent -> Share, for each large extent that is no alias
CONTENTS = declare("contents")  # checksum | segment | extent: where a content can be found

KEY = FixedFields(">QH")
_CHECKSUM = FixedFields(">Q")
_SEGMENT = FixedFields(">Q")


@dataclass(frozen=True, slots=True)
class Share:
    """A large extent: the checksum and size of its value, how many aliases it has, and whether its own segment is gone."""

    checksum: int
    size: int
    aliases: int = 0
    is_orphan: bool = False


def put_extent(writer: Writer, segment: int, extent: int, value: Bytes) -> None:
    """Write an extent, or where its bytes are in the file already."""
    key = KEY.pack(segment, extent)
    if extent == HEAD:
        writer.put(EXTENTS, key, memoryview(value))  # type: ignore[arg-type]
        return
    checksum = checksum_of(value)
    for found, _ in writer.scan_prefix(CONTENTS, _CHECKSUM.pack(checksum)):
        holder = found[_CHECKSUM.size :]
        if _holds(writer, holder, value):
            share = _share(writer, holder)
            _put_share(writer, holder, replace(share, aliases=share.aliases + 1))
            writer.put(EXTENTS, key, holder)
            return
    writer.put(EXTENTS, key, memoryview(value))  # type: ignore[arg-type]
    writer.put(CONTENTS, _CHECKSUM.pack(checksum) + key, b"")
    _put_share(writer, key, Share(checksum, value.size))


def view_extent(reader: Reader, segment: int, extent: int) -> MappedValue | None:
    """Where an extent lies in the map."""
    key = KEY.pack(segment, extent)
    place = reader.view(EXTENTS, key)
    if place is None or place.size != KEY.size:
        return place
    holder = reader.get(EXTENTS, key)
    return None if holder is None else reader.view(EXTENTS, holder)


def list_extents(reader: Reader, segment: int) -> list[int]:
    """The numbers of the extents of a segment that is there."""
    keys = reader.scan(EXTENTS, start=_SEGMENT.pack(segment), stop=_SEGMENT.pack(segment + 1), keys_only=True)
    return [KEY.unpack(key)[1] for key, _ in keys]


def stored_segments(reader: Reader) -> set[int]:
    """The segments that have extents in the file, be it orphans."""
    return {KEY.unpack(key)[0] for key, _ in reader.scan(EXTENTS, keys_only=True)}


def is_stored(reader: Reader, segment: int) -> bool:
    """Whether a segment is in the file; orphans of one that is gone do not count."""
    found = reader.scan(EXTENTS, start=KEY.pack(segment, HEAD), stop=KEY.pack(segment, HEAD + 1), keys_only=True)
    return next(found, None) is not None


def drop_extents(writer: Writer, segment: int) -> None:
    """Free the extents of a segment, but for those that others share."""
    prefix = _SEGMENT.pack(segment)
    shares = {key: _decode_share(packed) for key, packed in writer.scan_prefix(SHARES, prefix)}
    for extent in list_extents(writer, segment):
        key = KEY.pack(segment, extent)
        share = shares.get(key)
        if share is not None:
            if share.aliases:
                _put_share(writer, key, replace(share, is_orphan=True))
            else:
                _free(writer, key, share)
            continue
        place = writer.view(EXTENTS, key)
        holder = writer.get(EXTENTS, key) if place is not None and place.size == KEY.size else None
        writer.delete(EXTENTS, key)
        if holder is not None:
            _release(writer, holder)


def shares(reader: Reader) -> Iterator[tuple[int, int, Share]]:
    """(segment, extent, share) of every large extent that holds its own bytes."""
    for key, packed in reader.scan(SHARES):
        yield *KEY.unpack(key), _decode_share(packed)


def find_miscounts(reader: Reader, but: Collection[bytes] = ()) -> list[str]:
    """Where the count of aliases is not what a walk over all extents finds; `but`: keys of those that do not count."""
    counted: dict[bytes, int] = {}
    for key, _ in reader.scan(EXTENTS, keys_only=True):
        place = None if key in but else reader.view(EXTENTS, key)
        if place is not None and place.size == KEY.size:
            holder = reader.get(EXTENTS, key) or b""
            counted[holder] = counted.get(holder, 0) + 1
    told = {KEY.pack(segment, extent): share for segment, extent, share in shares(reader)}
    problems = []
    for key in sorted(counted.keys() | told.keys()):
        segment, extent = KEY.unpack(key)
        share = told.get(key)
        if share is None or share.aliases != counted.get(key, 0):
            said = "no share" if share is None else share.aliases
            problems.append(f"extent {extent} of segment {segment} has {counted.get(key, 0)} aliases, its record says {said}")
        elif share.is_orphan == is_stored(reader, segment) or (share.is_orphan and not share.aliases):
            problems.append(f"extent {extent} of segment {segment} is {'' if share.is_orphan else 'no '}orphan by its record, wrongly")
    return problems


def recount(writer: Writer) -> Iterator[str]:
    """Count the aliases anew by a walk over all extents; an alias of what is gone goes, too, and is told."""
    aliases, holders = Counter[bytes](), list[bytes]()
    for key in [key for key, _ in writer.scan(EXTENTS, keys_only=True)]:
        place = writer.view(EXTENTS, key)
        segment, extent = KEY.unpack(key)
        if place is None or place.size != KEY.size:
            holders += [key] if extent != HEAD else []
            continue
        holder = writer.get(EXTENTS, key)
        if holder is None or writer.view(EXTENTS, holder) is None:
            writer.delete(EXTENTS, key)
            yield f"extent {extent} of segment {segment}: what it shared is gone"
        else:
            aliases[holder] += 1
    writer.delete_range(SHARES)
    writer.delete_range(CONTENTS)
    for key in holders:
        place, segment = writer.view(EXTENTS, key), KEY.unpack(key)[0]
        is_orphan = not is_stored(writer, segment)
        if place is None or (is_orphan and not aliases[key]):
            writer.delete(EXTENTS, key)
            continue
        checksum = checksum_of(np.frombuffer(pa.foreign_buffer(place.address, place.size, base=place), np.uint8))
        writer.put(CONTENTS, _CHECKSUM.pack(checksum) + key, b"")
        _put_share(writer, key, Share(checksum, place.size, aliases[key], is_orphan))


def _release(writer: Writer, holder: bytes) -> None:
    """One alias less."""
    share = _share(writer, holder)
    share = replace(share, aliases=share.aliases - 1)
    if share.is_orphan and not share.aliases:
        _free(writer, holder, share)
    else:
        _put_share(writer, holder, share)


def _free(writer: Writer, key: bytes, share: Share) -> None:
    writer.delete(EXTENTS, key)
    writer.delete(SHARES, key)
    writer.delete(CONTENTS, _CHECKSUM.pack(share.checksum) + key)


def _holds(writer: Writer, holder: bytes, value: Bytes) -> bool:
    # The checksum is one against accidents: only equal bytes are equal.
    place = writer.view(EXTENTS, holder)
    if place is None or place.size != value.size:
        return False
    return bool(pa.foreign_buffer(place.address, place.size, base=place).equals(pa.py_buffer(value)))


def _share(reader: Reader, key: bytes) -> Share:
    packed = reader.get(SHARES, key)
    if packed is None:
        segment, extent = KEY.unpack(key)
        raise CorruptionError(f"extent {extent} of segment {segment} is shared, and nothing says by how many", hint=CURE)
    return _decode_share(packed)


def _decode_share(packed: bytes) -> Share:
    checksum, size, aliases, is_orphan = decode_fields(packed, bytes, int, int, bool)
    return Share(_CHECKSUM.unpack(checksum)[0], size, aliases, is_orphan)


def _put_share(writer: Writer, key: bytes, share: Share) -> None:
    writer.put(SHARES, key, encode_fields([_CHECKSUM.pack(share.checksum), share.size, share.aliases, share.is_orphan]))

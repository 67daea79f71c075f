"""Mirrors: files that are kept equal to another one, and written by nothing else. What says so is one record of the file itself."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mlstore.errors import ReadOnlyError
from mlstore.format.manifest import EPOCH, decode_fields, encode_fields
from mlstore.storage.keyspace import declare
from mlstore.storage.transaction import Reader, Writer

MIRROR = declare("mirror")  # "of" -> where from and when; "left" | extent's key -> empty: dropped by the origin, still leased here

_OF = b"of"


@dataclass(frozen=True, slots=True)
class MirrorOf:
    """What a mirror was last made equal to: the path it came by, and when."""

    origin: str
    time: datetime


def find_mirror(reader: Reader) -> MirrorOf | None:
    """What the file mirrors; None: it is a store of its own."""
    packed = reader.get(MIRROR, _OF)
    if packed is None:
        return None
    origin, time_us = decode_fields(packed)
    return MirrorOf(origin, EPOCH + timedelta(microseconds=time_us))


def put_mirror(writer: Writer, origin: str, time_us: int) -> None:
    writer.put(MIRROR, _OF, encode_fields([origin, time_us]))


def drop_mirror(writer: Writer) -> None:
    writer.delete_range(MIRROR)


def require_no_mirror(reader: Reader, path: str) -> None:
    """Refuse to write to a mirror: what its origin does next would collide with it."""
    mirror = find_mirror(reader)
    if mirror is not None:
        raise ReadOnlyError(
            f"{path} is a mirror of {mirror.origin} and only reads", hint="write there, and pull(); or make it a store of its own: detach()"
        )

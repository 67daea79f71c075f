"""Acts: what is done to the file beside writing rows, each entry chained to the one before by a hash.

Pure. An act holds no data of users: names, ids and counts only.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgpack

from mlstore.errors import CorruptionError
from mlstore.format.manifest import ID_BYTES


@dataclass(frozen=True, slots=True)
class Act:
    """One act: id (hex), sequence, when, who, what was done to what, the commit named before and after, and the act before it."""

    id: str
    seq: int
    time_us: int
    author: str
    action: str
    subject: str
    before: str
    after: str
    message: str
    details: Mapping[str, str | int]
    previous: str


def seal_act(
    *,
    seq: int,
    time_us: int,
    author: str,
    action: str,
    subject: str,
    before: str,
    after: str,
    message: str,
    details: Mapping[str, str | int],
    previous: str,
) -> tuple[Act, bytes]:
    """An act with its id, the blake2b-128 of everything it says and of the id of the act before; and its record."""
    packed: bytes = msgpack.packb([seq, time_us, author, action, subject, before, after, message, dict(sorted(details.items())), previous])
    return decode_act(packed), packed


def decode_act(packed: bytes) -> Act:
    try:
        return Act(hashlib.blake2b(packed, digest_size=ID_BYTES).hexdigest(), *msgpack.unpackb(packed))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptionError(f"an audit record cannot be read: {error}", hint="run verify(), restore a backup") from error

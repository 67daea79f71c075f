"""Acts: what is done to the file beside writing rows, each entry chained to the one before by a hash.

Pure. An act holds no data of users: names, ids and counts only.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgpack

from mlstore.errors import CorruptionError
from mlstore.format.manifest import ID_BYTES, MOST, is_id, is_int64, is_time
from mlstore.format.packed import CURE, unpack


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
        act = Act(hashlib.blake2b(packed, digest_size=ID_BYTES).hexdigest(), *unpack(packed))
    except (ValueError, TypeError) as error:
        raise CorruptionError(f"an audit record cannot be read: {error}", hint=CURE) from error
    if not _is_possible(act):
        raise CorruptionError(f"an audit record says what cannot be: {act!r:.200}", hint=CURE)
    return act


def _is_possible(act: Act) -> bool:
    texts = act.author, act.action, act.subject, act.message
    return (
        type(act.seq) is type(act.time_us) is int
        and 0 < act.seq <= MOST
        and is_time(act.time_us)
        and all(type(text) is str for text in texts)
        and all(named == "" or is_id(named) for named in (act.before, act.after, act.previous))
        and type(act.details) is dict
        and all(type(name) is str and type(value) in (str, int) and is_int64(value) for name, value in act.details.items())
    )

"""From what a program did to a file to what a power cut may leave of it: events in, images out.

Pure, and knows nothing of mlstore. A disk may keep, lose or tear each write that no sync has followed, in any order; a torn
write is kept in some of its sectors and lost in others.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

SECTOR = 512

Fate: TypeAlias = Literal["kept", "lost", "torn"]
FATES: tuple[Fate, ...] = ("lost", "torn", "kept")

_RECORD = struct.Struct("=cB2xIq")  # kind, is durable, size, offset: as disk_shim.c writes it


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes put at a place; a durable write is on the disk when it returns, and says nothing of those before it."""

    offset: int
    data: bytes
    is_durable: bool


@dataclass(frozen=True, slots=True)
class Sync:
    """All writes before this are on the disk."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What the program had promised to somebody at this point."""

    text: str


Event: TypeAlias = Write | Sync | Mark


@dataclass(frozen=True, slots=True)
class Cut:
    """The power fails before event number `place`; `fate` meets the writes that are not on the disk, by the dice of `seed`."""

    place: int
    fate: Fate
    seed: int = 0


def encode_mark(text: str) -> bytes:
    """A record for the log of the shim."""
    packed = text.encode()
    return _RECORD.pack(b"M", 0, len(packed), 0) + packed


def decode_events(log: bytes) -> list[Event]:
    """The events of a log, in order."""
    events: list[Event] = []
    place = 0
    while place < len(log):
        kind, is_durable, size, offset = _RECORD.unpack_from(log, place)
        place += _RECORD.size + size
        data = log[place - size : place]
        events.append(Write(offset, data, bool(is_durable)) if kind == b"W" else Mark(data.decode()) if kind == b"M" else Sync())
    return events


def boundaries(events: Sequence[Event]) -> list[int]:
    """Where the disk makes something durable while other writes are not: before this a cut can do the greatest harm."""
    found = []
    has_pending = False
    for place, event in enumerate(events):
        if has_pending and (isinstance(event, Sync) or (isinstance(event, Write) and event.is_durable)):
            found.append(place)
        has_pending = not isinstance(event, Sync) and (has_pending or (isinstance(event, Write) and not event.is_durable))
    return found


def plan_cuts(events: Sequence[Event], *, rounds: int, anywhere: int, seed: int) -> list[Cut]:
    """Each boundary, in each round with another fate; then `anywhere`, with any fate; then the end, unsynced writes lost."""
    dice = random.Random(seed)
    edges = list(enumerate(boundaries(events)))
    cuts = [Cut(place, FATES[(number + turn) % 3], dice.getrandbits(32)) for turn in range(rounds) for number, place in edges]
    cuts += [Cut(dice.randrange(len(events) + 1), dice.choice(FATES), dice.getrandbits(32)) for _ in range(anywhere)]
    return [*cuts, Cut(len(events), "lost")]


def image(events: Sequence[Event], cut: Cut) -> bytes:
    """What the disk holds after the cut."""
    dice = random.Random(cut.seed)
    past = events[: cut.place]
    last_sync = max((place for place, event in enumerate(past) if isinstance(event, Sync)), default=0)
    disk = bytearray()
    for place, event in enumerate(past):
        if isinstance(event, Write):
            is_safe = place < last_sync or event.is_durable
            _put(disk, _pieces(event, "kept" if is_safe else cut.fate, dice))
    return bytes(disk)


def promised(events: Sequence[Event], cut: Cut) -> list[str]:
    """What the program had promised before the cut."""
    return [event.text for event in events[: cut.place] if isinstance(event, Mark)]


def _pieces(write: Write, fate: Fate, dice: random.Random) -> Iterator[tuple[int, bytes]]:
    """What is left of a write. Among torn writes there are whole and lost ones too."""
    if fate == "torn":
        fate = dice.choice(FATES)
    if fate == "kept":
        yield write.offset, write.data
    elif fate == "torn":
        for offset in range(write.offset // SECTOR * SECTOR, write.offset + len(write.data), SECTOR):
            first, last = max(offset, write.offset), offset + SECTOR
            if dice.random() < 0.5:
                yield first, write.data[first - write.offset : last - write.offset]


def _put(disk: bytearray, pieces: Iterable[tuple[int, bytes]]) -> None:
    for offset, data in pieces:
        disk.extend(bytes(max(0, offset + len(data) - len(disk))))
        disk[offset : offset + len(data)] = data

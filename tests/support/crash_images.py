"""From what a program did to the files of a folder to what a power cut may leave of them: events in, images out.

Pure, and knows nothing of mlstore. A disk may keep, lose or tear each write that no sync of its file has followed, in any order; a torn
write is kept in some of its sectors and lost in others. Of the changes of names that no sync of the folder has followed it keeps the first
few, however many: names are kept in order.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

SECTOR = 512

Fate: TypeAlias = Literal["kept", "lost", "torn"]
FATES: tuple[Fate, ...] = ("lost", "torn", "kept")

_RECORD = struct.Struct("=cB2xIqQ")  # kind, is durable, size, offset, file: as disk_shim.c writes it


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes put at a place of a file; a durable write is on the disk when it returns, and says nothing of those before it."""

    offset: int
    data: bytes
    is_durable: bool
    file: int = 0


@dataclass(frozen=True, slots=True)
class Sync:
    """All writes to the file before this are on the disk."""

    file: int = 0


@dataclass(frozen=True, slots=True)
class Create:
    """A new file under a name."""

    file: int
    name: str


@dataclass(frozen=True, slots=True)
class Rename:
    """Another name for a file, in the place of whatever had it; `is_link`: the old name stays."""

    old: str
    new: str
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class Unlink:
    """A name that is no more."""

    name: str


@dataclass(frozen=True, slots=True)
class SyncFolder:
    """All names are on the disk as they are."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What the program had promised to somebody at this point."""

    text: str


Naming: TypeAlias = Create | Rename | Unlink
Event: TypeAlias = Write | Sync | Naming | SyncFolder | Mark


@dataclass(frozen=True, slots=True)
class Cut:
    """The power fails before event number `place`; `fate` meets what is not on the disk, by the dice of `seed`."""

    place: int
    fate: Fate
    seed: int = 0


def encode_mark(text: str) -> bytes:
    """A record for the log of the shim."""
    packed = text.encode()
    return _RECORD.pack(b"M", 0, len(packed), 0, 0) + packed


def decode_events(log: bytes) -> list[Event]:
    """The events of a log, in order. The number of a file that is gone may be that of another one later, so each gets its own here."""
    events: list[Event] = []
    files: dict[int, int] = {}
    place = 0
    while place < len(log):
        kind, is_durable, size, offset, inode = _RECORD.unpack_from(log, place)
        place += _RECORD.size + size
        data = log[place - size : place]
        if kind == b"C":
            files[inode] = len(events)
        events.append(_decode(kind, data, offset, files.get(inode, 0), is_durable=bool(is_durable)))
    return events


def _decode(kind: bytes, data: bytes, offset: int, file: int, *, is_durable: bool) -> Event:
    if kind == b"W":
        return Write(offset, data, is_durable, file)
    if kind in (b"S", b"D"):
        return Sync(file) if kind == b"S" else SyncFolder()
    if kind == b"M":
        return Mark(data.decode())
    first, second = data.decode().split("\0")[:2]
    return {b"C": Create(file, first), b"U": Unlink(first)}.get(kind, Rename(first, second, is_link=kind == b"L"))


def boundaries(events: Sequence[Event]) -> list[int]:
    """Where names change, or something becomes durable while other things are not: before this a cut can do the greatest harm."""
    found = []
    has_pending = False
    for place, event in enumerate(events):
        is_barrier = isinstance(event, Sync | SyncFolder) or (isinstance(event, Write) and event.is_durable)
        if (has_pending and is_barrier) or isinstance(event, Create | Rename | Unlink):
            found.append(place)
        if not isinstance(event, Mark):
            has_pending = not isinstance(event, Sync | SyncFolder) and (has_pending or not is_barrier)
    return found


def plan_cuts(events: Sequence[Event], *, rounds: int, anywhere: int, seed: int) -> list[Cut]:
    """Each boundary, in each round with another fate; then `anywhere`, with any fate; then the end, unsynced writes lost."""
    dice = random.Random(seed)
    edges = list(enumerate(boundaries(events)))
    cuts = [Cut(place, FATES[(number + turn) % 3], dice.getrandbits(32)) for turn in range(rounds) for number, place in edges]
    cuts += [Cut(dice.randrange(len(events) + 1), dice.choice(FATES), dice.getrandbits(32)) for _ in range(anywhere)]
    return [*cuts, Cut(len(events), "lost")]


def image(events: Sequence[Event], cut: Cut) -> dict[str, bytes]:
    """What the disk holds after the cut: the files by name."""
    dice = random.Random(cut.seed)
    past = events[: cut.place]
    syncs = {event.file: place for place, event in enumerate(past) if isinstance(event, Sync)}
    disks: dict[int, bytearray] = {}
    for place, event in enumerate(past):
        if isinstance(event, Write):
            is_safe = place < syncs.get(event.file, 0) or event.is_durable
            disk = disks.setdefault(event.file, bytearray())
            for offset, data in _pieces(event, "kept" if is_safe else cut.fate, dice):
                disk.extend(bytes(max(0, offset + len(data) - len(disk))))
                disk[offset : offset + len(data)] = data
    return {name: bytes(disks.get(file, b"")) for name, file in _names(past, cut.fate, dice).items()}


def promised(events: Sequence[Event], cut: Cut) -> list[str]:
    """What the program had promised before the cut."""
    return [event.text for event in events[: cut.place] if isinstance(event, Mark)]


def _names(past: Sequence[Event], fate: Fate, dice: random.Random) -> dict[str, int]:
    """The names that are on the disk, and their files."""
    last_sync = max((place for place, event in enumerate(past) if isinstance(event, SyncFolder)), default=0)
    safe = [event for event in past[:last_sync] if isinstance(event, Create | Rename | Unlink)]
    pending = [event for event in past[last_sync:] if isinstance(event, Create | Rename | Unlink)]
    kept = {"kept": len(pending), "lost": 0, "torn": dice.randint(0, len(pending))}[fate]
    names: dict[str, int] = {}
    for event in (*safe, *pending[:kept]):
        match event:
            case Create(file, name):
                names[name] = file
            case Rename(old, new, is_link):
                names[new] = names[old] if is_link else names.pop(old)
            case Unlink(name):
                del names[name]
    return names


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

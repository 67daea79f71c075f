"""Waiting events: those of a write that are in no tree of tiles yet, as bytes, and those of several writes together. Pure.

A write puts events of a thousand keys into a thousand trees; few events per key would cost whole pages each. So they wait, an entry per
write, side by side behind the mark of their view, until there are enough of them. Trees and what waits are one memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

import numpy as np

from mlstore._core.waiting import pick_waiting
from mlstore.engine.history.block import NO_NUMBERS, Int64
from mlstore.engine.windows.tiles import CURE, Flags, Kept, KeptByKey, TilePlan
from mlstore.errors import CorruptionError
from mlstore.format.order import order_rows

_U32 = np.dtype("<u4")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Events that are in no tree yet: of entries first, first + 1, ... the digests; how many events, and at most of one key.

    tick: of the source, for which trees and what waits are right together.
    """

    tick: int
    first: int
    digests: tuple[bytes, ...]
    events: int
    most: int

    def then(self, packed: bytes, kept: KeptByKey) -> "Waiting":
        """With one entry more."""
        most = int(np.diff(kept.offsets).max())
        return Waiting(self.tick, self.first, (*self.digests, digest(packed)), self.events + len(kept.events), self.most + most)


NOTHING = Waiting(0, 0, (), 0, 0)


def digest(packed: bytes) -> bytes:
    """What the mark tells of an entry, so that no other can be taken for it."""
    return blake2b(packed, digest_size=8).digest()


def encode_entry(kept: KeptByKey) -> bytes:
    names, events = b"".join(kept.keys), kept.events
    head = np.array([len(kept.keys), len(events), len(names), len(events.counted)], _U32)
    ends = np.cumsum([len(key) for key in kept.keys]).astype(_U32)
    front = b"".join((head.tobytes(), ends.tobytes(), kept.offsets[1:].astype(_U32).tobytes(), names))
    columns: list[Int64 | Flags] = [events.time, events.created, *(words for words in events.values if words.size), *events.counted]
    return b"".join((front, bytes(-len(front) % 8), *(column.tobytes() for column in columns)))


def decode_entry(plan: TilePlan, packed: bytes) -> KeptByKey:
    """The events of an entry, whose digest is right."""
    keys, count, named, _ = np.frombuffer(packed, _U32, 4).tolist()
    ends = np.frombuffer(packed, _U32, 2 * keys, 16)
    names, at = packed[16 + 8 * keys : 16 + 8 * keys + named], (16 + 8 * keys + named + 7) // 8 * 8
    wide = 2 + sum(plan.has_values)
    words = iter(np.frombuffer(packed, np.int64, wide * count, at).reshape(wide, count))
    flags = np.frombuffer(packed, np.uint8, len(plan.has_values) * count, at + 8 * wide * count).reshape(-1, count)
    cuts = [0, *ends[:keys].tolist()]
    kept = Kept(next(words), next(words), tuple(next(words) if has else NO_NUMBERS for has in plan.has_values), tuple(flags))
    return KeptByKey([names[begin:end] for begin, end in pairwise(cuts)], np.append(0, ends[keys:].astype(np.int64)), kept)


def join(parts: Sequence[KeptByKey]) -> KeptByKey:
    """Events of several writes, in the order of writing, as those of one."""
    if len(parts) == 1:
        return parts[0]
    keys = sorted(set[bytes]().union(*(part.keys for part in parts)))
    places = {key: place for place, key in enumerate(keys)}
    codes = np.concatenate([np.repeat([places[key] for key in part.keys], np.diff(part.offsets)) for part in parts]).astype(np.int32)
    events = Kept(
        np.concatenate([part.events.time for part in parts]),
        np.concatenate([part.events.created for part in parts]),
        tuple(np.concatenate(words) for words in zip(*(part.events.values for part in parts), strict=True)),
        tuple(np.concatenate(flags) for flags in zip(*(part.events.counted for part in parts), strict=True)),
    )
    order, offsets = order_rows(codes, len(keys), events.time, events.created)
    return KeptByKey(keys, offsets, events.take(order))


def pick(plan: TilePlan, entries: Sequence[bytes], key: bytes) -> KeptByKey | None:
    """The events of one key in entries, oldest first; None: there are none."""
    try:
        found = pick_waiting(entries, key, plan.has_values)
    except ValueError as error:
        raise CorruptionError(f"events that wait for the tiles of {plan.relation.label} make no sense: {error}", hint=CURE) from error
    if found is None:
        return None
    is_ordered, time, created, values, counted = found
    kept = Kept(time, created, tuple(values), tuple(counted))
    return KeptByKey([key], np.array([0, len(time)]), kept if is_ordered else kept.take(np.lexsort((created, time))))

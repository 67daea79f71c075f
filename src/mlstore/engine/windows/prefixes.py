"""Prefixes: keys of an entity found among the keys of a source, which are the same, or begin with them.

The bytes of a key begin with the bytes of its first components, so the keys of one entity key lie side by side.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlstore.engine import limits
from mlstore.engine.history.block import Int64
from mlstore.format.keys import Keys, KeySpec, component_ends
from mlstore.format.keyvector import KeyKind, decode_ints, encode_int
from mlstore.storage.keyspace import prefix_end


class Prefixes:
    """Keys of an entity, sorted and unique, to be found among keys of a source."""

    def __init__(self, source: KeySpec, entity: KeySpec, keys: Keys) -> None:
        self._source = source
        self._components = len(entity.dtypes)
        self._keys = keys
        self._is_whole = len(source.dtypes) == self._components
        self._is_all = self._components == 0 and not self._is_whole  # what is global looks at every key

    def bounds(self) -> Keys | None:
        """Keys of the source's kind that a history may prune its blocks by; None: it may not."""
        if self._is_whole or not len(self._keys):
            return self._keys
        if self._is_all:
            return None
        encoded = self._keys.encoded()
        behind = prefix_end(encoded[-1])
        return Keys.from_encoded(encoded if behind is None else [*encoded, behind], "bytes")

    def locate(self, keys: Keys) -> tuple[Int64, Int64]:
        """Of each entity key, where the source's keys that begin with it start and stop among these (sorted and unique)."""
        if self._is_whole:
            positions = keys.search(self._keys)
            return np.maximum(positions, 0), np.where(positions < 0, 0, positions + 1)
        if self._is_all:
            return np.zeros(len(self._keys), np.int64), np.full(len(self._keys), len(keys), np.int64)
        if len(self._keys) <= limits.POINT_KEYS:
            encoded = self._keys.encoded()
            first = [keys.lower_bound(key) for key in encoded]
            last = [len(keys) if (end := prefix_end(key)) is None else keys.lower_bound(end) for key in encoded]
            return np.array(first, np.int64), np.array(last, np.int64)
        groups, starts = group_prefixes(keys, self._source, self._components, self._keys.kind)
        positions = groups.search(self._keys)
        found = np.maximum(positions, 0)
        return starts[found], np.where(positions < 0, starts[found], starts[found + 1])


def group_prefixes(keys: Keys, source: KeySpec, components: int, kind: KeyKind) -> tuple[Keys, Int64]:
    """The distinct beginnings of keys of a source (sorted), and where those of each start; one number more than there are."""
    ends = component_ends(source, keys, components)
    cuts = np.empty(2 * len(keys) + 1, np.int64)
    cuts[0::2], cuts[1::2] = keys.offsets, ends
    whole = pa.Array.from_buffers(pa.large_binary(), 2 * len(keys), [None, pa.py_buffer(cuts), pa.py_buffer(keys.data)])
    begins = whole.take(pa.array(np.arange(0, 2 * len(keys), 2)))
    differs = np.asarray(pc.not_equal(begins.slice(1), begins.slice(0, max(0, len(keys) - 1))))
    first = np.flatnonzero(np.append(np.ones(min(len(keys), 1), np.bool_), differs))
    distinct = Keys(offsets=cuts, data=keys.data).take(2 * first)
    return (Keys(ints=decode_ints(distinct.data)) if kind == "int" else distinct), np.append(first, len(keys))


def first_prefixes(keys: Keys, source: KeySpec, entity: KeySpec, most: int) -> Iterator[bytes]:
    """The first so many entity keys that these keys of a source begin with, as they stand in the file."""
    if len(source.dtypes) == len(entity.dtypes):
        yield from keys.slice(0, most).encoded()
    elif not entity.dtypes:
        yield from [encode_int(0)] if len(keys) else []
    else:
        place = found = 0
        while place < len(keys) and found < most:
            prefix = group_prefixes(keys.slice(place, place + 1), source, len(entity.dtypes), "bytes")[0].encoded_at(0)
            yield prefix
            behind = prefix_end(prefix)
            place, found = len(keys) if behind is None else keys.lower_bound(behind), found + 1

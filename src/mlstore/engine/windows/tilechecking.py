"""Checking tiles: those that are in use must be, byte for byte, what the events make."""

from mlstore.engine.catalog import Relation
from mlstore.engine.session import ReadContext
from mlstore.engine.windows.tilekeeping import kept_events, live_mark, next_keys
from mlstore.engine.windows.tiles import TILES, grow, tile_plan
from mlstore.storage.keyspace import prefix_end

CHUNK_KEYS = 1024


def find_broken_tiles(context: ReadContext, relation: Relation) -> tuple[int, int]:
    """Of a window view: how many tile nodes are in use, and how many of them are missing, too many, or not what the events make."""
    plan = tile_plan(relation)
    mark = None if plan is None else live_mark(context, plan)
    if plan is None or mark is None:
        return 0, 0
    prefix = plan.prefix(context.scope.line)
    looked_at = broken = 0
    low: bytes | None = b""
    while low is not None and (mark.until is None or low < mark.until):
        keys = next_keys(context, plan, low, CHUNK_KEYS)
        if mark.until is not None:
            keys = keys.slice(0, keys.lower_bound(mark.until))
        high = prefix_end(keys.encoded_at(len(keys) - 1)) if len(keys) == CHUNK_KEYS else mark.until
        expected: dict[bytes, bytes] = {}
        for kept in kept_events(context, plan, keys):
            expected.update(grow(plan, prefix, kept, None))
        stop = prefix_end(prefix) if high is None else prefix + high
        found = dict(context.reader.scan(TILES, start=prefix + low, stop=stop))
        looked_at += len(expected)
        broken += len(found.keys() ^ expected.keys()) + sum(found[key] != packed for key, packed in expected.items() if key in found)
        low = high
    return looked_at, broken

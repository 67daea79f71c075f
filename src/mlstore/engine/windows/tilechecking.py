"""Checking tiles: those that are in use must be, once what waits beside them is in, byte for byte what the events make."""

from functools import partial

from mlstore.engine.catalog import Relation
from mlstore.engine.session import ReadContext
from mlstore.engine.windows.marks import Mark, live_mark, load_waiting
from mlstore.engine.windows.tilekeeping import kept_events, next_keys
from mlstore.engine.windows.tiles import TILES, TilePlan, grow, tile_plan
from mlstore.engine.windows.waiting import join
from mlstore.errors import CorruptionError
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
    try:
        grown = _grown(context, plan, mark, prefix)
    except CorruptionError:
        return 0, 1
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
        found |= {name: packed for name, packed in grown.items() if prefix + low <= name and (stop is None or name < stop)}
        looked_at += len(expected)
        broken += len(found.keys() ^ expected.keys()) + sum(found[key] != packed for key, packed in expected.items() if key in found)
        low = high
    return looked_at, broken


def _grown(context: ReadContext, plan: TilePlan, mark: Mark, prefix: bytes) -> dict[bytes, bytes]:
    """The nodes that change once what waits is in."""
    waiting = load_waiting(context.reader, plan, context.scope.line, mark.waiting)
    return dict(grow(plan, prefix, join(waiting), partial(context.reader.get_many, TILES))) if waiting else {}

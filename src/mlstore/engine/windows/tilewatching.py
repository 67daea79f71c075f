"""Watching tiles: whether they may be read, and their nodes as they are once what waits beside them is in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from mlstore.engine import limits
from mlstore.engine.history.offline import STATES, pack_owner
from mlstore.engine.session import ReadContext
from mlstore.engine.windows.marks import MARKS, Mark, live_mark, load_entry
from mlstore.engine.windows.tiles import TILES, TilePlan, grow
from mlstore.engine.windows.waiting import pick
from mlstore.storage.keyspace import Keyspace
from mlstore.storage.transaction import Reader, Writer


class GrownNodes:
    """Nodes as a reader sees them, but for some that it does not see yet."""

    def __init__(self, reader: Reader, nodes: Mapping[bytes, bytes]) -> None:
        self._reader = reader
        self._nodes = nodes

    def get_many(self, space: Keyspace, keys: Sequence[bytes]) -> list[bytes | None]:
        """As a reader's."""
        found = self._reader.get_many(space, keys)
        return [self._nodes.get(key, packed) for key, packed in zip(keys, found, strict=True)]

    def scan(self, space: Keyspace, *, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As a reader's."""
        grown = {key: packed for key, packed in self._nodes.items() if start <= key < stop}
        return iter(sorted((dict(self._reader.scan(space, start=start, stop=stop)) | grown).items()))


@dataclass(frozen=True, slots=True)
class NodesOfKey:
    """The nodes of one key in the file."""

    reader: Reader | GrownNodes
    plan: TilePlan
    prefix: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the file said last, of which line; the mark, if the tiles of all keys may be read; entries that wait; nodes grown by them."""

    packed: tuple[int, bytes | None, bytes | None] = (0, None, None)
    mark: Mark | None = None
    entries: Mapping[tuple[int, bytes], bytes] = field(default_factory=dict)
    grown: dict[bytes, dict[bytes, bytes]] = field(default_factory=dict)


class Watch:
    """Whether the tiles of a view may be read, and its nodes; what the file said last is understood once."""

    def __init__(self, plan: TilePlan) -> None:
        self._plan = plan
        self._seen = _Seen()

    def is_live(self, context: ReadContext) -> bool:
        """Whether all keys have their tiles, as of now, and no event waits beside them."""
        mark = self._look(context).mark
        return mark is not None and not mark.waiting.digests

    def is_right(self, context: ReadContext) -> bool:
        """Whether all keys have their tiles, as of now, in the nodes that `nodes` gives."""
        return self._look(context).mark is not None

    def nodes(self, context: ReadContext, keys: Sequence[bytes | None]) -> Reader | GrownNodes:
        """The nodes of some keys, with the events that wait for them, where `is_right`."""
        seen = self._look(context)
        if seen.mark is None or not seen.mark.waiting.digests:
            return context.reader
        found: dict[bytes, bytes] = {}
        for key in keys:
            if key is not None:
                found |= self._grown(context, seen, key)
        return GrownNodes(context.reader, found) if found else context.reader

    def _grown(self, context: ReadContext, seen: _Seen, key: bytes) -> dict[bytes, bytes]:
        nodes = seen.grown.get(key)
        if nodes is None:
            kept, prefix = pick(self._plan, list(seen.entries.values()), key), self._plan.prefix(context.scope.line)
            nodes = {} if kept is None else dict(grow(self._plan, prefix, kept, partial(context.reader.get_many, TILES)))
            # What a write transaction sees may never be committed, and other trees may then come to have the same mark.
            if not isinstance(context.reader, Writer) and len(seen.grown) < limits.TILE_KEYS:
                seen.grown[key] = nodes
        return nodes

    def _look(self, context: ReadContext) -> _Seen:
        scope, reader, plan, seen = context.scope, context.reader, self._plan, self._seen
        if not scope.is_live or scope.ancestry:
            return _Seen()
        line = scope.line
        packed = line, reader.get(MARKS, plan.prefix(line)), reader.get(STATES, pack_owner(plan.source.relation.table, line))
        if packed != seen.packed or isinstance(reader, Writer):
            mark = live_mark(context, plan)
            mark = mark if mark is not None and mark.until is None else None
            told = () if mark is None else enumerate(mark.waiting.digests, mark.waiting.first)
            entries = {name: seen.entries.get(name) or load_entry(reader, plan, line, *name) for name in told}
            self._seen = seen = _Seen(packed, mark, entries)
        return seen

"""Watching tiles: whether they may be read, and their nodes as they are once what waits beside them is in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from mlstore._core.walks import Walk
from mlstore.engine import limits
from mlstore.engine.history.offline import STATES, decode_state, pack_owner
from mlstore.engine.session import ReadContext
from mlstore.engine.windows.marks import MARKS, Mark, decode_mark, live_mark, load_entry
from mlstore.engine.windows.tiles import PREFIX_BYTES, TILES, KeptByKey, TilePlan, grow
from mlstore.engine.windows.waiting import pick
from mlstore.storage.glance import Guard
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
class Seen:
    """What the file said last, of which line; the mark, if the tiles of all keys may be read; entries that wait; nodes grown by them."""

    packed: tuple[int, bytes | None, bytes | None] = (0, None, None)
    mark: Mark | None = None
    entries: Mapping[tuple[int, bytes], bytes] = field(default_factory=dict)
    grown: dict[bytes, dict[bytes, bytes]] = field(default_factory=dict)  # by what the names of a key's nodes begin with

    @property
    def is_whole(self) -> bool:
        """Whether the trees are right as they stand."""
        return self.mark is not None and not self.mark.waiting.digests


class GrownWalk:
    """A walk that finds some nodes as they will be: right as long as the file says what it said when they were grown."""

    __slots__ = ("_name_of", "_names", "_nodes", "_ranges", "seen", "walk")

    def __init__(self, walk: Walk, nodes: Mapping[bytes, bytes], seen: Seen, name_of: Callable[[bytes], bytes]) -> None:
        self.walk = walk
        self.seen = seen
        self._nodes = nodes
        self._name_of = name_of
        self._names: list[bytes] = []
        self._ranges: list[tuple[bytes, bytes]] = []

    def ranges(self) -> list[tuple[bytes, bytes]]:
        """As of the walk."""
        self._ranges = self.walk.ranges()
        return self._ranges

    def take_ranges(self, found: list[list[bytes]]) -> None:
        """As of the walk, but for the roots that have grown."""
        whole = []
        for (start, stop), roots in zip(self._ranges, found, strict=True):
            grown = {name: packed for name, packed in self._nodes.items() if start <= name < stop}
            named = {self._name_of(packed): packed for packed in roots} if grown else {}
            whole.append([packed for _, packed in sorted((named | grown).items())] if grown else roots)
        self.walk.take_ranges(whole)

    def wanted(self) -> list[bytes]:
        """As of the walk."""
        self._names = self.walk.wanted()
        return self._names

    def take(self, values: list[bytes | None]) -> None:
        """As of the walk, but for the nodes that have grown."""
        nodes = self._nodes
        self.walk.take([nodes.get(name, packed) for name, packed in zip(self._names, values, strict=True)] if nodes else values)


def ends_of(walks: Sequence[Walk | GrownWalk]) -> list[Walk]:
    """What walks have come to."""
    return [walk.walk if isinstance(walk, GrownWalk) else walk for walk in walks]


class Watch:
    """Whether the tiles of a view may be read, and its nodes; what the file said last is understood once."""

    def __init__(self, plan: TilePlan) -> None:
        self._plan = plan
        self._seen = Seen()

    def guards(self, line: int) -> tuple[Guard, Guard]:
        """Where the mark, and the state of the source, stand in the file."""
        return (MARKS, self._plan.prefix(line)), (STATES, pack_owner(self._plan.source.relation.table, line))

    def begin(self, begin: Callable[[list[bytes | None], int], Walk], head: bytes, moment: int) -> Walk | GrownWalk | None:
        """A walk for one key that may have events waiting; None: they have yet to be put into its nodes, which `nodes` does."""
        seen = self._seen
        if seen.mark is None or seen.is_whole:
            return begin([head], moment)
        nodes = seen.grown.get(head)
        if nodes is None and self._pick(seen, head) is None:
            nodes = self._remember(seen, head, {})
        return None if nodes is None else GrownWalk(begin([head], moment), nodes, seen, partial(self._plan.root_name, head))

    def approves(self, mark: bytes | None, state: bytes | None, walk: Walk | GrownWalk) -> bool:
        """Whether, as these are, a walk may be gone: all keys have tiles, which are right with the nodes that the walk has."""
        if isinstance(walk, GrownWalk):
            return walk.seen.packed[1:] == (mark, state)
        seen = self._seen
        if (mark, state) != seen.packed[1:]:
            found = None if mark is None else decode_mark(self._plan, mark)
            if found is None or found.until is not None or found.waiting.digests or found.tick != decode_state(state).tick:
                return False
            self._seen = Seen((seen.packed[0], mark, state), found)
            return True
        return seen.is_whole

    def is_live(self, context: ReadContext) -> bool:
        """Whether all keys have their tiles, as of now, and no event waits beside them."""
        return self._look(context).is_whole

    def is_right(self, context: ReadContext) -> bool:
        """Whether all keys have their tiles, as of now, in the nodes that `nodes` gives."""
        return self._look(context).mark is not None

    def nodes(self, context: ReadContext, heads: Sequence[bytes | None]) -> Reader | GrownNodes:
        """The nodes of some keys, with the events that wait for them, where `is_right`. heads: what their names begin with."""
        seen = self._look(context)
        if seen.mark is None or seen.is_whole:
            return context.reader
        found: dict[bytes, bytes] = {}
        for head in heads:
            if head is not None:
                found |= self._grown(context, seen, head)
        return GrownNodes(context.reader, found) if found else context.reader

    def _grown(self, context: ReadContext, seen: Seen, head: bytes) -> dict[bytes, bytes]:
        nodes = seen.grown.get(head)
        if nodes is None:
            kept, prefix = self._pick(seen, head), self._plan.prefix(context.scope.line)
            nodes = {} if kept is None else dict(grow(self._plan, prefix, kept, partial(context.reader.get_many, TILES)))
            self._remember(seen, head, nodes)
        return nodes

    def _pick(self, seen: Seen, head: bytes) -> KeptByKey | None:
        return pick(self._plan, list(seen.entries.values()), head[PREFIX_BYTES:])

    def _remember(self, seen: Seen, head: bytes, nodes: dict[bytes, bytes]) -> dict[bytes, bytes]:
        if len(seen.grown) >= limits.TILE_KEYS:
            seen.grown.clear()
        seen.grown[head] = nodes
        return nodes

    def _look(self, context: ReadContext) -> Seen:
        scope, reader, plan, seen = context.scope, context.reader, self._plan, self._seen
        if not scope.is_live or scope.ancestry:
            return Seen()
        mark, state = self.guards(scope.line)
        packed = scope.line, reader.get(*mark), reader.get(*state)
        if packed != seen.packed or isinstance(reader, Writer):
            found = live_mark(context, plan)
            found = found if found is not None and found.until is None else None
            told = () if found is None else enumerate(found.waiting.digests, found.waiting.first)
            entries = {name: seen.entries.get(name) or load_entry(reader, plan, scope.line, *name) for name in told}
            seen = Seen(packed, found, entries)
            # What a write transaction sees may never be committed, and other trees may then come to have the same mark.
            if not isinstance(reader, Writer):
                self._seen = seen
        return seen

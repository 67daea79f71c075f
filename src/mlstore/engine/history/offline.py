"""History: what a table holds at a version, as blocks to search: its segments, and its tail."""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Block, Deletes, Int64, Span
from mlstore.engine.history.segments import SegmentCache, SegmentContent, list_deletes, list_entries
from mlstore.engine.history.shadows import Shadows, load_shadows, locate
from mlstore.engine.history.tail import TailContent, load_tail
from mlstore.engine.ledger import HEADS
from mlstore.engine.versions import Scope
from mlstore.errors import CorruptionError
from mlstore.format.keys import Keys
from mlstore.format.manifest import SegmentEntry, TableState, decode_record, encode_record
from mlstore.format.packed import CURE
from mlstore.storage.transaction import Reader, Writer

STATES = HEADS

_OWNER = struct.Struct(">II")
BEHIND_STATES = b"a"  # counters have names, and no table such a number

# States read or written last, by their bytes: each write and each read asks for one several times.
_STATES_SEEN: dict[bytes, TableState] = {}
_MOST_SEEN = 256

Extent = tuple[int, int | None, int | None]  # rows, first and last event time

MIN_TIME, MAX_TIME = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Shelf:
    """The manifest of one table on one line, as read at one tick."""

    state: TableState
    entries: tuple[SegmentEntry, ...]
    deletes: dict[int, Deletes]


class Shelves:
    """What a process remembers between transactions: manifests and tails by tick, opened segments.

    A writer uses one of its own: what it reads may never be committed. There are no locks, which a forked child would inherit held:
    threads that come at once may do the same work twice.
    """

    def __init__(self) -> None:
        self.segments = SegmentCache()
        self._shelves: dict[tuple[int, int], Shelf] = {}
        self._tails: dict[tuple[int, int], tuple[int, int, TailContent | None]] = {}
        self._shadows: dict[tuple[int, int], tuple[int, Shadows | None]] = {}
        self._inherited: dict[tuple[int, int], tuple[tuple[int, ...], Extent]] = {}

    def forget_addresses(self) -> None:
        """Let go of everything that lies in the map."""
        self.segments = SegmentCache()

    def shelf(self, reader: Reader, table: int, line: int) -> Shelf:
        state = load_state(reader, table, line)
        found = self._shelves.get((table, line))
        if found is None or found.state.tick != state.tick:
            deletes = list_deletes(reader, table, line) if state.deleted_rows else {}
            found = Shelf(state, tuple(list_entries(reader, table, line)), deletes)
            _require_rows(found)
            self._shelves[table, line] = found
        return found

    def tail(self, reader: Reader, relation: Relation, line: int, tick: int) -> TailContent | None:
        found = self._tails.get((relation.table, line))
        if found is None or found[:2] != (tick, relation.revision):
            found = tick, relation.revision, load_tail(reader, relation, line)
            self._tails[relation.table, line] = found
        return found[2]

    def shadows(self, reader: Reader, relation: Relation, line: int, tick: int) -> Shadows | None:
        found = self._shadows.get((relation.table, line))
        if found is None or found[0] != tick:
            found = tick, load_shadows(reader, relation.table, line, relation.key_spec.kind)
            self._shadows[relation.table, line] = found
        return found[1]

    def inherited(self, history: "History") -> Extent:
        """What a line sees of its ancestors, which changes only if their rows do: counted once for as long as they stay as they are."""
        line, ancestry = history.scope.line, history.scope.ancestry
        ticks = tuple(load_state(history.reader, history.relation.table, ancestor).tick for ancestor, _ in ancestry)
        found = self._inherited.get((history.relation.table, line))
        if found is None or found[0] != ticks:
            above = History(history.reader, history.relation, Scope(*ancestry[0], ancestry[1:]), self)
            found = ticks, above.extent()
            self._inherited[history.relation.table, line] = found
        return found[1]


class Blocks(Protocol):
    """What can be searched: a history, within its transaction or held beyond it."""

    def blocks(self, *, keys: Keys | None = None, first_time: int = MIN_TIME, last_time: int = MAX_TIME) -> list[Block]:
        """The blocks that may hold rows of these keys (sorted) and times, in the order in which ties are settled."""


class History:
    """A table at a version, seen through one transaction."""

    def __init__(self, reader: Reader, relation: Relation, scope: Scope, shelves: Shelves) -> None:
        self.reader = reader
        self.relation = relation
        self.scope = scope
        self._shelves = shelves

    def read_as(self, relation: Relation) -> "History":
        """The same rows, read as another relation of the same table."""
        return History(self.reader, relation, self.scope, self._shelves)

    def blocks(self, *, keys: Keys | None = None, first_time: int = MIN_TIME, last_time: int = MAX_TIME) -> list[Block]:
        """The blocks that may hold rows of these keys (sorted) and times, in the order in which ties are settled; segments still closed."""
        wanted = None if keys is None else keys.encoded() if len(keys) <= limits.POINT_KEYS else None
        span = None if keys is None or not len(keys) else (keys.encoded_at(0), keys.encoded_at(len(keys) - 1))
        found = []
        for layer in reversed(self.layers(wanted)):
            for entry in layer.shelf.entries:
                if _may_hold(entry, layer.bound, span, first_time, last_time):
                    found.append(self.segment_block(layer, entry))
            if layer.shelf.state.tail_rows:
                found.extend(self.tail_blocks(layer, wanted))
        return found

    def layers(self, wanted: Sequence[bytes] | None = None) -> list["Layer"]:
        """What is seen of each line, the own one first; `wanted`: only rows of these keys will be looked at."""
        layers, shadows = [], list[Shadows]()
        for place, (line, bound) in enumerate(self.scope.layers()):
            shelf = self._shelves.shelf(self.reader, self.relation.table, line)
            layers.append(Layer(line, bound, shelf, tuple(shadows)))
            if place < len(self.scope.ancestry) and shelf.state.deleted_rows:
                shadows += self._shadows_of(line, bound, shelf.state.tick, wanted)
        return layers

    def entries(self) -> Iterator[tuple[SegmentEntry, int]]:
        """Every manifest entry with the bound under which it is seen."""
        for line, bound in self.scope.layers():
            for entry in self._shelves.shelf(self.reader, self.relation.table, line).entries:
                yield entry, bound

    def state(self) -> TableState:
        """The counters of the table as seen from here: of a branch, those of its lines together."""
        own = load_state(self.reader, self.relation.table, self.scope.line)
        if not self.scope.ancestry:
            return own
        states = [layer.shelf.state for layer in self.layers()]
        names = ("deleted_rows", "tail_rows", "tail_bytes", "segments", "size_bytes")
        sums = {name: sum(getattr(state, name) for state in states) for name in names}
        if self.scope.is_live:
            # The state of the line counts what it added to the rows of its ancestors, and took from them.
            above = self._shelves.inherited(self)
            rows, times = own.rows + above[0], [(own.min_time, own.max_time), above[1:]]
        else:
            rows, *span = self.extent()
            times = [(span[0], span[1])]
        low = min((first for first, _ in times if first is not None), default=None)
        high = max((last for _, last in times if last is not None), default=None)
        return replace(own, rows=rows, min_time=low, max_time=high, **sums)

    def extent(self) -> "Extent":
        """How many rows are seen, and between which event times; every row is looked at."""
        times = [block.content.time if block.visible is None else block.content.time[block.visible] for block in self.blocks()]
        low = min((int(time.min()) for time in times if time.size), default=None)
        high = max((int(time.max()) for time in times if time.size), default=None)
        return sum(map(len, times)), low, high

    def segment_block(self, layer: "Layer", entry: SegmentEntry) -> Block:
        return Block(
            self.relation,
            partial(_open_segment, self._shelves, self.reader, self.relation, entry),
            bound=layer.bound,
            deletes=layer.shelf.deletes.get(entry.segment),
            start=entry.start_row,
            segment=entry.segment,
            run=entry.run,
            span=Span(entry.min_key, entry.max_key, entry.min_time, entry.max_time),
            reader=self.reader,
            line=layer.line,
            shadowed=layer.shadowed(),
        )

    def tail_blocks(self, layer: "Layer", wanted: Sequence[bytes] | None = None) -> Iterator[Block]:
        if wanted is None:
            content = self._shelves.tail(self.reader, self.relation, layer.line, layer.shelf.state.tick)
        else:
            content = load_tail(self.reader, self.relation, layer.line, wanted)
        if content is not None:
            yield Block(
                self.relation,
                content,
                bound=layer.bound,
                deletes=content.deletes,
                line=layer.line,
                shadowed=layer.shadowed(),
            )

    def _shadows_of(self, line: int, bound: int, tick: int, wanted: Sequence[bytes] | None) -> list[Shadows]:
        if wanted is None:
            found = self._shelves.shadows(self.reader, self.relation, line, tick)
        else:
            found = load_shadows(self.reader, self.relation.table, line, self.relation.key_spec.kind, wanted)
        return [] if found is None else [found.until(bound)]


@dataclass(frozen=True, slots=True)
class Layer:
    """What is seen of one line: its manifest, up to a bound, less what the lines above have deleted."""

    line: int
    bound: int
    shelf: Shelf
    shadows: tuple[Shadows, ...]

    def shadowed(self) -> Callable[[Block], Int64] | None:
        """How a block finds its rows that the lines above have deleted."""
        if not self.shadows:
            return None
        return lambda block: np.concatenate([locate(block, shadows) for shadows in self.shadows])


def pack_owner(table: int, line: int) -> bytes:
    """Where the state of a table on a line lies."""
    return _OWNER.pack(table, line)


def load_state(reader: Reader, table: int, line: int) -> TableState:
    return decode_state(reader.get(STATES, _OWNER.pack(table, line)))


def decode_state(packed: bytes | None) -> TableState:
    """The state of a table; None: of one that nothing was written to."""
    if packed is None:
        return TableState()
    state = _STATES_SEEN.get(packed)
    return _seen(packed, decode_record(TableState, packed)) if state is None else state


def stored_states(reader: Reader) -> Iterator[bytes]:
    """Where the states of all tables lie, as table | line."""
    return (key for key, _ in reader.scan(STATES, stop=BEHIND_STATES, keys_only=True))


def put_state(writer: Writer, table: int, line: int, state: TableState) -> None:
    packed = encode_record(state)
    writer.put(STATES, _OWNER.pack(table, line), packed)
    _seen(packed, state)


def _seen(packed: bytes, state: TableState) -> TableState:
    if len(_STATES_SEEN) >= _MOST_SEEN:
        _STATES_SEEN.clear()
    _STATES_SEEN[packed] = state
    return state


def _open_segment(shelves: Shelves, reader: Reader, relation: Relation, entry: SegmentEntry) -> SegmentContent:
    content = shelves.segments.open(reader, entry)
    if content.keys.kind != relation.key_spec.kind:
        raise CorruptionError(f"{relation.label}: a segment with keys of another kind", hint=CURE)
    return content


def _require_rows(shelf: Shelf) -> None:
    for entry in shelf.entries:
        deletes = shelf.deletes.get(entry.segment)
        if deletes is not None and deletes[0].size and deletes[0][-1] >= entry.rows:
            raise CorruptionError(f"segment {entry.segment} has not all the rows that were deleted from it", hint=CURE)


def _may_hold(entry: SegmentEntry, bound: int, span: tuple[bytes, bytes] | None, first_time: int, last_time: int) -> bool:
    if entry.min_seq > bound or entry.min_time > last_time or entry.max_time < first_time:
        return False
    return span is None or (entry.min_key <= span[1] and entry.max_key >= span[0])

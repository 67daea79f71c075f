"""History: what a table holds at a version, as blocks to search: its segments, and its tail."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mlstore.engine import limits
from mlstore.engine.block import Block, Deletes, Span
from mlstore.engine.catalog import Relation
from mlstore.engine.segments import SegmentCache, list_deletes, list_entries
from mlstore.engine.tail import TailContent, load_tail
from mlstore.engine.versions import Scope
from mlstore.format.keys import Keys
from mlstore.format.manifest import SegmentEntry, TableState, decode_record, encode_record
from mlstore.storage.keyspace import declare
from mlstore.storage.transaction import Reader, Writer

STATES = declare("states")

_OWNER = struct.Struct(">II")

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

    def forget_addresses(self) -> None:
        """Let go of everything that lies in the map."""
        self.segments = SegmentCache()

    def shelf(self, reader: Reader, table: int, line: int) -> Shelf:
        state = load_state(reader, table, line)
        found = self._shelves.get((table, line))
        if found is None or found.state.tick != state.tick:
            deletes = list_deletes(reader, table, line) if state.deleted_rows else {}
            found = Shelf(state, tuple(list_entries(reader, table, line)), deletes)
            self._shelves[table, line] = found
        return found

    def tail(self, reader: Reader, relation: Relation, line: int, tick: int) -> TailContent | None:
        found = self._tails.get((relation.table, line))
        if found is None or found[:2] != (tick, relation.revision):
            found = tick, relation.revision, load_tail(reader, relation, line)
            self._tails[relation.table, line] = found
        return found[2]


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

    def blocks(self, *, keys: Keys | None = None, first_time: int = MIN_TIME, last_time: int = MAX_TIME) -> list[Block]:
        """The blocks that may hold rows of these keys (sorted) and times, in the order in which ties are settled; segments still closed."""
        wanted = None if keys is None else keys.encoded() if len(keys) <= limits.POINT_KEYS else None
        span = None if keys is None or not len(keys) else (keys.encoded_at(0), keys.encoded_at(len(keys) - 1))
        found = []
        for line, bound in reversed(list(self.scope.layers())):
            shelf = self._shelves.shelf(self.reader, self.relation.table, line)
            for entry in shelf.entries:
                if _may_hold(entry, bound, span, first_time, last_time):
                    found.append(self._segment_block(entry, bound, shelf.deletes.get(entry.segment)))
            if shelf.state.tail_rows:
                found.extend(self._tail_block(line, bound, shelf.state.tick, wanted))
        return found

    def entries(self) -> Iterator[tuple[SegmentEntry, int]]:
        """Every manifest entry with the bound under which it is seen."""
        for line, bound in self.scope.layers():
            for entry in self._shelves.shelf(self.reader, self.relation.table, line).entries:
                yield entry, bound

    def _segment_block(self, entry: SegmentEntry, bound: int, deletes: Deletes | None) -> Block:
        return Block(
            self.relation,
            partial(self._shelves.segments.open, self.reader, entry),
            bound=bound,
            deletes=deletes,
            start=entry.start_row,
            segment=entry.segment,
            run=entry.run,
            span=Span(entry.min_key, entry.max_key, entry.min_time, entry.max_time),
            reader=self.reader,
        )

    def _tail_block(self, line: int, bound: int, tick: int, wanted: list[bytes] | None) -> Iterator[Block]:
        if wanted is None:
            content = self._shelves.tail(self.reader, self.relation, line, tick)
        else:
            content = load_tail(self.reader, self.relation, line, wanted)
        if content is not None:
            yield Block(self.relation, content, bound=bound, deletes=content.deletes)


def load_state(reader: Reader, table: int, line: int) -> TableState:
    packed = reader.get(STATES, _OWNER.pack(table, line))
    return TableState() if packed is None else decode_record(TableState, packed)


def put_state(writer: Writer, table: int, line: int, state: TableState) -> None:
    writer.put(STATES, _OWNER.pack(table, line), encode_record(state))


def _may_hold(entry: SegmentEntry, bound: int, span: tuple[bytes, bytes] | None, first_time: int, last_time: int) -> bool:
    if entry.min_seq > bound or entry.min_time > last_time or entry.max_time < first_time:
        return False
    return span is None or (entry.min_key <= span[1] and entry.max_key >= span[0])

"""Events: the visible rows of some keys and times of a source, from all blocks of its history, in total order.

Where one sorted segment holds all that is seen of the keys, its own arrays are handed on; else rows are picked and merged.
Keys are worked through piece by piece, so that the memory needed does not grow with them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mlstore._core.asof import find_ranges
from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import NO_NUMBERS, Block, Int64
from mlstore.engine.history.offline import MAX_TIME, MIN_TIME, Blocks
from mlstore.engine.windows.prefixes import Prefixes
from mlstore.format.keys import Keys, KeySpec, decode_keys
from mlstore.format.order import order_rows, take_ints
from mlstore.schema.timestamps import NULL_TIME

EVENT_TIME, CREATED = " time", " created"  # columns of any source: its clocks as ticks; no name has a space


@dataclass(frozen=True, slots=True)
class Events:
    """Events of groups: those of group g are the rows offsets[g] to offsets[g + 1], by (time, created, seq).

    created: empty unless a bound per moment needs it. columns: what aggregations, `where` and `by` read.
    """

    offsets: Int64
    time: Int64
    created: Int64
    columns: Mapping[str, pa.Array]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.time)


@dataclass(frozen=True, slots=True)
class Source:
    """A table or view of events whose keys are those of an entity, or begin with them."""

    relation: Relation
    entity: KeySpec

    @property
    def is_whole(self) -> bool:
        """Whether a key of the entity is a whole key of the source."""
        return len(self.entity.dtypes) == len(self.relation.key_spec.dtypes)

    def feature(self, column: str) -> int | None:
        """The number of a column among the features; None: it is a key or a clock."""
        return self.relation.numbers.get(column)

    def numbers(self, columns: Sequence[str]) -> list[int]:
        """The numbers of those columns that are features."""
        return [self.relation.numbers[column] for column in columns if column in self.relation.numbers]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of the events: columns, times, and by when they must have been known.

    known_by: one bound for all. with_created: there is a bound for each moment, so their creation times are needed. written: the numbers
    of the sequence that count, from one to behind another; None: all.
    """

    columns: tuple[str, ...]
    first_time: int = MIN_TIME
    last_time: int = MAX_TIME
    known_by: int | None = None
    with_created: bool = False
    written: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Located:
    """Where the rows of each asked key lie in a block: begin[i] to end[i]."""

    block: Block
    begin: Int64
    end: Int64

    def of(self, first: int, last: int) -> "Located":
        """For the keys [first, last)."""
        return Located(self.block, self.begin[first:last], self.end[first:last])


@dataclass(frozen=True, slots=True)
class Piece:
    """Asked keys [first, last) whose events are looked at together. owner: the one block that has any; None: maybe several."""

    first: int
    last: int
    owner: int | None


@dataclass(frozen=True, slots=True)
class Grouped:
    """Events of asked keys: key i is group i, or, `has_gaps`, group 2 i, between which lie rows of no asked key."""

    events: Events
    has_gaps: bool

    def offsets_of(self, moments: Int64) -> Int64:
        """The offsets of moments, given by key, by group."""
        if not self.has_gaps:
            return moments
        doubled = np.empty(2 * len(moments) - 2, np.int64)
        doubled[0::2], doubled[1::2] = moments[:-1], moments[1:]
        return doubled


class EventFinder:
    """The events of some keys of an entity (sorted and unique) in a history."""

    def __init__(self, history: Blocks, source: Source, keys: Keys, wanted: Wanted) -> None:
        self._source = source
        self._wanted = wanted
        self._count = len(keys)
        self._prefixes = Prefixes(source.relation.key_spec, source.entity, keys)
        self._numbers = source.numbers(wanted.columns)
        blocks = history.blocks(keys=self._prefixes.bounds(), first_time=wanted.first_time, last_time=wanted.last_time)
        located = map(self._locate, blocks if self._count else [])
        self._located = [found for found in located if (found.end > found.begin).any()]

    def pieces(self) -> list[Piece]:
        """All asked keys, in pieces of bounded size; long stretches that only one block knows of are pieces of their own."""
        events = np.zeros(self._count, np.int64)
        holders = np.zeros(self._count, np.int64)
        owner = np.full(self._count, -1, np.int64)
        for place, located in enumerate(self._located):
            lengths = located.end - located.begin
            events += lengths
            holders += lengths > 0
            owner[lengths > 0] = place
        owner[holders > 1] = len(self._located)
        return list(_cut(owner, events, shared=len(self._located)))

    def events(self, piece: Piece) -> Grouped:
        """The events of a piece of the keys. Needs no transaction once the blocks are open."""
        if piece.owner is not None:
            whole = self._as_they_lie(self._located[piece.owner].of(piece.first, piece.last))
            if whole is not None:
                return whole
        return Grouped(
            self._merged([located.of(piece.first, piece.last) for located in self._located], piece.last - piece.first), has_gaps=False
        )

    def _locate(self, block: Block) -> Located:
        block.open(self._numbers)  # now: threads to come have no transaction
        first, last = self._prefixes.locate(block.keys)
        begin, end = block.offsets[first], block.offsets[last]
        if self._source.is_whole:
            positions = np.where(first < last, first, -1)
            first_time, last_time = (np.full(self._count, time, np.int64) for time in (self._wanted.first_time, self._wanted.last_time))
            find_ranges(positions, first_time, last_time, np.ascontiguousarray(block.offsets), block.content.time, begin, end)
        return Located(block, begin, end)

    def _as_they_lie(self, located: Located) -> Grouped | None:
        """The arrays of the block itself; None where its rows are not all seen, or not in the order of time."""
        block, begin, end = located.block, located.begin, located.end
        if not self._source.is_whole or self._has_bound(block) or self._wanted.written is not None:
            return None
        is_there = end > begin
        if not is_there.any():
            return None
        low, high = int(begin[is_there][0]), int(end[is_there][-1])
        if block.visible is not None and not block.visible[low:high].all():
            return None
        # The place of a key without events is where the events before it end.
        ends = np.maximum.accumulate(np.where(is_there, end, low))
        begins = np.where(is_there, begin, ends)
        has_gaps = bool((begins[1:] != ends[:-1]).any())
        if has_gaps:
            offsets = np.empty(2 * len(begins), np.int64)
            offsets[0::2], offsets[1::2] = begins, ends
        else:
            offsets = np.append(begins, high)
        rows = slice(low, high)
        created = block.created_of(np.arange(low, high)) if self._wanted.with_created else NO_NUMBERS
        columns = {name: column_of(block, self._source, name, rows) for name in self._wanted.columns}
        return Grouped(Events(offsets - low, block.content.time[rows], created, columns), has_gaps=has_gaps)

    def _has_bound(self, block: Block) -> bool:
        """Whether what was known when may leave out rows of a block."""
        known_by, content = self._wanted.known_by, block.content
        if known_by is None and not self._wanted.with_created:
            return False
        created = content.created if content.created.size else np.array([content.same_created])
        return int(created.min()) == NULL_TIME or (known_by is not None and int(created.max()) > known_by)

    def _merged(self, parts: Sequence[Located], keys: int) -> Events:
        """The rows of several blocks, those that are seen, put in order."""
        picks = [(part.block, *self._pick(part)) for part in parts]
        picks = [pick for pick in picks if len(pick[1])]
        codes = _joined([codes for _, _, codes in picks]).astype(np.int32)
        time = _joined([block.content.time[rows] for block, rows, _ in picks])
        created = _joined([block.created_of(rows) for block, rows, _ in picks])
        seq = _joined([block.seq_of(rows) for block, rows, _ in picks])
        order, offsets = order_rows(codes, keys, time, created)
        _settle_ties(order, codes, time, created, seq)
        is_ordered = bool((order == np.arange(len(order))).all())
        columns = {}
        for name in self._wanted.columns:
            column = _one(pa.chunked_array([column_of(block, self._source, name, rows) for block, rows, _ in picks], self._type(name)))
            columns[name] = column if is_ordered else column.take(pa.array(order))
        kept = created if self._wanted.with_created else NO_NUMBERS
        return Events(offsets, take_ints(time, order), take_ints(kept, order) if kept.size else kept, columns)

    def _pick(self, part: Located) -> tuple[Int64, Int64]:
        """Rows of a block that count, and the asked key of each."""
        block, lengths = part.block, part.end - part.begin
        codes = np.repeat(np.arange(len(lengths)), lengths)
        rows = np.arange(len(codes)) + np.repeat(part.begin - (np.cumsum(lengths) - lengths), lengths)
        counts = np.ones(len(rows), np.bool_)
        if block.visible is not None:
            counts &= block.visible[rows]
        if not self._source.is_whole:
            time = block.content.time[rows]
            counts &= (time >= self._wanted.first_time) & (time <= self._wanted.last_time)
        if self._has_bound(block):
            created = block.created_of(rows)
            counts &= created != NULL_TIME
            if self._wanted.known_by is not None:
                counts &= created <= self._wanted.known_by
        if self._wanted.written is not None:
            seq, (first, behind) = block.seq_of(rows), self._wanted.written
            counts &= (seq >= first) & (seq < behind)
        return (rows, codes) if counts.all() else (rows[counts], codes[counts])

    def _type(self, name: str) -> pa.DataType:
        if name in (EVENT_TIME, CREATED):
            return pa.int64()
        relation, number = self._source.relation, self._source.feature(name)
        fields = relation.layout.keys if number is None else relation.layout.features
        return next(field.dtype.arrow for field in fields if field.name == name)


def column_of(block: Block, source: Source, name: str, rows: Int64 | slice) -> pa.Array:
    """A column of some rows of a block (at least one): a feature, a key or a clock."""
    if name == EVENT_TIME:
        return pa.array(block.content.time[rows])
    places = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
    if name == CREATED:
        created = block.created_of(places)
        return pa.array(created, mask=created == NULL_TIME)
    number = source.feature(name)
    if number is None:
        return _key_column(block, source, name, places)
    column = block.column(number)
    return column.slice(rows.start, rows.stop - rows.start) if isinstance(rows, slice) else column.take(pa.array(rows))


def _key_column(block: Block, source: Source, name: str, rows: Int64) -> pa.Array:
    positions = block.key_of(rows)
    first, last = int(positions.min()), int(positions.max())
    part = next(place for place, field in enumerate(source.relation.layout.keys) if field.name == name)
    values = decode_keys(source.relation.key_spec, block.keys.slice(first, last + 1))[part]
    return values.take(pa.array(positions - first))


def _cut(owner: Int64, events: Int64, *, shared: int) -> Iterator[Piece]:
    """Pieces of keys. owner: of each key the block that has its events, `shared`: several have, -1: none has."""
    if not len(owner):
        return
    # Who has no events may go with the keys before.
    filled = owner.copy()
    nobody = np.flatnonzero(owner < 0)
    if nobody.size:
        last_held = np.maximum.accumulate(np.where(owner >= 0, np.arange(len(owner)), -1))
        filled = np.where(last_held >= 0, owner[last_held], owner[0] if owner[0] >= 0 else -1)
    starts = np.append(0, np.flatnonzero(np.diff(filled)) + 1)
    stops = np.append(starts[1:], len(owner))
    sums = np.append(0, np.cumsum(events))
    is_long = (sums[stops] - sums[starts] >= limits.WINDOW_STRETCH) & (filled[starts] != shared) & (filled[starts] >= 0)
    if len(starts) == 1 and filled[0] not in (shared, -1):
        is_long[:] = True
    done = 0
    for start, stop in zip(starts[is_long].tolist(), stops[is_long].tolist(), strict=True):
        yield from _parts(done, start, sums, None)
        yield from _parts(start, stop, sums, int(filled[start]))
        done = stop
    yield from _parts(done, len(owner), sums, None)


def _parts(first: int, last: int, sums: Int64, owner: int | None) -> Iterator[Piece]:
    """Keys [first, last) in parts of about as many events each; a key is never cut."""
    while first < last:
        stop = int(np.searchsorted(sums, sums[first] + limits.WINDOW_EVENTS, "right")) - 1
        stop = min(last, max(first + 1, stop))
        yield Piece(first, stop, owner)
        first = stop


def _settle_ties(order: np.ndarray, codes: np.ndarray, time: Int64, created: Int64, seq: Int64) -> None:
    """Put rows that are equal in key and clocks in the order of their sequence; those equal in that too stay as they are."""
    if len(order) < 2:
        return
    left, right = order[:-1], order[1:]
    tied = (codes[left] == codes[right]) & (time[left] == time[right]) & (created[left] == created[right])
    if not (tied & (seq[left] > seq[right])).any():
        return
    group = np.cumsum(np.append(True, ~tied))
    order[:] = order[np.lexsort((seq[order], group))]


def _joined(parts: Sequence[Int64]) -> Int64:
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, np.int64)


def _one(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)

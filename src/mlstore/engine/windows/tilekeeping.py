"""Keeping tiles: the write step that lets the tiles of window views follow the rows of their source, in the same transaction.

A mark says up to which state of the source the tiles of a view are right. Whatever changes the source without telling a keeper leaves the
mark behind, so that nobody reads the tiles until they are filled in again. Only the line that has no ancestors keeps tiles.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from mlstore.engine import limits
from mlstore.engine.catalog import Catalog, Relation
from mlstore.engine.history.block import Int64
from mlstore.engine.history.offline import STATES, decode_state, load_state, pack_owner
from mlstore.engine.session import ReadContext, WriteContext
from mlstore.engine.windows.events import CREATED, EventFinder, Events, Wanted
from mlstore.engine.windows.prefixes import first_prefixes, group_prefixes
from mlstore.engine.windows.tiles import TILES, Kept, Node, TilePlan, decode_node, encode_node, grow_tree, node_key, tile_plan
from mlstore.format.keys import Keys, decode_keys
from mlstore.format.manifest import decode_fields, encode_fields
from mlstore.format.order import order_rows
from mlstore.schema.timestamps import NULL_TIME
from mlstore.storage.glance import Guard
from mlstore.storage.keyspace import declare, prefix_end
from mlstore.storage.transaction import Reader, Writer

MARKS = declare("tile_marks")  # table of the window view | line -> [form, tick of the source, key it is filled in up to or nil: all]


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to which tick of the source tiles are right, and for which keys: those below `until`, or, None, all."""

    tick: int
    until: bytes | None


def load_mark(reader: Reader, plan: TilePlan, line: int) -> Mark | None:
    """The mark; None: there is none, or tiles of this view were other ones then."""
    return decode_mark(plan, reader.get(MARKS, plan.prefix(line)))


def decode_mark(plan: TilePlan, packed: bytes | None) -> Mark | None:
    if packed is None:
        return None
    form, tick, until = decode_fields(packed)
    return Mark(tick, until) if form == plan.form else None


def put_mark(writer: Writer, plan: TilePlan, line: int, mark: Mark) -> None:
    writer.put(MARKS, plan.prefix(line), encode_fields([plan.form, mark.tick, mark.until]))


def plans_over(catalog: Catalog, table: int) -> tuple[TilePlan, ...]:
    """The tiles that follow a table, of all window views over it."""

    def find() -> tuple[TilePlan, ...]:
        over = [relation for relation in catalog.windows() if relation.window is not None and relation.window.source.table == table]
        return tuple(plan for relation in over if (plan := tile_plan(relation)) is not None)

    return catalog.remember(("tiles over", table), lambda: (find(),))[0]


def live_mark(context: ReadContext, plan: TilePlan) -> Mark | None:
    """The mark, if the tiles are right as of now for the keys it tells."""
    scope = context.scope
    if not scope.is_live or scope.ancestry:
        return None
    mark = load_mark(context.reader, plan, scope.line)
    return mark if mark is not None and mark.tick == load_state(context.reader, plan.source.relation.table, scope.line).tick else None


@dataclass(frozen=True, slots=True)
class NodesOfKey:
    """The nodes of one key in the file."""

    reader: Reader
    plan: TilePlan
    prefix: bytes
    key: bytes

    def get(self, level: int, start: int) -> Node | None:
        packed = self.reader.get(TILES, node_key(self.prefix, self.key, level, start))
        return None if packed is None else decode_node(self.plan, packed)

    def put(self, level: int, start: int, node: Node) -> None:
        assert isinstance(self.reader, Writer)
        self.reader.put(TILES, node_key(self.prefix, self.key, level, start), encode_node(node))

    def clear(self) -> None:
        assert isinstance(self.reader, Writer)
        start = self.prefix + self.key
        self.reader.delete_range(TILES, start, prefix_end(start))


class Watch:
    """Whether the tiles of a view may be read; what the file said last is understood once."""

    def __init__(self, plan: TilePlan) -> None:
        self._plan = plan
        self._seen: tuple[bytes | None, bytes | None, bool] = (None, None, False)

    def guards(self, line: int) -> tuple[Guard, Guard]:
        """Where the mark, and the state of the source, stand in the file."""
        return (MARKS, self._plan.prefix(line)), (STATES, pack_owner(self._plan.source.relation.table, line))

    def approves(self, mark: bytes | None, state: bytes | None) -> bool:
        """Whether, as these are, all keys have tiles that are right."""
        seen = self._seen
        if (mark, state) != seen[:2]:
            found = decode_mark(self._plan, mark)
            self._seen = seen = mark, state, found is not None and found.until is None and found.tick == decode_state(state).tick
        return seen[2]

    def is_live(self, context: ReadContext) -> bool:
        """Whether all keys have tiles, as of now."""
        if not context.scope.is_live or context.scope.ancestry:
            return False
        mark, state = self.guards(context.scope.line)
        return self.approves(context.reader.get(*mark), context.reader.get(*state))


class Keeper:
    """Lets tiles follow one write to a source, from before its first change to after its last."""

    def __init__(self, context: WriteContext, source: Relation) -> None:
        self._context = context
        self._source = source
        marks = ((plan, live_mark(context, plan)) for plan in plans_over(context.catalog, source.table))
        self._live = [(plan, mark) for plan, mark in marks if mark is not None]
        self._before = load_state(context.writer, source.table, context.scope.line) if self._live else None
        self._added = 0
        self._hidden = 0
        self._touched: list[Keys] = []
        self._is_counted = True

    @property
    def is_awake(self) -> bool:
        """Whether any tiles follow."""
        return bool(self._live)

    def added(self, keys: Keys, offsets: Int64, time: Int64, created: Int64, columns: Sequence[pa.Array | pa.ChunkedArray]) -> None:
        """Rows were added: in order, `offsets` where those of each key begin; columns: the features."""
        self._added += len(time)
        if self._added > limits.TILE_ROWS:
            self._live = []
        for plan, mark in self._live:
            entities, order, starts = _by_entity(plan, keys, offsets, time, created)
            rows = columns_of(plan, keys, offsets, columns, order)
            kept = plan.keep(Events(starts, time[order], created[order], rows), created[order])
            _grow(self._context, plan, mark, entities.encoded(), starts, kept)

    def hidden(self, rows: int, keys: Keys) -> None:
        """Rows of these keys of the source were hidden."""
        self._hidden += rows
        if rows:
            self._touched.append(keys)
        if sum(map(len, self._touched)) > limits.TILE_TOUCHED:
            self._live = []

    def erased(self, keys: Keys) -> None:
        """Rows of these keys of the source were erased: what tiles tell of them goes, whether they are right or not."""
        self._is_counted = False
        self._touched.append(keys)
        for plan in plans_over(self._context.catalog, self._source.table):
            entities = keys if plan.source.is_whole else _entities(plan, keys)[0]
            for key in entities.encoded():
                NodesOfKey(self._context.writer, plan, plan.prefix(self._context.scope.line), key).clear()

    def settle(self) -> None:
        """Make what was touched anew, and move the marks on; not where anything else has changed the source."""
        if not self._live or self._before is None:
            return
        context = self._context
        after = load_state(context.writer, self._source.table, context.scope.line)
        as_told = after.rows == self._before.rows + self._added - self._hidden
        if self._is_counted and not (as_told and after.deleted_rows == self._before.deleted_rows + self._hidden):
            return
        for plan, mark in self._live:
            for touched in self._touched:
                entities = touched if plan.source.is_whole else _entities(plan, touched)[0]
                fill(context, plan, entities, mark)
            put_mark(context.writer, plan, context.scope.line, replace(mark, tick=after.tick))


@contextmanager
def following(context: WriteContext, source: Relation) -> Iterator[Keeper]:
    """A change of a source that its tiles follow. A change that is not told to the keeper, but of where rows lie, leaves them behind."""
    keeper = Keeper(context, source)
    yield keeper
    keeper.settle()


def fill(context: WriteContext, plan: TilePlan, keys: Keys, mark: Mark) -> None:
    """Make the trees of these entity keys (sorted, unique) anew from all their events, as far as the mark reaches."""
    if mark.until is not None:
        keys = keys.slice(0, keys.lower_bound(mark.until))
    for encoded in keys.encoded():
        NodesOfKey(context.writer, plan, plan.prefix(context.scope.line), encoded).clear()
    for piece in kept_events(context, plan, keys):
        _grow(context, plan, mark, *piece)


def next_keys(context: ReadContext, plan: TilePlan, low: bytes, most: int) -> Keys:
    """The first so many entity keys of which the source has rows, from these bytes on."""
    source, found = plan.source, set[bytes]()
    for block in context.history(source.relation).blocks():
        keys = block.keys.slice(block.keys.lower_bound(low) if low else 0, len(block.keys))
        found.update(first_prefixes(keys, source.relation.key_spec, source.entity, most))
    return Keys.from_encoded(sorted(found)[:most], source.entity.kind)


def kept_events(context: ReadContext, plan: TilePlan, keys: Keys) -> Iterator[tuple[list[bytes], Int64, Kept]]:
    """All events of some entity keys as tiles keep them, piece by piece: the keys, where the events of each begin, the events."""
    wanted = Wanted((*plan.plan.columns, CREATED))
    finder = EventFinder(context.history(plan.source.relation), plan.source, keys, wanted)
    for piece in finder.pieces():
        grouped = finder.events(piece)
        events = grouped.events
        created = np.asarray(events.columns[CREATED].fill_null(NULL_TIME))
        # With gaps, the events of the keys are those of every other group.
        encoded = keys.slice(piece.first, piece.last).encoded()
        named = [name for key in encoded for name in (key, b"")] if grouped.has_gaps else encoded
        yield named[: len(events.offsets) - 1], events.offsets, plan.keep(events, created)


def _grow(context: WriteContext, plan: TilePlan, mark: Mark, keys: Sequence[bytes], offsets: Int64, events: Kept) -> None:
    for key, first, last in zip(keys, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        if first < last and key and (mark.until is None or key < mark.until):
            nodes = NodesOfKey(context.writer, plan, plan.prefix(context.scope.line), key)
            grow_tree(plan, events.slice(first, last), nodes.get, nodes.put)


def _by_entity(plan: TilePlan, keys: Keys, offsets: Int64, time: Int64, created: Int64) -> tuple[Keys, Int64, Int64]:
    """The entity keys of rows that lie by key of the source, the rows in total order by entity, and where those of each begin."""
    if plan.source.is_whole:
        return keys, np.arange(len(time)), offsets
    entities, starts = _entities(plan, keys)
    codes = np.repeat(np.arange(len(entities)), np.diff(offsets[starts])).astype(np.int32)
    order, cuts = order_rows(codes, len(entities), time, created)
    return entities, order.astype(np.int64), cuts


def _entities(plan: TilePlan, keys: Keys) -> tuple[Keys, Int64]:
    """The entity keys that keys of the source begin with, and where those of each start."""
    components = len(plan.source.entity.dtypes)
    if not components:
        return Keys(ints=np.zeros(min(1, len(keys)), np.int64)), np.array([0, len(keys)] if len(keys) else [0])
    return group_prefixes(keys, plan.source.relation.key_spec, components, plan.source.entity.kind)


def columns_of(
    plan: TilePlan, keys: Keys, offsets: Int64, columns: Sequence[pa.Array | pa.ChunkedArray], order: Int64
) -> dict[str, pa.Array]:
    """What the plan reads of rows, in this order."""
    relation, found = plan.source.relation, {}
    for name in plan.plan.columns:
        number = relation.numbers.get(name)
        if number is None:
            part = next(place for place, field in enumerate(relation.layout.keys) if field.name == name)
            of_key = np.repeat(np.arange(len(keys)), np.diff(offsets))
            found[name] = decode_keys(relation.key_spec, keys)[part].take(pa.array(of_key[order]))
        else:
            column = columns[number]
            whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            found[name] = whole.take(pa.array(order))
    return found

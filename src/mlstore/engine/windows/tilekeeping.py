"""Keeping tiles: the write step that lets the tiles of window views follow the rows of their source, in the same transaction.

Events that are added wait beside the trees until there are enough of them; see `waiting`. Only the line that has no ancestors keeps tiles.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa

from mlstore.engine import limits
from mlstore.engine.catalog import Catalog, Relation
from mlstore.engine.history.block import Int64
from mlstore.engine.history.offline import load_state
from mlstore.engine.session import ReadContext, WriteContext
from mlstore.engine.versions import LIVE
from mlstore.engine.windows.events import CREATED, EventFinder, Events, Wanted
from mlstore.engine.windows.marks import Mark, drop_waiting, live_mark, load_waiting, put_entry, put_mark
from mlstore.engine.windows.prefixes import first_prefixes, group_prefixes
from mlstore.engine.windows.tiles import TILES, KeptByKey, TilePlan, grow, tile_plan
from mlstore.engine.windows.waiting import NOTHING, join
from mlstore.format.keys import Keys, decode_keys
from mlstore.format.order import order_rows
from mlstore.schema.timestamps import NULL_TIME
from mlstore.storage.keyspace import prefix_end


def plans_over(catalog: Catalog, table: int) -> tuple[TilePlan, ...]:
    """The tiles that follow a table, of all window views over it."""

    def find() -> tuple[TilePlan, ...]:
        over = [relation for relation in catalog.windows() if relation.window is not None and relation.window.source.table == table]
        return tuple(plan for relation in over if (plan := tile_plan(relation)) is not None)

    return catalog.remember(("tiles over", table), lambda: (find(),))[0]


def keeps_tiles(context: ReadContext) -> bool:
    """Whether the tiles of any window view are right here, which another line would have to do without."""
    plans = (tile_plan(relation) for relation in context.catalog.windows())
    return any(plan is not None and live_mark(context, plan) is not None for plan in plans)


class Follower:
    """The tiles of one view, which follow one write to its source."""

    def __init__(self, context: WriteContext, plan: TilePlan, mark: Mark) -> None:
        self.plan = plan
        self._context = context
        self._line = context.scope.line
        self._mark = mark
        self._added: list[KeptByKey] = []
        self._events = 0

    def add(self, kept: KeptByKey) -> None:
        """Events were written."""
        self._added.append(kept)
        self._events += len(kept.events)
        if self._mark.until is not None or self._events >= limits.TILE_WAITING_EVENTS:
            self.grow()

    @property
    def is_awake(self) -> bool:
        """Whether the trees of any key are up to date."""
        return self._mark.until != b""

    def fall_behind(self, since: int) -> None:
        """Rows with these numbers of the sequence are too many: trees catch up with them, key after key."""
        self.grow()
        if self._mark.until is None:
            self._mark = replace(self._mark, until=b"", since=since)

    def grow(self) -> None:
        """Put all that waits, and what was added, into the trees."""
        waiting = load_waiting(self._context.writer, self.plan, self._line, self._mark.waiting)
        if waiting:
            drop_waiting(self._context.writer, self.plan, self._line)
            self._mark = replace(self._mark, waiting=NOTHING)
        if waiting or self._added:
            _grow(self._context, self.plan, join([*waiting, *self._added]).below(self._mark.until), anew=False)
        self._added, self._events = [], 0

    def move(self, tick: int) -> Mark:
        """Move the mark on to what the source is now."""
        waiting = self._mark.waiting
        moved = replace(self._mark, waiting=replace(waiting, tick=tick)) if waiting.digests else replace(self._mark, tick=tick)
        put_mark(self._context.writer, self.plan, self._line, moved)
        return moved

    def settle(self, tick: int, touched: Sequence[Keys]) -> None:
        """Make the trees of touched keys of the source anew, and move the mark on to what the source is now."""
        waiting = self._mark.waiting
        if self._added:
            kept = join(self._added)
            most = waiting.most + int(np.diff(kept.offsets).max())
            is_full = len(waiting.digests) >= limits.TILE_WAITING or waiting.events + self._events >= limits.TILE_WAITING_EVENTS
            if not is_full and most <= limits.TILE_WAITING_OF_KEY and not touched:
                self._mark = replace(self._mark, waiting=put_entry(self._context.writer, self.plan, self._line, waiting, kept))
                self._added = []
        if self._added or touched:
            self.grow()
        for keys in touched:
            fill(self._context, self.plan, keys if self.plan.source.is_whole else _entities(self.plan, keys)[0], self._mark)
        if self._mark.since:
            self._mark, _ = advance(self._context, self.plan, self._mark, limits.TILE_STEP_KEYS)
        self.move(tick)


class Keeper:
    """Lets tiles follow one write to a source, from before its first change to after its last."""

    def __init__(self, context: WriteContext, source: Relation, adding: int, since: int) -> None:
        self._context = context
        self._source = source
        marks = ((plan, live_mark(context, plan)) for plan in plans_over(context.catalog, source.table))
        self._live = [Follower(context, plan, mark) for plan, mark in marks if mark is not None]
        self._before = load_state(context.writer, source.table, context.scope.line) if self._live else None
        for follower in self._live if adding > limits.TILE_ROWS else ():
            follower.fall_behind(since)
        self._added = 0
        self._hidden = 0
        self._touched: list[Keys] = []
        self._is_counted = True

    @property
    def is_awake(self) -> bool:
        """Whether any tiles follow at once what is added."""
        return any(follower.is_awake for follower in self._live)

    def passed(self, rows: int) -> None:
        """Rows were added that tiles are to follow later."""
        self._added += rows

    def added(self, keys: Keys, offsets: Int64, time: Int64, created: Int64, columns: Sequence[pa.Array | pa.ChunkedArray]) -> None:
        """Rows were added: in order, `offsets` where those of each key begin; columns: the features."""
        self._added += len(time)
        for follower in self._live:
            plan = follower.plan
            entities, order, starts = _by_entity(plan, keys, offsets, time, created)
            rows = columns_of(plan, keys, offsets, columns, order)
            kept = plan.keep(Events(starts, time[order], created[order], rows), created[order])
            follower.add(KeptByKey(entities.encoded(), starts, kept).below(None))

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
        for follower in self._live:
            follower.grow()
        for plan in plans_over(self._context.catalog, self._source.table):
            drop_waiting(self._context.writer, plan, self._context.scope.line)
            entities = keys if plan.source.is_whole else _entities(plan, keys)[0]
            for key in entities.encoded():
                _clear(self._context, plan, key)

    def settle(self) -> None:
        """Make what was touched anew, and move the marks on; not where anything else has changed the source."""
        if not self._live or self._before is None:
            return
        context = self._context
        after = load_state(context.writer, self._source.table, context.scope.line)
        as_told = after.rows == self._before.rows + self._added - self._hidden
        if self._is_counted and not (as_told and after.deleted_rows == self._before.deleted_rows + self._hidden):
            return
        for follower in self._live:
            follower.settle(after.tick, self._touched)


@contextmanager
def following(context: WriteContext, source: Relation, *, adding: int = 0, since: int = 0) -> Iterator[Keeper]:
    """A change of a source that its tiles follow. A change that is not told to the keeper, but of where rows lie, leaves them behind.

    adding: how many rows it will add, with numbers of the sequence from `since` on; if there are many, tiles follow later, key after key.
    """
    keeper = Keeper(context, source, adding, since)
    yield keeper
    keeper.settle()


def fill(context: WriteContext, plan: TilePlan, keys: Keys, mark: Mark) -> None:
    """Make the trees of these entity keys (sorted, unique) anew from their events, as far as the mark tells."""
    done = len(keys) if mark.until is None else keys.lower_bound(mark.until)
    _plant(context, plan, keys.slice(0, done), None)
    if mark.since:
        _plant(context, plan, keys.slice(done, len(keys)), (0, mark.since))


def advance(context: WriteContext, plan: TilePlan, mark: Mark, most: int) -> tuple[Mark, int]:
    """Let the trees of the next so many keys catch up; the mark then, and how many keys that were. The mark is the caller's to put."""
    if mark.until is None:
        return mark, 0
    keys = next_keys(context, plan, mark.until, most, mark.since)
    if mark.since:
        for kept in kept_events(context, plan, keys, (mark.since, LIVE)):
            _grow(context, plan, kept, anew=False)
    else:
        _plant(context, plan, keys, None)
    until = prefix_end(keys.encoded_at(len(keys) - 1)) if len(keys) == most else None
    return replace(mark, until=until, since=mark.since if until is not None else 0), len(keys)


def _plant(context: WriteContext, plan: TilePlan, keys: Keys, written: tuple[int, int] | None) -> None:
    for encoded in keys.encoded():
        _clear(context, plan, encoded)
    for kept in kept_events(context, plan, keys, written):
        _grow(context, plan, kept, anew=True)


def _clear(context: WriteContext, plan: TilePlan, key: bytes) -> None:
    """Remove the tree of a key."""
    start = plan.prefix(context.scope.line) + key
    context.writer.delete_range(TILES, start, prefix_end(start))


def settled(context: WriteContext, plan: TilePlan, mark: Mark) -> Mark:
    """The mark once all that waits has been put into the trees."""
    if not mark.waiting.digests:
        return mark
    follower = Follower(context, plan, mark)
    follower.grow()
    return follower.move(mark.right_at)


def next_keys(context: ReadContext, plan: TilePlan, low: bytes, most: int, since: int = 0) -> Keys:
    """The first so many entity keys of which the source has rows, from these bytes on, in blocks that have some written since."""
    source, found = plan.source, set[bytes]()
    for block in context.history(source.relation).blocks():
        if since and int(block.content.seq.max(initial=block.content.same_seq)) < since:
            continue
        keys = block.keys.slice(block.keys.lower_bound(low) if low else 0, len(block.keys))
        found.update(first_prefixes(keys, source.relation.key_spec, source.entity, most))
    return Keys.from_encoded(sorted(found)[:most], source.entity.kind)


def kept_events(context: ReadContext, plan: TilePlan, keys: Keys, written: tuple[int, int] | None = None) -> Iterator[KeptByKey]:
    """The events of some entity keys as tiles keep them, piece by piece, of those that have any. written: see `Wanted`."""
    wanted = Wanted((*plan.plan.columns, CREATED), written=written)
    finder = EventFinder(context.history(plan.source.relation), plan.source, keys, wanted)
    for piece in finder.pieces():
        grouped = finder.events(piece)
        events = grouped.events
        created = np.asarray(events.columns[CREATED].fill_null(NULL_TIME))
        # With gaps, the events of the keys are those of every other group.
        encoded = keys.slice(piece.first, piece.last).encoded()
        named = [name for key in encoded for name in (key, b"")] if grouped.has_gaps else encoded
        yield KeptByKey(named[: len(events.offsets) - 1], events.offsets, plan.keep(events, created)).below(None)


def _grow(context: WriteContext, plan: TilePlan, kept: KeptByKey, *, anew: bool) -> None:
    """Put events into the trees of their keys; anew: there are none yet."""
    get = None if anew else partial(context.writer.get_many, TILES)
    context.writer.put_many(TILES, sorted(grow(plan, plan.prefix(context.scope.line), kept, get)))


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

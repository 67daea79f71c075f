"""The optimize journey: all that upkeep would do in time, done now, in transactions of bounded size.

Of the own branch, and of the lines that no branch stands on any more: those that a rollback, a fast-forward or a deleted branch left.
"""

from collections import Counter
from contextlib import suppress
from typing import Any, Literal

import pyarrow as pa

from mlstore.engine.catalog import Relation
from mlstore.engine.history.offline import MIN_TIME, load_state
from mlstore.engine.history.picking import pick_where
from mlstore.engine.history.segments import list_entries
from mlstore.engine.history.staging import sweep
from mlstore.engine.keeping.lines import sweep_lines
from mlstore.engine.keeping.rewriting import at_line, rewrite_segment, rewrite_wasteful
from mlstore.engine.session import ReadContext, Session, WriteContext
from mlstore.engine.versions import all_scopes, named
from mlstore.engine.writing import upkeep
from mlstore.engine.writing.backfilling import backfill
from mlstore.errors import UnknownVersionError

Tier = Literal["hot", "cold"]
FORESEEN = ("tail_rows", "runs", "segments", "rows_to_move", "rows_to_expire")
Place = int | None  # a line that no branch stands on; None: the line of the own branch, wherever that moves


def optimize(session: Session, *, table: str | None, tier: Tier | None, author: str) -> dict[str, Any]:
    """Seal tails, merge runs until one is left, move segments to a tier, fill in tiles, free what is free; see Store.optimize."""
    with session.reading() as context:
        if table is not None:
            context.catalog.stored(table, doing="optimize")
        places = _places(context)
    done = Counter(dict.fromkeys(("rows_sealed", "rows_moved", "rows_expired", "segments_freed"), 0))
    for place in places:
        # Another process may sweep a line that nobody stands on while we come to it; then there is nothing to be done.
        with suppress(*(() if place is None else (UnknownVersionError,))):
            with session.reading() as context:
                relations = list(_relations(context, place, table))
            for relation in relations:
                _seal(session, relation, place, author, done)
                _merge(session, relation, place, tier, done)
                if tier is not None:
                    _retier(session, relation, place, tier, done)
    rewrite_wasteful(session)
    with session.reading() as context:
        windows = [] if table is not None or context.scope.ancestry else [relation.label for relation in context.catalog.windows()]
    for name in windows:
        backfill(session, name, None)
    with session.writing() as writing:
        sweep(writing.writer)
        sweep_lines(writing)
        done["segments_freed"] += upkeep.collect(writing.writer)
    return dict(done)


def foresee(session: Session, *, table: str | None, tier: Tier | None) -> pa.Table:
    """What `optimize` would do, a row for each view and table; see Store.optimize."""
    with session.reading() as context:
        if table is not None:
            context.catalog.stored(table, doing="optimize")
        work = {relation.label: Counter[str]() for relation in _relations(context, None, table)}
        for place in _places(context):
            for relation in _relations(context, place, table):
                there = context if place is None else at_line(context, place)
                work.setdefault(relation.label, Counter()).update(
                    _foresee(there, relation, tier, session.clock_us() if place is None else None)
                )
    columns = {name: [counts[name] for counts in work.values()] for name in FORESEEN}
    return pa.table({"name": list(work)} | columns, pa.schema([("name", pa.string()), *((name, pa.int64()) for name in FORESEEN)]))


def _foresee(context: ReadContext, relation: Relation, tier: Tier | None, now_us: int | None) -> dict[str, int]:
    state = load_state(context.reader, relation.table, context.scope.line)
    entries = list_entries(context.reader, relation.table, context.scope.line)
    sizes: Counter[int] = Counter()
    for entry in entries:
        sizes[entry.run] += entry.live_rows
    left = sorted([*sizes.values(), *([state.tail_rows] if state.tail_rows else [])])
    moved = 0 if len(left) > 1 else sum(entry.live_rows for entry in entries if tier not in (None, entry.tier))
    while len(left) > 1:
        merged = sum(left[: upkeep.widest_merge()])
        left, moved = sorted([*left[upkeep.widest_merge() :], merged]), moved + merged
    horizon = None if now_us is None else upkeep.horizon_of(relation, now_us)
    aged = [] if horizon is None else pick_where(context.history(relation).blocks(last_time=horizon - 1), MIN_TIME, horizon - 1, None)
    expired = sum(len(rows) for _, rows in aged)
    return dict(zip(FORESEEN, (state.tail_rows, len(sizes), len(entries), moved, expired), strict=True))


def _places(context: ReadContext) -> list[Place]:
    heads = {ref.line for _, ref in named(context.reader, "branch")}
    return [None, *(scope.line for scope in all_scopes(context.reader) if scope.line not in heads)]


def _relations(context: ReadContext, place: Place, table: str | None) -> list[Relation]:
    if place is None:
        return list(context.catalog.relations()) if table is None else [context.catalog.relation(table)]
    there = at_line(context, place)
    labels = None if table is None else context.catalog.relation(table).label
    # What the line never wrote to needs no care.
    return [
        relation
        for relation in there.catalog.relations()
        if labels in (None, relation.label) and load_state(context.reader, relation.table, place).tick
    ]


def _there(writing: WriteContext, place: Place) -> WriteContext:
    return writing if place is None else at_line(writing, place)


def _seal(session: Session, relation: Relation, place: Place, author: str, done: Counter[str]) -> None:
    with session.writing() as writing:
        there = _there(writing, place)
        relation = upkeep.current(there, relation)
        # A line that nobody stands on has no commits to come, and what it shows changes no more.
        change = upkeep.expire(there, relation) if place is None else None
        if change is not None:
            there.commit(change, author=author, message="rows beyond the retention")
            done["rows_expired"] += change.rows
        done["rows_sealed"] += load_state(there.writer, relation.table, there.scope.line).tail_rows
        upkeep.seal(there, relation)


def _merge(session: Session, relation: Relation, place: Place, tier: Tier | None, done: Counter[str]) -> None:
    merged = 1
    while merged:
        with session.writing() as writing:
            there = _there(writing, place)
            merged = upkeep.merge_once(there, upkeep.current(there, relation), upkeep.plan_full_merge, tier=tier)
            done["segments_freed"] += upkeep.collect(writing.writer)
        done["rows_moved"] += merged


def _retier(session: Session, relation: Relation, place: Place, tier: Tier, done: Counter[str]) -> None:
    """Move segments to a tier, one a transaction."""
    while True:
        with session.writing() as writing:
            there = _there(writing, place)
            waiting = [entry for entry in list_entries(there.writer, relation.table, there.scope.line) if entry.tier != tier]
            if not waiting:
                return
            rewrite_segment(there, upkeep.current(there, relation), waiting[0], tier)
            done["segments_freed"] += upkeep.collect(writing.writer)
            done["rows_moved"] += waiting[0].live_rows

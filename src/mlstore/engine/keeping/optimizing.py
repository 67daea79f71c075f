"""The optimize journey: all that upkeep would do in time, done now, in transactions of bounded size."""

from typing import Any, Literal

from mlstore.engine.catalog import Relation
from mlstore.engine.history.offline import load_state
from mlstore.engine.history.segments import list_entries
from mlstore.engine.history.staging import sweep
from mlstore.engine.keeping.lines import sweep_lines
from mlstore.engine.keeping.rewriting import rewrite_erased, rewrite_segment
from mlstore.engine.session import Session
from mlstore.engine.writing import upkeep

Tier = Literal["hot", "cold"]


def optimize(session: Session, *, table: str | None, tier: Tier | None, author: str) -> dict[str, Any]:
    """Seal tails, merge runs until one is left, move segments to a tier, free what is free; see Store.optimize."""
    with session.reading() as context:
        relations = list(context.catalog.relations()) if table is None else [context.catalog.stored(table, doing="optimize")]
    moved = sealed = expired = freed = 0
    for relation in relations:
        with session.writing() as writing:
            relation = upkeep.current(writing, relation)
            change = upkeep.expire(writing, relation)
            if change is not None:
                writing.commit(change, author=author, message="rows beyond the retention")
                expired += change.rows
            sealed += load_state(writing.writer, relation.table, writing.scope.line).tail_rows
            upkeep.seal(writing, relation)
        merged = 1
        while merged:
            with session.writing() as writing:
                merged = upkeep.merge_once(writing, upkeep.current(writing, relation), upkeep.plan_full_merge, tier=tier)
                freed += upkeep.collect(writing.writer)
            moved += merged
        if tier is not None:
            retiered, freed_by_it = _retier(session, relation, tier)
            moved, freed = moved + retiered, freed + freed_by_it
    rewrite_erased(session)
    with session.writing() as writing:
        sweep(writing.writer)
        sweep_lines(writing)
        freed += upkeep.collect(writing.writer)
    return {"rows_sealed": sealed, "rows_moved": moved, "rows_expired": expired, "segments_freed": freed}


def _retier(session: Session, relation: Relation, tier: Tier) -> tuple[int, int]:
    """Move segments to a tier, one a transaction; rows moved, and segments freed."""
    moved = freed = 0
    while True:
        with session.writing() as context:
            entries = list_entries(context.writer, relation.table, context.scope.line)
            waiting = [entry for entry in entries if entry.tier != tier]
            if not waiting:
                return moved, freed
            rewrite_segment(context, upkeep.current(context, relation), waiting[0], tier)
            freed += upkeep.collect(context.writer)
            moved += waiting[0].live_rows

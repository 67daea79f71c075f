"""Catching up: tiles that follow key after key, in transactions of bounded size, what they did not follow in the write itself."""

from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.session import ReadContext, Session, WriteContext
from mlstore.engine.windows.marks import Mark, live_mark, put_mark
from mlstore.engine.windows.tilekeeping import advance, plans_over
from mlstore.engine.windows.tiles import TilePlan

STEP_KEYS = 256


def catch_up(session: Session, relation: Relation) -> None:
    """Let the tiles over a table catch up with a write that was too large for them."""
    with session.reading() as context:
        is_due = bool(_late(context, relation))
    while is_due:
        with session.writing() as writing:
            for plan, mark in _late(writing, relation):
                step(writing, plan, mark)
            is_due = bool(_late(writing, relation))


def step(context: WriteContext, plan: TilePlan, mark: Mark) -> tuple[int, bool]:
    """Fill in the next keys, as many as one transaction bears; how many, and whether all are done now."""
    done = 0
    while mark.until is not None and context.writer.dirty_bytes < limits.STAGE_BYTES:
        mark, keys = advance(context, plan, mark, STEP_KEYS)
        done += keys
    put_mark(context.writer, plan, context.scope.line, mark)
    return done, mark.until is None


def _late(context: ReadContext, relation: Relation) -> list[tuple[TilePlan, Mark]]:
    marks = [(plan, live_mark(context, plan)) for plan in plans_over(context.catalog, relation.table)]
    return [(plan, mark) for plan, mark in marks if mark is not None and mark.since]

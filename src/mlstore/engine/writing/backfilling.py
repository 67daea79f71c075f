"""The backfill journey: the tiles of a window view made from all events that its source holds, in transactions of bounded size.

Writes that come in between are followed for the keys that are done already. A kill leaves the mark where the last transaction put it: the
next backfill goes on from there. Until the mark says that all keys are done nobody reads the tiles.
"""

from mlstore.engine.history.offline import load_state
from mlstore.engine.session import Session, WriteContext
from mlstore.engine.windows.marks import Mark, drop_waiting, live_mark, put_mark
from mlstore.engine.windows.tilekeeping import next_keys, settled
from mlstore.engine.windows.tiles import TILES, TilePlan, tile_plan
from mlstore.engine.writing.catching import step
from mlstore.engine.writing.ingest import Progress
from mlstore.errors import CorruptionError, UsageError
from mlstore.storage.keyspace import prefix_end

MOST_RESTARTS = 3


def backfill(session: Session, name: str, progress: Progress | None) -> int:
    """Fill in the tiles of a window view; see Store.backfill. How many keys were filled in."""
    session.require_outside("a backfill")
    filled = restarts = 0
    is_done = False
    while not is_done:
        with session.writing() as context:
            plan = _plan(context, name)
            if plan is None:
                return 0
            mark = _live(context, plan)
            if mark is None:
                restarts += 1
                if restarts > MOST_RESTARTS:
                    hint = "fill in again when its source is not deleted from, merged into or loaded in bulk meanwhile"
                    raise UsageError(f"{name}: its source changed under the backfill time and again", hint=hint)
                mark = _start(context, plan)
                filled = 0
            done, is_done = step(context, plan, mark)
        filled += done
        if progress is not None:
            progress(filled, None)
    return filled


def begin_live(session: Session, name: str) -> None:
    """The tiles of a window view over no events are all there from the start; those of events that are there wait for a backfill."""
    with session.writing() as context:
        plan = None if context.scope.ancestry else _plan(context, name)
        if plan is not None and live_mark(context, plan) is None and not len(next_keys(context, plan, b"", 1)):
            step(context, plan, _start(context, plan))


def _plan(context: WriteContext, name: str) -> TilePlan | None:
    relation = context.catalog.relation(name)
    if relation.window is None:
        raise UsageError(f"{name!r} is no window view, so it has no tiles to fill in", hint="name a window view")
    if context.scope.ancestry:
        raise UsageError(f"{name}: a branch has no tiles", hint="its windows are answered from the events; fill in on the main line")
    return tile_plan(relation)


def _live(context: WriteContext, plan: TilePlan) -> Mark | None:
    """The mark where tiles are right as far as they go; what waits beside them is put in."""
    mark = live_mark(context, plan)
    try:
        return None if mark is None else settled(context, plan, mark)
    except CorruptionError:  # they are made anew
        return None


def _start(context: WriteContext, plan: TilePlan) -> Mark:
    prefix = plan.prefix(context.scope.line)
    context.writer.delete_range(TILES, prefix, prefix_end(prefix))
    drop_waiting(context.writer, plan, context.scope.line)
    mark = Mark(load_state(context.writer, plan.source.relation.table, context.scope.line).tick, b"")
    put_mark(context.writer, plan, context.scope.line, mark)
    return mark

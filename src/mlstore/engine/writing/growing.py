"""Growing: what a table's state counts, after rows were added to it."""

from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Int64
from mlstore.engine.history.offline import load_state, put_state
from mlstore.engine.session import WriteContext


def span_of(time: Int64) -> tuple[int, int]:
    """The first and the last of event times."""
    return int(time.min()), int(time.max())


def grow(
    context: WriteContext,
    relation: Relation,
    rows: int,
    span: tuple[int, int],
    late: int,
    *,
    tail_rows: int = 0,
    tail_bytes: int = 0,
    segments: int = 0,
    size_bytes: int = 0,
) -> None:
    """Count rows just written, of which so many were late, and where they lie."""
    state = load_state(context.writer, relation.table, context.scope.line)
    low, high = span
    grown = state.grown(
        rows=rows,
        low=low,
        high=high,
        late=late,
        tail_rows=tail_rows,
        tail_bytes=tail_bytes,
        segments=segments,
        size_bytes=size_bytes,
    )
    put_state(context.writer, relation.table, context.scope.line, grown)

"""Placing: rows just written go to every place that answers for them, in the transaction of their commit.

The one spot where a small write meets the file: whatever else is to follow the rows of a table row by row is kept up here.
"""

from mlstore.engine.history import online, tail
from mlstore.engine.session import WriteContext
from mlstore.engine.writing.batch import Batch


def place(context: WriteContext, batch: Batch) -> int:
    """Put the rows of a batch into the tail, and the newest of each key online unless a newer one is there; how many keys came late.

    The batch has the rows by (key, event time, created, seq): `keys`, `rows.offsets`, `rows.time`, `seq`, and `columns`, unpacked when
    first asked for.
    """
    writer, relation, scope = context.writer, batch.relation, context.scope
    tail.put_laid(writer, relation, scope.line, batch.encoded, batch.rows.offsets, batch.cuts, batch.laid)
    if not relation.layout.is_online:
        return 0
    return online.put_latest(writer, relation, scope, batch.encoded, batch.newest())

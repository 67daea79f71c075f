"""Alone: a write of one row, which needs no order and no columns; the same records as those of a batch of one, by a shorter way."""

import struct
from typing import Final

from mlstore._core.tail import lay_alone
from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history import online
from mlstore.engine.history.tail import DELETED, TAIL, digest_rows, tail_prefix
from mlstore.engine.session import WriteContext
from mlstore.engine.versions import LIVE, take_numbers
from mlstore.engine.windows.tilekeeping import plans_over
from mlstore.engine.writing.batch import ticks_of
from mlstore.engine.writing.growing import grow
from mlstore.engine.writing.packing import Entry, Packed, tells_created
from mlstore.format.manifest import TableChange

_ONE_KEY: Final = struct.pack("=qq", 0, 1)  # the first row of the only key, and the number of rows


def is_alone(context: WriteContext, relation: Relation, packed: Packed) -> bool:
    """Whether it is one row that names its key, and no tiles follow the table, which want columns."""
    return len(packed.entries) == 1 < limits.DIRECT_ROWS and packed.known is None and not plans_over(context.catalog, relation.table)


def write_alone(context: WriteContext, relation: Relation, entry: Entry) -> TableChange:
    """Add one row to the tail, and put it online unless a newer one is there."""
    writer, scope, layout = context.writer, context.scope, relation.layout
    seq, now = take_numbers(writer, "seq"), ticks_of(relation, context.now_us)
    prefix = tail_prefix(relation.table, scope.line)
    key, time, record, value = lay_alone(prefix, entry, layout.timestamp is not None, tells_created(layout), now, seq, LIVE)
    row = value[DELETED.size :]
    writer.put(TAIL, record, value)
    late = layout.is_online and not online.put_if_newest(writer, relation, scope, key, row)
    grow(context, relation, 1, (time, time), int(late), tail_rows=1, tail_bytes=len(row))
    return TableChange("append", relation.label, relation.table, 1, seq, seq, digest_rows(row, _ONE_KEY, [key]))

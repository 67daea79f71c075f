"""Newest rows: the features of one view out of its online rows, whoever found those."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.asking.point import oldest_tick
from mlstore.engine.asking.selection import Selected
from mlstore.engine.meter import SAMPLED, Meter
from mlstore.format.rows import RowHeads

_AGES = 4  # of one batch so many values at most have their age kept, beyond one in SAMPLED of a small one


@dataclass(frozen=True, slots=True)
class Newest:
    """What a view says: the features, the heads of the rows shown, and which rows are hidden for their age (None: age is no matter)."""

    batch: pa.RecordBatch
    shown: RowHeads
    outside: NDArray[np.bool_] | None


class NewestRows:
    """Reads the selected features of a view out of online rows."""

    __slots__ = ("_batches", "selected")

    def __init__(self, selected: Selected) -> None:
        self.selected = selected
        self._batches = selected.relation.rows.batches(selected.numbers, selected.outputs)

    def read(self, heads: RowHeads, codes: NDArray[np.int32] | None, now_ns: int, meter: Meter) -> Newest:
        """A row per code: the head at that position, none where it is negative. Without codes the heads as they are."""
        selected = self.selected
        outside = None if selected.ttl_ns is None else heads.found & (heads.event_time < oldest_tick(selected, now_ns))
        self._count(heads, outside, now_ns, meter)
        shown = heads.shown(codes, hidden=outside)
        return Newest(self._batches.read(shown), shown, outside)

    def _count(self, heads: RowHeads, outside: NDArray[np.bool_] | None, now_ns: int, meter: Meter) -> None:
        view = meter.view(self.selected.relation.table)
        view.not_found.add(len(heads.found) - int(np.count_nonzero(heads.found)))
        shown = heads.found
        if outside is not None:
            view.outside_ttl.add(int(np.count_nonzero(outside)))
            shown = shown & ~outside
        sampled = slice(None, None, max(SAMPLED, -(-len(shown) // _AGES)))
        for time in heads.event_time[sampled][shown[sampled]].tolist():
            view.ages.record(now_ns - time * self.selected.relation.layout.ticks_ns)


def beside(table: pa.Table, batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """The columns of the batches behind those of the table."""
    if len(batches) != 1:
        columns = [column for batch in batches for column in batch.columns]
        names = [name for batch in batches for name in batch.schema.names]
        return pa.Table.from_arrays([*table.columns, *columns], [*table.column_names, *names])
    # The columns of the one batch need no Python object each.
    answer = pa.Table.from_batches(batches)
    for place, name in enumerate(table.column_names):
        answer = answer.add_column(place, name, table.column(place))
    return answer

"""Batches: how many keys are answered, worked out once for a selection and the name of the key column given.

Covers what is asked all the time: the newest rows of a line of its own, by a list of integers. The rest is `serving`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mlstore.engine.asking.newest import NewestRows, beside
from mlstore.engine.asking.selection import Selected
from mlstore.engine.history.online import online_prefix
from mlstore.engine.meter import Meter
from mlstore.engine.versions import Scope
from mlstore.format.keyvector import Ints, Keys, ints_of_list
from mlstore.format.rows import peek_many


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What is read for many keys, and what becomes of it."""

    name: str  # the key column
    views: tuple[NewestRows, ...]
    prefixes: tuple[bytes, ...]

    def ints(self, keys: Mapping[str, Any]) -> Ints | None:
        """The keys as integers; None: they are something else, or none at all: not for this plan to say."""
        values = keys[self.name]
        return ints_of_list(values) if type(values) is list and values else None

    def records(self, ints: Ints) -> list[bytes]:
        """The online records of these keys, view after view."""
        keys = Keys(ints=ints)
        return [record for prefix in self.prefixes for record in keys.records(prefix)]

    def answer(self, ints: Ints, rows: Sequence[bytes | None], now_ns: int, meter: Meter) -> pa.Table:
        count = len(ints)
        parts = [rows[start : start + count] for start in range(0, len(rows), count)] if len(self.views) > 1 else [rows]
        batches = [view.read(peek_many(part), None, now_ns, meter).batch for view, part in zip(self.views, parts, strict=True)]
        return beside(pa.table([pa.array(ints)], [self.name]), batches)


def plan_batch(selection: Sequence[Selected], names: Sequence[str], scope: Scope, *, status: bool) -> BatchPlan | None:
    """The plan for a list of keys under this name; None where the answer is not simply the online row of the line, or a key no int64."""
    if not scope.is_live or scope.ancestry or status or len(names) != 1:
        return None
    for selected in selection:
        layout, columns = selected.relation.layout, selected.key_columns
        if (
            selected.relation.window is not None
            or layout.last_valid
            or selected.way.offset_ns
            or columns != tuple(names)
            or layout.keys[0].dtype.arrow != pa.int64()
        ):
            return None
    prefixes = tuple(online_prefix(selected.relation, scope.line) for selected in selection)
    return BatchPlan(names[0], tuple(map(NewestRows, selection)), prefixes)

"""Maps: outputs by category. Each category of each group becomes a group of its own, and the answers are put together again.

A map has the categories of which the window holds an event, in ascending order. Events without a category are in none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mlstore._core.windows import find_events
from mlstore.engine.windows.measures import order_values
from mlstore.engine.windows.plan import Int64
from mlstore.engine.windows.stretches import Held, Stretch


@dataclass(frozen=True, slots=True)
class Split:
    """Events by category. rows, moments: where those of `stretch` come from; category: of each of its groups, a place in `categories`."""

    stretch: Stretch
    rows: Int64
    moments: Int64
    category: Int64
    categories: pa.Array
    asked: int

    def held(self, whole: Held) -> Held:
        """What windows that hold some events hold of each category."""
        low, high = (np.ascontiguousarray(bounds[:, self.moments]) for bounds in (whole.low, whole.high))
        first, last = (np.ascontiguousarray(bounds[:, self.moments]) for bounds in (whole.begin, whole.end - 1))
        begin, end = np.empty_like(low), np.empty_like(low)
        find_events(self.stretch.offsets, self.rows, self.stretch.moment_offsets, first, last, begin, end)
        return Held(low, high, begin, end)

    def gather(self, answers: pa.Array, begin: Int64, end: Int64) -> pa.Array:
        """A map for each moment, from the answers for each category and moment."""
        entries = np.flatnonzero(begin < end)
        entries = entries[np.argsort(self.moments[entries], kind="stable")]
        groups = np.repeat(np.arange(len(self.category)), np.diff(self.stretch.moment_offsets))
        offsets = np.append(0, np.cumsum(np.bincount(self.moments[entries], minlength=self.asked))).astype(np.int32)
        keys = self.categories.take(pa.array(self.category[groups[entries]]))
        return pa.MapArray.from_arrays(pa.array(offsets), keys, answers.take(pa.array(entries)))


def split_by(stretch: Stretch, column: str) -> Split:
    """Events by the values of a column."""
    values = stretch.columns[column]
    categories, codes = order_values(values)
    groups = np.repeat(np.arange(len(stretch.offsets) - 1), np.diff(stretch.offsets))
    rows = np.flatnonzero(np.asarray(values.is_valid()))
    first = int(stretch.offsets[0])
    inside = rows[(rows >= first) & (rows < int(stretch.offsets[-1]))]
    pairs = groups[inside - first] * max(1, len(categories)) + codes[inside]
    order = np.argsort(pairs, kind="stable")
    rows, pairs = inside[order], pairs[order]
    starts = np.flatnonzero(np.append(np.ones(min(1, len(pairs)), np.bool_), pairs[1:] != pairs[:-1]))
    group, category = np.divmod(pairs[starts], max(1, len(categories)))
    asks = np.diff(stretch.moment_offsets)[group]
    moment_offsets = np.append(0, np.cumsum(asks))
    moments = np.arange(moment_offsets[-1]) + np.repeat(stretch.moment_offsets[group] - moment_offsets[:-1], asks)
    picked = pa.array(rows)
    split = Stretch(
        np.append(starts, len(rows)),
        stretch.time[rows],
        {name: values.take(picked) for name, values in stretch.columns.items()},
        moment_offsets,
        stretch.moment_time[moments],
    )
    return Split(split, rows, moments, category, categories, len(stretch.moment_time))

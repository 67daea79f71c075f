"""Counterparts: rows that one place sees and another does not, put together into changes: added, removed, changed. Pure.

In a view rows are matched by key and event time, in a table with a key by key; in one without, rows are only added and removed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlstore.schema.layout import Layout

Int64 = NDArray[np.int64]
Group = tuple[bytes, int]  # key, event time (0 where the key alone says which row)


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Positions: of rows removed, of rows added, and of each row changed, before and after."""

    removed: Int64
    added: Int64
    before: Int64
    after: Int64


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """Groups with at most one row a side, where nothing is to be chosen: rows alone, and pairs. The others' rows are left."""

    removed: Int64
    added: Int64
    before: Int64
    after: Int64
    left_before: Int64
    left_after: Int64


def split_plain(before: Int64, after: Int64) -> Plain:
    """Given the number of the group of each row before and after."""
    groups = 1 + max((int(side.max()) for side in (before, after) if side.size), default=-1)
    counts = [np.bincount(side, minlength=groups) for side in (before, after)]
    is_plain = (counts[0] <= 1) & (counts[1] <= 1)
    is_pair = is_plain & (counts[0] == 1) & (counts[1] == 1)
    place = np.empty(groups, np.int64)
    place[before] = np.arange(len(before))
    paired = np.flatnonzero(is_pair[after])
    return Plain(
        removed=np.flatnonzero(is_plain[before] & ~is_pair[before]),
        added=np.flatnonzero(is_plain[after] & ~is_pair[after]),
        before=place[after[paired]],
        after=paired,
        left_before=np.flatnonzero(~is_plain[before]),
        left_after=np.flatnonzero(~is_plain[after]),
    )


def group_of(layout: Layout, key: bytes, time: int) -> Group:
    """What says which row a row stands for."""
    return (key, 0) if not layout.is_online and layout.keys else (key, time)


def match_rows(layout: Layout, before: Sequence[tuple[bytes, int, bytes]], after: Sequence[tuple[bytes, int, bytes]]) -> Matched:
    """Match (key, event time, content) of rows removed with those of rows added; equal ones cancel."""
    gone: dict[tuple[bytes, bytes], list[int]] = defaultdict(list)
    for place, (key, _, content) in enumerate(before):
        gone[key, content].append(place)
    added, cancelled = [], set()
    for place, (key, _, content) in enumerate(after):
        same = gone.get((key, content))
        if same:
            cancelled.add(same.pop(0))
        else:
            added.append(place)
    removed = [place for place in range(len(before)) if place not in cancelled]
    if not layout.is_online and not layout.keys:
        return _matched(removed, added, [])
    waiting: dict[Group, list[int]] = defaultdict(list)
    for place in removed:
        waiting[group_of(layout, before[place][0], before[place][1])].append(place)
    changed, alone = [], []
    for place in added:
        old = waiting.get(group_of(layout, after[place][0], after[place][1]))
        if old:
            changed.append((old.pop(0), place))
        else:
            alone.append(place)
    paired = {old for old, _ in changed}
    return _matched([place for place in removed if place not in paired], alone, changed)


def _matched(removed: list[int], added: list[int], changed: list[tuple[int, int]]) -> Matched:
    pairs = np.array(changed, np.int64).reshape(-1, 2)
    return Matched(np.array(removed, np.int64), np.array(added, np.int64), pairs[:, 0], pairs[:, 1])

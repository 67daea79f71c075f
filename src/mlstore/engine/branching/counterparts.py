"""Counterparts: rows that one place sees and another does not, put together into changes: added, removed, changed. Pure.

In a view rows are matched by key and event time, in a table with a key by key; in one without, rows are only added and removed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mlstore.schema.layout import Layout

Group = tuple[bytes, int]  # key, event time (0 where the key alone says which row)


@dataclass(frozen=True, slots=True)
class Matched:
    """Positions: of rows removed, of rows added, and of (before, after) for each row changed."""

    removed: list[int]
    added: list[int]
    changed: list[tuple[int, int]]


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
        return Matched(removed, added, [])
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
    return Matched([place for place in removed if place not in paired], alone, changed)

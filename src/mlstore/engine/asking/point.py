"""Points: how one key is answered, worked out once for a selection and the names of the keys given.

Covers what is asked all the time: the newest rows of a line of its own, and windows that tiles answer, every key present. The rest is
`serving`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlstore._core.walks import Walk
from mlstore.engine.asking.keygroup import KeyGroup, grouped, key_group, records_of
from mlstore.engine.asking.lookup import expiry, times_or_null
from mlstore.engine.asking.point_windows import PointWindows, plan_point_windows
from mlstore.engine.asking.selection import Selected, status_names
from mlstore.engine.history.offline import MIN_TIME
from mlstore.engine.history.online import online_prefix
from mlstore.engine.meter import Meter, ViewMeter
from mlstore.engine.versions import Scope
from mlstore.format.answers import IS_NOT_FOUND, IS_OUTSIDE_TTL, STATUSES, AnswerPlan
from mlstore.format.rows import peek


@dataclass(frozen=True, slots=True)
class PointPlan:
    """What is read for one key, and what becomes of it."""

    template: dict[str, Any]  # the answer of a key that nobody knows
    groups: tuple[KeyGroup, ...]
    views: tuple["PointView", ...]  # in the order of the records
    windows: PointWindows | None
    needs_now: bool
    with_status: bool

    def records(self, keys: Mapping[str, Any]) -> list[bytes] | None:
        """The online records of these keys; None: one of them is null, no single value, or refused: not for this plan to say."""
        return self.groups[0].records(keys) if len(self.groups) == 1 else records_of(self.groups, keys)

    def answer(
        self, keys: Mapping[str, Any], rows: Sequence[bytes | None], now_ns: int, *, is_sample: bool, walks: Sequence[Walk] = ()
    ) -> dict[str, Any]:
        """The answer, from the online records and the walks of these keys."""
        answer = self.template.copy()
        answer.update(keys)
        if self.windows is not None:
            self.windows.fill(walks, answer)
        for place, view in enumerate(self.views):
            row = rows[place]
            if row is None:
                view.meter.not_found.add_one()
                code = IS_NOT_FOUND
            else:
                code = view.fill(row, MIN_TIME if view.ttl_ns is None else oldest_tick(view.selected, now_ns), answer)
                if code == IS_OUTSIDE_TTL:
                    view.meter.outside_ttl.add_one()
                elif is_sample:
                    view.meter.ages.record(now_ns - view.layout.ticks_ns * peek(row)[1])
            if self.with_status:
                answer.update(zip(view.status_names, view.told(code, row), strict=True))
        return answer


class PointView:
    """One view of a plan."""

    __slots__ = ("fill", "layout", "meter", "selected", "status_names", "ttl_ns")

    def __init__(self, selected: Selected, meter: ViewMeter) -> None:
        relation = selected.relation
        self.selected = selected
        self.layout = relation.layout
        self.ttl_ns = selected.ttl_ns
        self.fill = AnswerPlan(relation.rows, selected.numbers, selected.outputs).fill
        self.meter = meter
        self.status_names = status_names(selected)

    def told(self, code: int, row: bytes | None) -> tuple[str, Any, Any]:
        """The status, the event time of the row that won, and until when it stays the answer."""
        if row is None or code == IS_OUTSIDE_TTL:
            return STATUSES[code], None, None
        ticks, present = np.array([peek(row)[1]]), np.array([True])
        shown = (times_or_null(ticks, present, self.layout), times_or_null(expiry(ticks, self.selected), present, self.layout))
        return STATUSES[code], *(column[0].as_py() for column in shown)


def oldest_tick(selected: Selected, now_ns: int) -> int:
    """The oldest event time that is still within the ttl."""
    if selected.ttl_ns is None:
        return MIN_TIME
    return -(-(now_ns - selected.ttl_ns) // selected.relation.layout.ticks_ns)


def plan_point(selection: Sequence[Selected], names: Sequence[str], scope: Scope, meter: Meter, *, status: bool) -> PointPlan | None:
    """The plan for keys of these names; None where the answer is neither the online row of the line nor in tiles."""
    if not scope.is_live or scope.ancestry:
        return None
    template: dict[str, Any] = dict.fromkeys(names)
    for selected in selection:
        if selected.relation.layout.last_valid or selected.way.offset_ns or not set(selected.key_columns) <= set(names):
            return None
        template |= dict.fromkeys(selected.outputs)
        template |= dict.fromkeys(status_names(selected) if status else ())
    windows = [selected for selected in selection if selected.relation.window is not None]
    ready = plan_point_windows(windows, scope.line) if windows and not status else None
    if windows and ready is None:
        return None
    groups = grouped([selected for selected in selection if selected.relation.window is None])
    ordered = [selected for group in groups for selected in group]
    return PointPlan(
        template,
        tuple(key_group(group, [online_prefix(selected.relation, scope.line) for selected in group]) for group in groups),
        tuple(PointView(selected, meter.view(selected.relation.table)) for selected in ordered),
        ready,
        needs_now=bool(windows) or any(selected.ttl_ns is not None for selected in ordered),
        with_status=status,
    )

"""Points: how one key is answered, worked out once for a selection and the names of the keys given.

Covers what is asked all the time: the newest rows of a line of its own, every key present. The rest is `serving`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlstore.engine.asking.lookup import expiry, times_or_null
from mlstore.engine.asking.selection import Selected, status_names
from mlstore.engine.history.offline import MIN_TIME
from mlstore.engine.history.online import online_prefix
from mlstore.engine.meter import Meter, ViewMeter
from mlstore.engine.versions import Scope
from mlstore.errors import UsageError
from mlstore.format.answers import IS_NOT_FOUND, IS_OUTSIDE_TTL, STATUSES, AnswerPlan
from mlstore.format.keys import MAX_KEY
from mlstore.format.keyscalar import ScalarEncoder
from mlstore.format.keyvector import encode_int
from mlstore.format.rows import peek

GLOBAL_KEY = encode_int(0)


@dataclass(frozen=True, slots=True)
class PointPlan:
    """What is read for one key, and what becomes of it."""

    template: dict[str, Any]  # the answer of a key that nobody knows
    groups: tuple["KeyGroup", ...]
    views: tuple["PointView", ...]  # in the order of the records
    needs_now: bool
    with_status: bool

    def records(self, keys: Mapping[str, Any]) -> list[bytes] | None:
        """The online records of these keys; None: one of them is null, no single value, or refused: not for this plan to say."""
        records = []
        for group in self.groups:
            code = group.encode(keys)
            if code is None:
                return None
            for prefix in group.prefixes:
                records.append(prefix + code)
        return records

    def answer(self, keys: Mapping[str, Any], rows: Sequence[bytes | None], now_ns: int, *, is_sample: bool) -> dict[str, Any]:
        answer = self.template.copy()
        answer.update(keys)
        for view, row in zip(self.views, rows, strict=True):
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


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """Views of one entity: the key columns, and where the views' records begin."""

    columns: tuple[tuple[str, ScalarEncoder], ...]
    prefixes: tuple[bytes, ...]

    def encode(self, keys: Mapping[str, Any]) -> bytes | None:
        code = b"" if self.columns else GLOBAL_KEY
        try:
            for name, encode in self.columns:
                part = encode(keys[name])
                if part is None:
                    return None
                code = code + part if code else part
        except UsageError:
            return None
        return code if len(code) <= MAX_KEY else None


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
    """The plan for keys of these names; None where the answer is not simply the online row of the line."""
    if not scope.is_live or scope.ancestry:
        return None
    template: dict[str, Any] = dict.fromkeys(names)
    groups: dict[tuple[str, ...], list[Selected]] = {}
    for selected in selection:
        columns = selected.key_columns
        if (
            selected.relation.window is not None
            or selected.relation.layout.last_valid
            or selected.way.offset_ns
            or not set(columns) <= set(names)
        ):
            return None
        groups.setdefault((*columns, *map(str, selected.relation.key_spec.dtypes)), []).append(selected)
        template |= dict.fromkeys(selected.outputs)
        template |= dict.fromkeys(status_names(selected) if status else ())
    ordered = [selected for group in groups.values() for selected in group]
    return PointPlan(
        template,
        tuple(_key_group(group, scope.line) for group in groups.values()),
        tuple(PointView(selected, meter.view(selected.relation.table)) for selected in ordered),
        needs_now=any(selected.ttl_ns is not None for selected in ordered),
        with_status=status,
    )


def _key_group(group: Sequence[Selected], line: int) -> KeyGroup:
    columns = tuple(zip(group[0].key_columns, group[0].relation.key_spec.encoders, strict=True))
    return KeyGroup(columns, tuple(online_prefix(selected.relation, line) for selected in group))

"""Derived points: how one key is answered where on-demand views are among the features: the point of what is stored, then computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlstore._core.walks import Walk
from mlstore.engine.asking.deriving import FeaturePlan
from mlstore.engine.asking.point import PointPlan
from mlstore.engine.asking.point_windows import PointWindows
from mlstore.schema.python_values import is_scalar


@dataclass(frozen=True, slots=True)
class DerivedPoint:
    """A point whose answer is finished by a plan."""

    point: PointPlan
    plan: FeaturePlan

    @property
    def needs_now(self) -> bool:
        return self.point.needs_now

    @property
    def windows(self) -> PointWindows | None:
        return self.point.windows

    def records(self, keys: Mapping[str, Any]) -> list[bytes] | None:
        # No key of a view need be among the columns: then only these tell one request from many.
        return self.point.records(keys) if all(is_scalar(keys[name]) for name in self.plan.brought_columns) else None

    def answer(
        self, keys: Mapping[str, Any], rows: Sequence[bytes | None], now_ns: int, *, is_sample: bool, walks: Sequence[Walk] = ()
    ) -> dict[str, Any]:
        return self.plan.finish_one(keys, self.point.answer(keys, rows, now_ns, is_sample=is_sample, walks=walks))


def derive_point(plan: FeaturePlan, point: PointPlan | None) -> PointPlan | DerivedPoint | None:
    """The point of a whole plan, from that of what it looks up."""
    return point if point is None or not plan.steps else DerivedPoint(point, plan)

"""Windows of a point: window views of a plan for one key, all of whose outputs tiles keep: read from them, finished into the answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlstore._core.walks import Walk
from mlstore.engine.asking.keygroup import KeyGroup, grouped, key_group, records_of
from mlstore.engine.asking.questions import window_tick
from mlstore.engine.asking.selection import Selected
from mlstore.engine.windows.tilereading import KeptPlan, ready_plan
from mlstore.engine.windows.tilewatching import GrownWalk, Watch
from mlstore.schema.layout import Layout
from mlstore.storage.glance import Guard


@dataclass(frozen=True, slots=True)
class PointWindows:
    """Window views in the order of the groups' records. ways: what begins their walks. guards: of the watches, two each."""

    groups: tuple[KeyGroup, ...]
    views: tuple[KeptPlan, ...]
    ways: tuple[tuple[Callable[[list[bytes | None], int], Walk], Layout], ...]
    watches: tuple[Watch, ...]
    guards: tuple[Guard, ...]

    def begin(self, keys: Mapping[str, Any], now_ns: int) -> list[Walk | GrownWalk] | None:
        """A walk for each view; None: not for this plan to say, see `PointPlan.records`, or not yet."""
        heads = self.groups[0].records(keys) if len(self.groups) == 1 else records_of(self.groups, keys)
        if heads is None:
            return None
        walks = list[Walk | GrownWalk]()
        for watch, (begin, layout), head in zip(self.watches, self.ways, heads, strict=True):
            walk = watch.begin(begin, head, window_tick(now_ns, layout))
            if walk is None:
                return None
            walks.append(walk)
        return walks

    def approve(self, told: Sequence[bytes | None], walks: Sequence[Walk | GrownWalk]) -> bool:
        """Whether the walks may be gone, by what the guards say."""
        return all(
            watch.approves(told[2 * place], told[2 * place + 1], walk)
            for place, (watch, walk) in enumerate(zip(self.watches, walks, strict=True))
        )

    def fill(self, walks: Sequence[Walk], answer: dict[str, Any]) -> None:
        """Put what the walks have found into the answer."""
        for view, walk in zip(self.views, walks, strict=True):
            view.fill(walk, answer)


def plan_point_windows(selection: Sequence[Selected], line: int) -> PointWindows | None:
    """The windows of a plan; None: tiles do not keep all that is asked."""
    groups = grouped(selection)
    ordered = [selected for group in groups for selected in group]
    plans = [ready_plan(selected.relation, selected.numbers) for selected in ordered]
    ready = [plan for plan in plans if plan is not None and not plan.others]
    if len(ready) < len(ordered):
        return None
    prefixes = iter([plan.plan.prefix(line) for plan in ready])
    views = [KeptPlan(plan.plan, plan.outputs, chosen.outputs) for plan, chosen in zip(ready, ordered, strict=True)]
    watches = tuple(plan.watch for plan in ready)
    return PointWindows(
        tuple(key_group(group, [next(prefixes) for _ in group]) for group in groups),
        tuple(views),
        tuple((view.begin, chosen.relation.layout) for view, chosen in zip(views, ordered, strict=True)),
        watches,
        tuple(guard for watch in watches for guard in watch.guards(line)),
    )

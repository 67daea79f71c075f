"""Freshness: how old the newest row of each view is, and how old, how late and how quickly given the values were that were read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from mlstore.engine.catalog import Relation
from mlstore.engine.meter import Histogram, Meter
from mlstore.engine.session import ReadContext
from mlstore.errors import DefinitionError, UsageError
from mlstore.schema.durations import parse_duration

Duration = str | timedelta

TAG = "freshness"


@dataclass(frozen=True, slots=True)
class ViewFreshness:
    """How fresh one view is.

    newest: the greatest event time; age: of it, now (negative for one in the future). threshold: how old it may be: as asked for, else
    the view's tag `freshness`, else its ttl. is_stale: it is older, or there is none. late_rows: rows that came after a newer one of
    their key (of a branch: those written to it). The rest is what this handle has read online: how many answers were OUTSIDE_TTL or
    NOT_FOUND, and the age of the values that were given (half of them, 99 of 100 are no older; of a sample).
    """

    view: str
    newest: datetime | None
    age: timedelta | None
    threshold: timedelta | None
    is_stale: bool
    rows: int
    late_rows: int
    outside_ttl: int
    not_found: int
    value_age_p50: timedelta | None
    value_age_p99: timedelta | None


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh a store is: `views`, and what this handle's online reads took (of one key, in samples; of many)."""

    views: tuple[ViewFreshness, ...]
    reads: int
    batch_reads: int
    latency_us: Mapping[str, float | None]
    batch_latency_us: Mapping[str, float | None]

    @property
    def stale(self) -> tuple[str, ...]:
        """The views that are older than they may be."""
        return tuple(view.view for view in self.views if view.is_stale)

    def __str__(self) -> str:
        return "\n".join(_line(view) for view in self.views) or "no views"


def measure_freshness(context: ReadContext, meter: Meter, threshold: Duration | Mapping[str, Duration] | None, now_ns: int) -> Freshness:
    """How fresh each view is at a time; see Store.freshness."""
    relations = [relation for relation in context.catalog.relations() if relation.layout.is_online]
    asked = dict(threshold) if isinstance(threshold, Mapping) else dict.fromkeys((relation.label for relation in relations), threshold)
    for name in asked:
        if all(relation.label != name for relation in relations):
            raise UsageError(f"threshold: there is no view {name!r}", hint=f"there is {', '.join(r.label for r in relations) or 'none'}")
    views = tuple(_of_view(context, meter, relation, asked.get(relation.label), now_ns) for relation in relations)
    return Freshness(
        views,
        reads=meter.singles.total,
        batch_reads=meter.batches.total,
        latency_us=_latency(meter.single_latency),
        batch_latency_us=_latency(meter.batch_latency),
    )


def describe_freshness(freshness: Freshness) -> dict[str, Any]:
    """The same as plain values, for Store.info."""
    return {
        "reads": freshness.reads,
        "batch_reads": freshness.batch_reads,
        "latency_us": dict(freshness.latency_us),
        "batch_latency_us": dict(freshness.batch_latency_us),
        "stale": list(freshness.stale),
        "views": [
            {
                "name": view.view,
                "age_seconds": None if view.age is None else view.age.total_seconds(),
                "threshold_seconds": None if view.threshold is None else view.threshold.total_seconds(),
                "late_rows": view.late_rows,
                "outside_ttl": view.outside_ttl,
                "not_found": view.not_found,
            }
            for view in freshness.views
        ],
    }


def _of_view(context: ReadContext, meter: Meter, relation: Relation, threshold: Duration | None, now_ns: int) -> ViewFreshness:
    state = context.history(relation).state()
    ticks_ns, limit_ns = relation.layout.ticks_ns, _threshold_ns(relation, threshold)
    age_ns = None if state.max_time is None else now_ns - state.max_time * ticks_ns
    clock = pa.timestamp(relation.layout.time_unit, "UTC")
    reads = meter.view(relation.table)
    half, most = reads.ages.quantiles(0.5, 0.99)
    return ViewFreshness(
        relation.label,
        newest=None if state.max_time is None else pa.scalar(state.max_time, clock).as_py(),
        age=_timedelta(age_ns),
        threshold=_timedelta(limit_ns),
        is_stale=limit_ns is not None and (age_ns is None or age_ns > limit_ns),
        rows=state.rows,
        late_rows=state.late_rows,
        outside_ttl=reads.outside_ttl.total,
        not_found=reads.not_found.total,
        value_age_p50=_timedelta(half),
        value_age_p99=_timedelta(most),
    )


def _threshold_ns(relation: Relation, asked: Duration | None) -> int | None:
    if asked is not None:
        return parse_duration(asked, what=f"threshold of {relation.label}")
    tag = dict(relation.entry.definition.tags).get(TAG)
    if tag is None:
        return relation.layout.ttl_ns
    try:
        return parse_duration(tag, what=f"{relation.label}: tag {TAG}")
    except DefinitionError:
        # Tags are free text: one that is no duration says nothing.
        return relation.layout.ttl_ns


def _latency(histogram: Histogram) -> dict[str, float | None]:
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    found = histogram.quantiles(*shares.values())
    return {name: None if length is None else length / 1000 for name, length in zip(shares, found, strict=True)}


def _timedelta(length_ns: int | None) -> timedelta | None:
    return None if length_ns is None else timedelta(microseconds=length_ns // 1000)


def _line(view: ViewFreshness) -> str:
    age = "empty" if view.age is None else f"newest {view.age} old"
    limit = "" if view.threshold is None else f", may be {view.threshold}"
    return f"{view.view}: {age}{limit}{', STALE' if view.is_stale else ''}; {view.late_rows} late rows"

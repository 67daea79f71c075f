"""Readers: prepared handles for online features. Names, plans and versions are worked out once, and again when the catalogue changes.

What a reader remembers is bound to one tick of the catalogue; every answer is checked against the tick of the very commit it was read from.
Invariant: threads share a reader without a lock, which a fork could inherit held: what they replace, they replace whole.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from time import perf_counter_ns
from typing import Any

import pyarrow as pa

from mlstore.engine.asking.batch import BatchPlan, plan_batch
from mlstore.engine.asking.derived_point import DerivedPoint, derive_point
from mlstore.engine.asking.deriving import FeaturePlan, plan_features
from mlstore.engine.asking.point import PointPlan, plan_point
from mlstore.engine.asking.point_windows import PointWindows
from mlstore.engine.asking.selection import Features
from mlstore.engine.asking.sequences import last_rows, last_rows_of_one, require_length
from mlstore.engine.asking.serving import Ask, answer_many, answer_one
from mlstore.engine.catalog import REMEMBERED, Catalog
from mlstore.engine.history.online import ONLINE
from mlstore.engine.meter import SAMPLED
from mlstore.engine.session import ReadContext, Session
from mlstore.engine.versions import COUNTERS, Scope
from mlstore.engine.windows.tiles import TILES
from mlstore.engine.windows.tilewatching import GrownWalk, ends_of
from mlstore.errors import UsageError
from mlstore.format.keyvector import Ints
from mlstore.schema.frames import to_table
from mlstore.schema.ondemand import OnDemandView
from mlstore.schema.reference import Reference
from mlstore.schema.service import FeatureService
from mlstore.schema.timestamps import instant_ns
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView
from mlstore.storage.environment import Environment
from mlstore.storage.glance import Moment, glance, glance_through

TimeLike = str | date

_NEVER: Moment = (-1, -1)
_TICK = (COUNTERS, b"catalog")


class _Known:
    """What is known while the catalogue stays as it is: `tick` as the file has it, and a commit that had it.

    window_moment: one at which, besides, the tiles of all window views asked for were right.
    """

    __slots__ = ("batches", "catalog", "moment", "plans", "tick", "window_moment")

    def __init__(self, tick: bytes | None, moment: Moment, catalog: Catalog | None) -> None:
        self.tick = tick
        self.moment = moment
        self.window_moment = _NEVER
        self.catalog = catalog
        self.plans: dict[tuple[str, ...], PointPlan | DerivedPoint | None] = {}
        self.batches: dict[tuple[str, ...], BatchPlan | None] = {}


class OnlineReader:
    """Online features of one selection, prepared; made by `Store.reader`. Threads may share it; forks and pickles of it work.

    Examples
    --------
    >>> store = ml.open(":memory:")
    >>> user = ml.Entity("user", keys={"user_id": ml.int64})
    >>> _ = store.apply(user, ml.FeatureView("spend", entity=user, schema={"amount": ml.float64}))
    >>> _ = store.write("spend", {"user_id": 7, "event_timestamp": "2024-05-01", "amount": 1.5})
    >>> reader = store.reader(["spend:amount"])
    >>> reader.online_features({"user_id": 7})
    {'user_id': 7, 'amount': 1.5}
    """

    def __init__(self, session: Session, features: tuple[str, ...], *, full_names: bool, status: bool) -> None:
        self._session = session
        self._features = features
        self._full_names = full_names
        self._status = status
        self._meter = session.meter
        self._environment = session.environment
        self._count = session.meter.singles.add_one
        self._known = _Known(None, _NEVER, None)

    @property
    def features(self) -> tuple[str, ...]:
        """What is asked for, as references."""
        return self._features

    def online_features(self, keys: Any, *, now: TimeLike | None = None, last_n: int | None = None) -> Any:
        """The newest features of one key (a dict) or of many (a `pyarrow.Table`); see `Store.online_features`."""
        if type(keys) is dict and last_n is None:
            known, names = self._known, tuple(keys)
            plan = known.plans.get(names)
            records = None if plan is None else plan.records(keys)
            if plan is not None and records is not None and plan.windows is not None:
                answer = self._answer_windows(known, plan, plan.windows, keys, records, now)
                if answer is not None:
                    return answer
            elif plan is not None and records is not None:
                is_sample = not self._count() % SAMPLED
                started = perf_counter_ns() if is_sample else 0
                now_ns = self._now_ns(now) if plan.needs_now or is_sample or now is not None else 0
                rows, moment, tick = glance(self._environment, ONLINE, records, _TICK, known.moment)
                if moment == known.moment or tick == known.tick:
                    known.moment = moment
                    answer = plan.answer(keys, rows, now_ns, is_sample=is_sample)
                    if is_sample:
                        self._meter.single_latency.record(perf_counter_ns() - started)
                    return answer
                self._meter.singles.add(-1)  # the long way counts it anew
            batch = known.batches.get(names)
            ints = None if batch is None else batch.ints(keys)
            if batch is not None and ints is not None:
                table = self._answer_batch(known, batch, ints, now)
                if table is not None:
                    return table
        return self._prepare_and_answer(keys, self._now_ns(now), None if last_n is None else require_length(last_n))

    def _answer_windows(
        self,
        known: _Known,
        plan: PointPlan | DerivedPoint,
        windows: PointWindows,
        keys: Mapping[str, Any],
        records: list[bytes],
        now: TimeLike | None,
    ) -> dict[str, Any] | None:
        """What the plan says; None if it is of another catalogue than the tiles, or they are not right, or it is not for it to say."""
        started, now_ns = perf_counter_ns(), self._now_ns(now)
        walks = windows.begin(keys, now_ns)
        if walks is None:
            return None
        # What waits beside the tiles is remembered by what the file says of it, so that has to be asked each time.
        has_grown = any(isinstance(walk, GrownWalk) for walk in walks)
        found = glance_through(
            self._environment,
            ONLINE,
            records,
            (TILES, walks),
            (_TICK, *windows.guards),
            _NEVER if has_grown else known.window_moment,
            lambda told: told[0] == known.tick and windows.approve(told[1:], walks),
        )
        if found is None:
            return None
        rows, moment = found
        if not has_grown:
            known.window_moment = moment
        is_sample = not self._count() % SAMPLED
        answer = plan.answer(keys, rows, now_ns, is_sample=is_sample, walks=ends_of(walks))
        if is_sample:
            self._meter.single_latency.record(perf_counter_ns() - started)
        return answer

    def _answer_batch(self, known: _Known, batch: BatchPlan, ints: Ints, now: TimeLike | None) -> pa.Table | None:
        """What the plan says; None if it is of another catalogue than the rows."""
        started, now_ns = perf_counter_ns(), self._now_ns(now)
        rows, moment, tick = glance(self._environment, ONLINE, batch.records(ints), _TICK, known.moment)
        if moment != known.moment and tick != known.tick:
            return None
        known.moment = moment
        answer = batch.answer(ints, rows, now_ns, self._meter)
        self._count_batch(started)
        return answer

    def _count_batch(self, started: int) -> None:
        self._count()
        self._meter.batches.add_one()
        self._meter.batch_latency.record(perf_counter_ns() - started)

    def check(self) -> None:
        """Refuse a selection that the catalogue of now does not know."""
        with self._session.reading() as context:
            plan_features(context.catalog, self._features, taken=(), full_names=True)

    def _prepare_and_answer(self, keys: Any, now_ns: int, last_n: int | None) -> Any:
        ask = Ask(now_ns, self._status)
        if isinstance(keys, Mapping) and not any(is_column(value) for value in keys.values()):
            with self._session.reading() as context:
                plan = self._select(context, keys)
                if last_n is not None:
                    plan.require_stored("last_n=")
                    return last_rows_of_one(context, plan.stored, keys, ask, last_n)
                plan.require_brought(keys, "keys")
                self._prepare(context, tuple(keys))
                self._count()
                return plan.finish_one(keys, answer_one(context, plan.stored, keys, ask, self._meter))
        started = perf_counter_ns()
        table = to_table(keys, what="keys")
        with self._session.reading() as context:
            plan = self._select(context, table.column_names)
            if last_n is not None:
                plan.require_stored("last_n=")
                return last_rows(context, plan.stored, table, ask, last_n)
            plan.require_brought(table.column_names, "keys")
            self._prepare(context, tuple(table.column_names))
            answer = plan.finish_table(table, answer_many(context, plan.stored, table, ask, self._meter))
        self._count_batch(started)
        return answer

    def _select(self, context: ReadContext, taken: Iterable[str]) -> FeaturePlan:
        return plan_features(context.catalog, self._features, taken=taken, full_names=self._full_names, status=self._status)

    def _prepare(self, context: ReadContext, names: tuple[str, ...]) -> None:
        """Remember how keys of these names are answered."""
        known = self._known
        if known.catalog is not context.catalog:
            known = _Known(context.reader.get(*_TICK), (context.reader.mapping, context.reader.txn_id), context.catalog)
        if len(known.plans) >= REMEMBERED:
            known.plans.clear()
            known.batches.clear()
        if names not in known.plans:
            known.plans[names], known.batches[names] = self._plan(context, names)
        self._known = known

    def _plan(self, context: ReadContext, names: tuple[str, ...]) -> tuple[PointPlan | DerivedPoint | None, BatchPlan | None]:
        # A glance sees what is committed: not the rows of a transaction under way, which its own handle has to see.
        if not self._session.lends:
            return None, None
        plan, scope = self._select(context, names), context.scope
        point = plan_point(plan.stored, names, scope, self._meter, status=self._status)
        return derive_point(plan, point), None if plan.steps else plan_batch(plan.stored, names, scope, status=self._status)

    def _now_ns(self, now: TimeLike | None) -> int:
        return self._session.clock_us() * 1000 if now is None else instant_ns(now)

    def __reduce__(self) -> tuple[Any, ...]:
        session = self._session
        session.require_outside("pickling a reader")
        place = (session.environment, session.branch, session.past, session.place, session.clock_us)
        return _reopen, (*place, self._features, self._full_names, self._status)

    def __repr__(self) -> str:
        return f"<mlstore.OnlineReader of {', '.join(self._features)}>"


def _reopen(
    environment: Environment,
    branch: str,
    past: Scope | None,
    place: str,
    clock_us: Callable[[], int],
    features: tuple[str, ...],
    full_names: bool,
    status: bool,
) -> OnlineReader:
    """A pickled reader comes back, over a handle of its own."""
    session = Session.begin(environment, branch, clock_us, past=past, place=place)
    return OnlineReader(session, features, full_names=full_names, status=status)


def reference_texts(features: Features) -> tuple[str, ...]:
    """What is asked for as text: `view`, `view:feature`, or the name of a service."""
    if type(features) is str:
        return (features,)
    if isinstance(features, FeatureView | WindowView | OnDemandView | FeatureService | Reference):
        features = [features]
    texts: list[str] = []
    for feature in features:
        if isinstance(feature, str):
            texts.append(feature)
        elif isinstance(feature, FeatureView | WindowView | OnDemandView):
            texts.append(feature.name)
        elif isinstance(feature, Reference):
            texts.append(str(feature))
        elif isinstance(feature, FeatureService):
            texts += feature.references
        else:
            raise UsageError(f"{feature!r:.60} is no feature", hint='give "view", "view:feature", a FeatureView or a FeatureService')
    return tuple(texts)


def is_column(value: object) -> bool:
    """Whether a value of a dict of keys stands for many keys."""
    return not isinstance(value, str | bytes) and (hasattr(value, "__len__") or hasattr(value, "__arrow_c_array__"))

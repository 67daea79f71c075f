"""Window views under random histories: online at t is training at t bit for bit, and both are what loops over plain rows say."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlstore as ml
from tests.support.model import Fact, Key, ViewModel
from tests.support.window_model import SECOND, Asked, agrees, answer
from tests.support.worlds import shrink_limits

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LENGTHS = {"5s": 5, "30s": 30, "10m": 600}
USERS = (1, 2, 9)  # the last is never written
ASKED = (
    *(
        Asked(f"{column}_{function}_{length}", function, column, seconds * SECOND)
        for length, seconds in LENGTHS.items()
        for column in ("amount", "ratio")
        for function in ("count", "sum", "min", "max", "mean", "std")
    ),
    *(Asked(f"amount_{function}_lifetime", function, "amount") for function in ("count", "sum", "first", "last", "distinct")),
    Asked("ratio_sum_last_3_rows", "sum", "ratio", rows=3),
    *(
        Asked(f"gain_{function}", function, "ratio", 30 * SECOND, where=lambda row: (row.values["amount"] or 0) > 0)
        for function in ("sum", "count")
    ),
)

# What tiles keep is read the short way, by a reader that is prepared once.
KEPT = [f"spend:{asked.name}" for asked in ASKED if not asked.rows and asked.function not in ("first", "last", "distinct")]

times = st.one_of(
    st.integers(-40, 40).map(lambda second: second * SECOND),
    st.integers(-40 * SECOND, 40 * SECOND),
    st.integers(-700, 700).map(lambda s: s * SECOND),
)
ratios = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.1, 0.2, 1e6, float("nan")]))


@dataclass(frozen=True, slots=True)
class Step:
    """One thing done to the store; facts that a deletion or a forgetting names stand for their keys."""

    kind: str
    facts: tuple[Fact, ...]


facts = st.builds(
    Fact,
    st.tuples(st.sampled_from(USERS[:-1]), st.integers(1, 4)),
    times,
    st.fixed_dictionaries({"amount": st.one_of(st.none(), st.integers(-5, 5)), "ratio": ratios}),
)
KINDS = ("append",) * 6 + (
    "upsert",
    "delete",
    "forget",
    "optimize",
    "compact",
    "reopen",
    "snapshot",
    "branch",
    "late view",
    "backfill",
    "backfill",
)
steps = st.lists(st.builds(Step, st.sampled_from(KINDS), st.lists(facts, min_size=1, max_size=12).map(tuple)), min_size=1, max_size=9)


LIMITS = {
    "TILE_WAITING": [0, 2, 32],
    "TILE_WAITING_EVENTS": [5, 20, 1 << 14],
    "TILE_WAITING_OF_KEY": [3, 256],
    "TILE_ROWS": [6, 1 << 17],
    "TILE_STEP_KEYS": [1, 1 << 10],
}


class Machine:
    """A store and the plain rows that it must agree with."""

    def __init__(self, path: Path, *, is_view: bool, strict: bool, offset: int, tiles: list[str] | None) -> None:
        self.path = path
        self.is_view = is_view
        self.strict = strict
        self.offset = offset
        self.tiles = tiles
        self.branch: str | None = None
        self.model = ViewModel(["amount", "ratio"])
        self.versions: list[tuple[str, ViewModel]] = []
        self.store = ml.open(path)
        self.user = ml.Entity("user", keys={"user": ml.int64})
        self.pair = ml.Entity("pair", keys={"user": ml.int64, "event": ml.int64})
        self.store.apply(self.user, self.pair, self.source())

    def source(self) -> ml.FeatureView:
        if self.is_view:
            return ml.FeatureView("events", entity=self.user, schema={"event": ml.int64, "amount": ml.int64, "ratio": ml.float64})
        return ml.FeatureView("events", entity=self.pair, schema={"amount": ml.int64, "ratio": ml.float64})

    def window_view(self) -> ml.WindowView:
        lengths = list(LENGTHS)
        return ml.WindowView(
            "spend",
            entity=self.user,
            source="events",
            aggregations=[
                ml.agg("amount", ["count", "sum", "min", "max", "mean", "std"], windows=lengths),
                ml.agg("ratio", ["count", "sum", "min", "max", "mean", "std"], windows=lengths),
                ml.agg("amount", ["count", "sum", "first", "last", "distinct"], windows="lifetime"),
                ml.agg("ratio", "sum", windows=ml.last_rows(3)),
                ml.agg("ratio", ["sum", "count"], windows="30s", where=ml.col("amount") > 0, name="gain_{function}"),
                ml.agg("ratio", "sum", windows="30s", by="amount"),
            ],
            boundary="strict" if self.strict else "inclusive",
            offset=f"{self.offset}s" if self.offset else None,
            tiles=self.tiles,
        )

    def apply(self, step: Step) -> None:
        match step.kind:
            case "append" | "upsert":
                self._write(step)
            case "delete" | "forget":
                self._remove(step)
            case "optimize":
                self.store.optimize()
            case "compact" if self.branch is None:
                self.store.compact()
            case "reopen":
                self.store.close()
                self.store = ml.open(self.path, branch=self.branch or "main")
            case "snapshot":
                name = f"v{len(self.versions)}"
                self.store.snapshot(name)
                self.versions.append((name, self.model.copy()))
            case "branch" if self.branch is None:
                self.branch = "side"
                self.store = self.store.branch("side")
            case "late view":
                self.store.apply(self.window_view())
            case "backfill" if self.branch is None and any(entry.name == "spend" for entry in self.store.catalog()):
                self.store.backfill("spend")

    def _write(self, step: Step) -> None:
        columns = {
            "user": [fact.key[0] for fact in step.facts],
            "event": [fact.key[1] for fact in step.facts],
            "event_timestamp": pa.array([fact.event_time for fact in step.facts], pa.timestamp("us", "UTC")),
            **{name: [fact.values[name] for fact in step.facts] for name in ("amount", "ratio")},
        }
        self.store.write("events", columns, mode=step.kind)
        kept = [Fact(self._key(fact), fact.event_time, fact.values) for fact in step.facts]
        if step.kind == "append":
            self.model.append(kept, commit_time=0)
        else:
            self.model.upsert(kept, commit_time=0)

    def _key(self, fact: Fact) -> Key:
        return fact.key[:1] if self.is_view else fact.key

    def _remove(self, step: Step) -> None:
        doomed = sorted({self._key(fact) for fact in step.facts[:2]})
        keys = {name: [key[place] for key in doomed] for place, name in enumerate(["user", "event"][: len(doomed[0])])}
        models = [self.model]
        if step.kind == "delete":
            self.store.delete("events", keys=keys)
        else:
            self.store.forget(self.user if self.is_view else self.pair, keys=keys)
            models += [model for _, model in self.versions]
        for model in models:
            model.delete(lambda row: row.key in doomed)

    def check(self, moments: list[tuple[int | None, int | None]]) -> None:
        self._check_at(self.store, self.model, moments)
        for name, model in self.versions:
            past = self.store.at(name)
            if any(entry.name == "spend" for entry in past.catalog()):
                self._check_at(past, model, moments)
        self.store.verify()

    def _check_at(self, store: ml.Store, model: ViewModel, moments: list[tuple[int | None, int | None]]) -> None:
        labels = pa.table(
            {
                "user": pa.array([user for user, _ in moments], pa.int64()),
                "event_timestamp": pa.array([time for _, time in moments], pa.timestamp("us", "UTC")),
            }
        )
        trained = store.training_set(labels, ["spend"]).to_pylist()
        for (user, time), row in zip(moments, trained, strict=True):
            moment = None if time is None else time - self.offset * SECOND
            for asked in ASKED:
                expected = answer(asked, model.rows, (user,), moment, strict=self.strict)
                assert agrees(asked, row[asked.name], expected, scale=1e6), (asked, user, time, row[asked.name], expected)
            if time is not None:
                now = EPOCH + timedelta(microseconds=time)
                served = store.online_features(["spend"], {"user": user}, now=now)
                assert repr({**served, "event_timestamp": now}) == repr(
                    {"user": user, **{k: row[k] for k in served if k != "user"}, "event_timestamp": now}
                )
                kept = [store.online_features(KEPT, {"user": user}, now=now) for _ in range(2)]
                assert repr(kept[0]) == repr(kept[1]) == repr({name: served[name] for name in kept[0]})
                batch = store.online_features(["spend"], {"user": [user, 2, user]}, now=now).to_pylist()
                assert repr(batch[0]) == repr(served) == repr(batch[2])


@pytest.mark.parametrize("is_view", [True, False], ids=["events of a key", "events with ids"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_online_is_training_is_the_plain_rows(data: st.DataObject, *, is_view: bool) -> None:
    drawn = data.draw(steps)
    view_at = data.draw(st.integers(0, len(drawn)))
    moments = data.draw(st.lists(st.tuples(st.sampled_from([*USERS, None]), st.one_of(st.none(), times)), min_size=1, max_size=6))

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        shrink_limits(patch)
        patch.setattr("mlstore.engine.limits.WINDOW_EVENTS", 7)
        patch.setattr("mlstore.engine.limits.WINDOW_STRETCH", 3)
        patch.setattr("mlstore.engine.limits.TILE_LEAF", data.draw(st.sampled_from([1, 3, 64])))
        patch.setattr("mlstore.engine.writing.catching.STEP_KEYS", 1)
        for limit, sizes in LIMITS.items():
            patch.setattr(f"mlstore.engine.limits.{limit}", data.draw(st.sampled_from(sizes)))
        if data.draw(st.booleans()):
            patch.setattr("mlstore.engine.writing.upkeep.catch_up", lambda *_: None)  # as if each bulk write were cut short there
        machine = Machine(
            Path(folder) / "w.mls",
            is_view=is_view,
            strict=data.draw(st.booleans()),
            offset=data.draw(st.sampled_from([0, 0, 7])),
            tiles=data.draw(st.sampled_from([None, [], ["1s", "10s", "1m"], ["2s", "4s"]])),
        )
        for place, step in enumerate(drawn):
            if place == view_at:
                machine.apply(Step("late view", ()))
            machine.apply(step)
            machine.store.verify()
        machine.apply(Step("late view", ()))
        machine.check(moments)
        machine.apply(Step("backfill", ()))
        machine.check(moments)
        machine.store.close()

"""A store and its model under the same random life: writes, deletes, evolution, versions, reopening, and every way to ask.

The store works with limits so small that tails are sealed and runs are merged within a few steps.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mlstore as ml
from tests.support.data import (
    answers,
    fact_lists,
    fact_table,
    history_rows,
    instant,
    key_columns,
    label_table,
    labels,
    microseconds,
    model_rows,
    online_answers,
    times,
)
from tests.support.model import Fact, Key, Row, ViewModel
from tests.support.worlds import FEATURES, SECOND, WORLDS, World, shrink_limits

BULK_ROWS = 5  # of shrink_limits

WIDER = {ml.int16: ml.int32, ml.int32: ml.int64}

worlds = st.sampled_from(WORLDS)


@pytest.fixture(scope="module", autouse=True)
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_limits(monkeypatch)
        yield


@dataclass(frozen=True)
class Past:
    """What a commit left behind: its id, its time, and a copy of the model."""

    commit: str
    time: int
    views: dict[str, ViewModel]


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "store.mls"
        self.store = ml.open(self.path, durability="normal")
        self.views: dict[str, ViewModel] = {}
        self.schemas: dict[str, dict[str, ml.DType]] = {world.name: dict(FEATURES) for world in WORLDS}
        self.ttl: dict[str, str | None] = {}
        self.commits: list[Past] = []
        self.snapshots: dict[str, dict[str, ViewModel]] = {}

    @initialize()
    def register(self) -> None:
        self.store.apply(*(definition for world in WORLDS for definition in world.definitions()))
        self.views = {world.name: world.model() for world in WORLDS}
        self.remember(self.store.history(limit=1)[0])

    def teardown(self) -> None:
        try:
            assert not self.store.verify().problems
        finally:
            self.store.close()
            self.folder.cleanup()

    # ------------------------------------------------------------ changes

    @rule(data=st.data(), world=worlds, mode=st.sampled_from(["append", "append", "upsert"]))
    def write(self, data: st.DataObject, world: World, mode: str) -> None:
        schema = self.schemas[world.name]
        facts = [evolved(fact, schema) for fact in data.draw(fact_lists(world, bulk_rows=BULK_ROWS))]
        commit = self.store.write(world.name, fact_table(world, facts, schema=schema), mode=mode)
        change = self.views[world.name].upsert if mode == "upsert" else self.views[world.name].append
        change(facts, commit_time=microseconds(commit.time))
        self.remember(commit)

    @rule(data=st.data(), world=worlds, start=st.none() | times, end=st.none() | times)
    def delete_a_key(self, data: st.DataObject, world: World, start: int | None, end: int | None) -> None:
        key = data.draw(st.sampled_from(world.universe))
        keys = key_columns(world, [key]) or None
        if keys is None and start is None and end is None:
            start = 0
        commit = self.store.delete(world.name, keys=keys, start=moment(start), end=moment(end))
        self.views[world.name].delete(lambda row: row.key == key and lies_between(row, start, end))
        self.remember(commit)

    @rule(world=worlds, start=times, end=times)
    def delete_a_time_range(self, world: World, start: int, end: int) -> None:
        commit = self.store.delete(world.name, start=instant(start), end=instant(end))
        self.views[world.name].delete(lambda row: lies_between(row, start, end))
        self.remember(commit)

    @rule(world=worlds, above=st.integers(0, 9))
    def delete_by_value(self, world: World, above: int) -> None:
        commit = self.store.delete(world.name, where=pc.field("amount") > above)
        self.views[world.name].delete(lambda row: (row.values["amount"] or 0) > above)
        self.remember(commit)

    @rule(world=worlds)
    def add_a_feature(self, world: World) -> None:
        schema = self.schemas[world.name]
        name = f"added_{len(schema)}"
        schema[name] = ml.int64
        plan = self.store.apply(self.definition(world))
        self.views[world.name].features.append(name)
        assert [change.action for change in plan.changes] == ["evolve"]
        self.remember(self.store.history(limit=1)[0])

    @rule(world=worlds)
    @precondition(lambda self: any(schema["level"] in WIDER for schema in self.schemas.values()))
    def widen_a_feature(self, world: World) -> None:
        schema = self.schemas[world.name]
        if schema["level"] in WIDER:
            schema["level"] = WIDER[schema["level"]]
            plan = self.store.apply(self.definition(world))
            assert [change.action for change in plan.changes] == ["evolve"]
            self.remember(self.store.history(limit=1)[0])

    @rule(world=worlds, seconds=st.integers(1, 20))
    def change_the_ttl(self, world: World, seconds: int) -> None:
        self.ttl[world.name] = f"{seconds}s"
        self.store.apply(self.definition(world))
        self.views[world.name].max_age = seconds * SECOND
        self.remember(self.store.history(limit=1)[0])

    @rule(world=worlds)
    def apply_the_same_again(self, world: World) -> None:
        before = self.store.history(limit=1)[0].id

        plan = self.store.apply(self.definition(world))

        assert not plan
        assert self.store.history(limit=1)[0].id == before

    @rule()
    def snapshot(self) -> None:
        name = f"v{len(self.snapshots)}"
        self.store.snapshot(name)
        self.snapshots[name] = copies(self.views)

    @rule(tier=st.sampled_from([None, None, "cold", "hot"]))
    def optimize(self, tier: str | None) -> None:
        self.store.optimize(tier=tier)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = ml.open(self.path, durability="normal")

    # ------------------------------------------------------------ questions

    @rule(world=worlds, age=st.sampled_from([1, 5 * SECOND, 10 * SECOND, 10 * SECOND + 1]))
    def ask_online(self, world: World, age: int) -> None:
        check_online(self.store, world, self.views[world.name], age=age)

    @rule(data=st.data(), world=worlds)
    def ask_for_training_rows(self, data: st.DataObject, world: World) -> None:
        bounds = st.one_of(st.none(), st.just("label"), times, st.sampled_from([past.time for past in self.commits]))
        check_training_set(self.store, world, self.views[world.name], data.draw(labels(world)), known_at=data.draw(bounds))

    @rule(world=worlds, start=st.none() | times, end=st.none() | times)
    def read_history(self, world: World, start: int | None, end: int | None) -> None:
        check_history(self.store, world, self.views[world.name], start=start, end=end)

    @rule(world=worlds, start=times, above=st.integers(0, 9))
    def read_some_columns_by_a_filter(self, world: World, start: int, above: int) -> None:
        rows = self.store.read(world.name, columns=["note", "amount"], where=pc.field("amount") > above, start=instant(start))

        expected = [row.values for row in self.views[world.name].between(start, None) if (row.values["amount"] or 0) > above]
        found = zip(rows["note"].to_pylist(), rows["amount"].to_pylist(), strict=True)
        assert rows.table().column_names == ["note", "amount"]
        assert Counter(found) == Counter((values["note"], values["amount"]) for values in expected)

    @rule(data=st.data(), world=worlds, time=times)
    def explain_a_cell(self, data: st.DataObject, world: World, time: int) -> None:
        model, key = self.views[world.name], data.draw(st.sampled_from(world.universe))
        feature = data.draw(st.sampled_from(model.features))

        label = {**dict(zip(world.keys, key, strict=True)), "event_timestamp": instant(time)}
        explanation = self.store.explain(label, f"{world.name}:{feature}")

        assert explanation.value == model.as_of(key, time).values[feature]

    @rule(world=worlds, time=times)
    def read_the_state_of_all_keys(self, world: World, time: int) -> None:
        check_state(self.store, world, self.views[world.name], time)

    @rule(data=st.data(), world=worlds)
    @precondition(lambda self: self.snapshots)
    def visit_a_snapshot(self, data: st.DataObject, world: World) -> None:
        name = data.draw(st.sampled_from(sorted(self.snapshots)))
        self.visit(self.store.at(name), world, self.snapshots[name][world.name], data)

    @rule(data=st.data(), world=worlds)
    def visit_a_commit(self, data: st.DataObject, world: World) -> None:
        past = data.draw(st.sampled_from(self.commits))
        self.visit(self.store.at(past.commit), world, past.views[world.name], data)

    @rule(data=st.data(), world=worlds)
    def visit_a_time(self, data: st.DataObject, world: World) -> None:
        time = data.draw(st.sampled_from(self.commits)).time
        newest = [past for past in self.commits if past.time <= time][-1]
        self.visit(self.store.at(instant(time)), world, newest.views[world.name], data)

    @invariant()
    def head_is_the_last_commit(self) -> None:
        if self.commits:
            assert self.store.history(limit=1)[0].id == self.commits[-1].commit

    # ------------------------------------------------------------ helpers

    def visit(self, store: ml.Store, world: World, model: ViewModel, data: st.DataObject) -> None:
        check_online(store, world, model, age=SECOND)
        check_training_set(store, world, model, data.draw(labels(world)), known_at=None)
        check_history(store, world, model, start=None, end=None)

    def definition(self, world: World) -> ml.FeatureView:
        return world.view(schema=self.schemas[world.name], **({"ttl": self.ttl[world.name]} if world.name in self.ttl else {}))

    def remember(self, commit: ml.Commit) -> None:
        self.commits.append(Past(commit.id, microseconds(commit.time), copies(self.views)))


def evolved(fact: Fact, schema: dict[str, ml.DType]) -> Fact:
    """The fact with values for the features added since, and with a level that fills its type."""
    added = {name: number + fact.event_time // SECOND for number, name in enumerate(schema) if name not in FEATURES}
    level = fact.values["level"]
    scale = 1 << (schema["level"].arrow.bit_width - 16)
    return replace(fact, values={**fact.values, "level": None if level is None else level * scale, **added})


def copies(views: dict[str, ViewModel]) -> dict[str, ViewModel]:
    return {name: view.copy() for name, view in views.items()}


def moment(time: int | None) -> object:
    return None if time is None else instant(time)


def lies_between(row: Row, start: int | None, end: int | None) -> bool:
    return (start is None or row.event_time >= start) and (end is None or row.event_time < end)


def check_online(store: ml.Store, world: World, model: ViewModel, *, age: int) -> None:
    now = max((row.event_time for row in model.rows), default=0) + age
    expected = [model.online(key, now=now) for key in world.universe]
    assert online_answers(store, world, now=now, features=model.features) == expected


def check_training_set(
    store: ml.Store, world: World, model: ViewModel, questions: list[tuple[Key, int | None]], *, known_at: int | str | None
) -> None:
    expected = [model.as_of(key, time, known=time if known_at == "label" else known_at) for key, time in questions]
    asked = label_table(world, questions)
    features = [f"{world.name}:{name}" for name in model.features]

    table = store.training_set(asked, features, known_at=instant(known_at) if isinstance(known_at, int) else known_at, status=True)

    assert table.select(asked.column_names).equals(asked)
    assert answers(table, world, model.features) == expected


def check_history(store: ml.Store, world: World, model: ViewModel, *, start: int | None, end: int | None) -> None:
    rows = store.read(world.name, start=moment(start), end=moment(end)).table()

    # Rows are sorted within a block of the store, not across blocks.
    assert Counter(history_rows(rows, world, model.features)) == Counter(model_rows(model.between(start, end), model.features))


def check_state(store: ml.Store, world: World, model: ViewModel, time: int) -> None:
    rows = store.read(world.name, as_of=instant(time)).table()

    assert history_rows(rows, world, model.features) == model_rows(model.state(time), model.features)


StoreMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=timedelta(seconds=30))
TestStoreMachine = StoreMachine.TestCase

"""Definitions under a random life, against plain copies: features added and widened, new versions, writes between, branches, and merge,
revert and rollback of all that.

Limits are so small that tails are sealed and runs merged within a few steps.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mlstore as ml
from tests.support.data import instant, microseconds
from tests.support.definitions_model import INTEGERS, WIDTHS, Column, Refused, Shape, State, TableModel, merge_states
from tests.support.versions_model import Conflict, History
from tests.support.worlds import shrink_limits

KEYS = (1, 2, 3)
NAMES = ("a", "b", "c")
DTYPES = {name: getattr(ml, name) for name in (*INTEGERS, "string")}
CARD = ml.Entity("card", keys={"card": ml.int64})
REFUSALS = (ml.MergeConflictError, ml.SchemaMismatchError, ml.UsageError)

picks = st.integers(0, 99)
strategies = st.sampled_from([None, "ours", "theirs"])


@pytest.fixture(scope="module", autouse=True)
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_limits(monkeypatch)
        monkeypatch.setattr("mlstore.engine.limits.MAX_LAYERS", 4)
        yield


def view(shape: Shape) -> ml.FeatureView:
    return ml.FeatureView("v", entity=CARD, schema={name: DTYPES[dtype] for name, dtype in shape.items()})


class DefinitionsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "store.mls"
        self.store = ml.open(self.path, durability="normal")
        self.history: History = History()
        self.count = self.branches = 0

    @initialize()
    def register(self) -> None:
        self.store.apply(CARD)
        self.tell("main", self.store, State())
        self.store.apply(view({"a": "int16"}))
        self.tell("main", self.store, State({1: TableModel({"a": Column("int16")})}))

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def branch(self, pick: int) -> tuple[str, ml.Store, State]:
        names = sorted(self.history.heads)
        name = names[pick % len(names)]
        return name, self.store.checkout(name), self.history.views[self.history.heads[name]].copy()

    def tell(self, name: str, store: ml.Store, state: State, *, merged: str | None = None) -> None:
        self.history.commit(name, store.history(limit=1)[0].id, state, merged=merged)

    # ------------------------------------------------------------ changes

    @rule(data=st.data(), pick=picks, is_upsert=st.booleans())
    def write(self, data: st.DataObject, pick: int, is_upsert: bool) -> None:
        name, store, state = self.branch(pick)
        table = state.newest
        if table is None:
            return
        values = st.fixed_dictionaries({column: values_of(dtype) for column, dtype in table.shape.items()})
        facts = data.draw(st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 5), values), min_size=1, max_size=7))
        columns = {column: [row[2][column] for row in facts] for column in table.shape}
        heads = {"card": [row[0] for row in facts], "event_timestamp": [instant(row[1]) for row in facts]}

        commit = store.write("v", heads | columns, mode="upsert" if is_upsert else "append")

        table.write(facts, microseconds(commit.time), is_upsert=is_upsert)
        self.tell(name, store, state)

    @rule(pick=picks, key=st.sampled_from(KEYS))
    def delete(self, pick: int, key: int) -> None:
        name, store, state = self.branch(pick)
        if state.newest is None:
            return
        store.delete("v", keys={"card": key})
        state.newest.rows = [row for row in state.newest.rows if row.key != (key,)]
        self.tell(name, store, state)

    @rule(pick=picks, feature=st.sampled_from(NAMES), dtype=st.sampled_from(["int16", "int32", "string"]))
    def add_a_feature(self, pick: int, feature: str, dtype: str) -> None:
        name, store, state = self.branch(pick)
        table = state.newest
        if table is None:
            table = state.tables[state.next_version] = TableModel({})
        if feature in table.columns:
            return
        table.columns[feature] = Column(dtype)

        store.apply(view(table.shape))

        self.tell(name, store, state)

    @rule(pick=picks, feature=st.sampled_from(NAMES), dtype=st.sampled_from(INTEGERS))
    def widen(self, pick: int, feature: str, dtype: str) -> None:
        name, store, state = self.branch(pick)
        table = state.newest
        if table is None or WIDTHS.get(table.shape.get(feature, ""), 2**63) >= WIDTHS[dtype]:
            return
        table.columns[feature] = Column(dtype, table.columns[feature].uid)

        store.apply(view(table.shape))

        self.tell(name, store, state)

    @precondition(lambda self: self.count < 6)
    @rule(pick=picks, feature=st.sampled_from(NAMES))
    def make_a_new_version(self, pick: int, feature: str) -> None:
        name, store, state = self.branch(pick)
        table = state.newest
        if table is None or feature not in table.columns:
            return
        self.count += 1
        shape = table.shape | {feature: "int16" if table.shape[feature] == "string" else "string"}
        state.tables[state.next_version] = TableModel({each: Column(dtype) for each, dtype in shape.items()})

        plan = store.apply(view(shape))

        assert [change.action for change in plan.changes] == ["new_version"]
        self.tell(name, store, state)

    @rule(data=st.data(), pick=picks, feature=st.sampled_from(NAMES))
    def evolve_and_write_at_once(self, data: st.DataObject, pick: int, feature: str) -> None:
        name, store, state = self.branch(pick)
        table = state.newest
        if table is None or feature in table.columns:
            return
        table.columns[feature] = Column("int32")
        key, value = data.draw(st.sampled_from(KEYS)), data.draw(values_of("int32"))
        row = dict.fromkeys(table.shape) | {feature: value}
        with store.transaction() as tx:
            tx.apply(view(table.shape))
            step = tx.write("v", {"card": key, "event_timestamp": instant(3)} | row, mode="upsert")
        table.write([(key, 3, row)], microseconds(step.time), is_upsert=True)
        self.tell(name, store, state)

    @rule(pick=picks, tier=st.sampled_from([None, "cold", "hot"]))
    def optimize(self, pick: int, tier: str | None) -> None:
        self.branch(pick)[1].optimize(tier=tier)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = ml.open(self.path, durability="normal")

    @rule(key=st.sampled_from(KEYS))
    def forget(self, key: int) -> None:
        name, store, state = self.branch(0)
        store.forget(CARD, {"card": [key]})
        for known in (state, *self.history.views.values()):
            for table in (*known.tables.values(), *(table for _, table in known.withdrawn)):
                table.rows = [row for row in table.rows if row.key != (key,)]
        self.tell(name, store, state)

    # ------------------------------------------------------------ versions

    @precondition(lambda self: len(self.history.heads) < 3)
    @rule(pick=picks, back=st.integers(0, 3))
    def make_a_branch(self, pick: int, back: int) -> None:
        name, store, _ = self.branch(pick)
        chain = self.history.first_parents(name)
        commit = chain[min(back, len(chain) - 1)]
        self.branches += 1
        made = f"b{self.branches}"
        store.branch(made, at=commit)
        self.history.heads[made] = commit

    @precondition(lambda self: len(self.history.heads) > 1)
    @rule(pick=picks, other=picks, strategy=strategies, fast_forward=st.booleans())
    def merge(self, pick: int, other: int, strategy: str | None, fast_forward: bool) -> None:
        (name, store, _), (source, _, _) = self.branch(pick), self.branch(other)
        ours, theirs = self.history.heads[name], self.history.heads[source]
        base = self.history.base(ours, theirs)
        if base in (ours, theirs) and fast_forward:
            commit = store.merge(source, strategy=strategy)
            assert commit.id in (ours, theirs) or store.history(limit=1)[0].parents == (ours, theirs)
            if base == theirs:
                return
            if commit.id == theirs:
                self.history.heads[name] = theirs
                return
            self.tell(name, store, self.merged(base, ours, theirs, strategy), merged=theirs)
            return
        if base == theirs:
            return
        try:
            state = self.merged(base, ours, theirs, strategy)
        except (Conflict, Refused):
            with pytest.raises(REFUSALS):
                store.merge(source, strategy=strategy, fast_forward=False)
            return

        store.merge(source, strategy=strategy, fast_forward=False)

        self.tell(name, store, state, merged=theirs)

    def merged(self, base: str, ours: str, theirs: str, strategy: str | None) -> State:
        return merge_states(*(self.history.views[commit] for commit in (base, ours, theirs)), strategy)

    @rule(pick=picks, back=st.integers(0, 4), strategy=strategies)
    def revert(self, pick: int, back: int, strategy: str | None) -> None:
        name, store, _ = self.branch(pick)
        chain = self.history.first_parents(name)
        if back + 1 >= len(chain):
            return
        try:
            state = self.merged(chain[back], chain[0], chain[back + 1], strategy)
        except (Conflict, Refused):
            with pytest.raises(REFUSALS):
                store.revert(chain[back], strategy=strategy)
            return

        store.revert(chain[back], strategy=strategy)

        self.tell(name, store, state)

    @rule(pick=picks, back=st.integers(1, 4))
    def roll_back(self, pick: int, back: int) -> None:
        name, store, _ = self.branch(pick)
        chain = self.history.first_parents(name)
        commit = chain[min(back, len(chain) - 1)]

        store.rollback(commit)

        self.history.heads[name] = commit

    # ------------------------------------------------------------ questions

    @rule(pick=picks)
    def look_at_any_commit(self, pick: int) -> None:
        known = list(self.history.views)
        commit = known[pick % len(known)]
        assert_shows(self.store.at(commit), self.history.views[commit])

    @invariant()
    def every_branch_shows_its_own(self) -> None:
        for name, commit in self.history.heads.items():
            store = self.store.checkout(name)
            assert store.history(limit=1)[0].id == commit
            assert_shows(store, self.history.views[commit])

    @invariant()
    def the_file_is_whole(self) -> None:
        assert not self.store.verify().problems


def values_of(dtype: str) -> st.SearchStrategy[object]:
    if dtype == "string":
        return st.sampled_from([None, "x", "yy"])
    edges = [size - 1 for name, size in WIDTHS.items() if size <= WIDTHS[dtype]]
    return st.sampled_from([None, 0, 1, -2, *edges])


def assert_shows(store: ml.Store, state: State) -> None:
    shapes = {entry.version: {name: str(dtype) for name, dtype in entry.definition.schema.items()} for entry in views(store)}
    assert shapes == {number: table.shape for number, table in state.tables.items()}
    for number, table in state.tables.items():
        columns = list(table.columns)
        held = Counter(
            repr((row["card"], microseconds(row["event_timestamp"]), microseconds(row["created"]), [row[name] for name in columns]))
            for row in store.read(f"v@{number}").table().to_pylist()
        )
        assert held == Counter(repr((row.key[0], row.event_time, row.created, list(row.values.values()))) for row in table.shown())
        online = store.online_features([f"v@{number}"], {"card": list(KEYS)}, now=instant(9)).to_pylist()
        assert [{name: row[name] for name in columns} for row in online] == [table.online(key) for key in KEYS]


def views(store: ml.Store) -> list[ml.CatalogEntry]:
    return [entry for entry in store.catalog() if entry.kind == "view"]


TestDefinitions = DefinitionsMachine.TestCase
TestDefinitions.settings = settings(stateful_step_count=25, max_examples=30)

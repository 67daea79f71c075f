"""Branches under a random life against plain copies: writes, deletes, forgetting, transactions, branching, diff, merge, rollback, revert,
letting old versions go.

The store works with limits so small that tails are sealed, runs are merged and lines are swept within a few steps.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mlstore as ml
from mlstore.engine import limits
from tests.support.data import (
    answers,
    fact_lists,
    fact_table,
    history_rows,
    instant,
    key_columns,
    label_table,
    microseconds,
    model_rows,
    online_answers,
    times,
)
from tests.support.versions_model import Conflict, History, Views, merge_views
from tests.support.worlds import FEATURES, KNOWN, PAIRED, World, shrink_limits

VIEWS = (KNOWN, PAIRED)

worlds = st.sampled_from(VIEWS)
strategies = st.sampled_from([None, "ours", "theirs"])
picks = st.integers(0, 99)


@pytest.fixture(scope="module", autouse=True)
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_limits(monkeypatch)
        monkeypatch.setattr("mlstore.engine.limits.GRACE_US", 0)
        monkeypatch.setattr("mlstore.engine.limits.MAX_LAYERS", 4)
        yield


class VersionsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "store.mls"
        self.store = ml.open(self.path, durability="normal")
        self.history = History()
        self.snapshots: dict[str, str] = {}
        self.gone: set[str] = set()  # commits that were let go
        self.handles: dict[str, ml.Store] = {}  # kept: with prepared readers, and what they remember
        self.count = 0

    @initialize()
    def register(self) -> None:
        self.store.apply(*(definition for world in VIEWS for definition in world.definitions()))
        self.history.commit("main", self.store.history()[0].id, {world.name: world.model() for world in VIEWS})

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def branch(self, pick: int) -> tuple[str, ml.Store]:
        names = sorted(self.history.heads)
        name = names[pick % len(names)]
        return name, self.store.checkout(name)

    # ------------------------------------------------------------ changes

    @rule(data=st.data(), pick=picks, world=worlds, mode=st.sampled_from(["append", "append", "upsert"]))
    def write(self, data: st.DataObject, pick: int, world: World, mode: str) -> None:
        name, store = self.branch(pick)
        views = self.history.at(name)
        facts = data.draw(fact_lists(world, bulk_rows=5))

        commit = store.write(world.name, fact_table(world, facts), mode=mode)

        getattr(views[world.name], mode)(facts, commit_time=microseconds(commit.time))
        self.history.commit(name, commit.id, views)

    @rule(data=st.data(), pick=picks, world=worlds)
    def delete_a_key(self, data: st.DataObject, pick: int, world: World) -> None:
        name, store = self.branch(pick)
        views = self.history.at(name)
        key = data.draw(st.sampled_from(world.written_keys))

        commit = store.delete(world.name, keys=key_columns(world, [key]))

        views[world.name].delete(lambda row: row.key == key)
        self.history.commit(name, commit.id, views)

    @rule(pick=picks, world=worlds, start=times, end=times)
    def delete_a_time_range(self, pick: int, world: World, start: int, end: int) -> None:
        name, store = self.branch(pick)
        views = self.history.at(name)

        commit = store.delete(world.name, start=instant(start), end=instant(end))

        views[world.name].delete(lambda row: start <= row.event_time < end)
        self.history.commit(name, commit.id, views)

    @rule(pick=picks, world=worlds, above=st.integers(0, 9))
    def delete_by_value(self, pick: int, world: World, above: int) -> None:
        name, store = self.branch(pick)
        views = self.history.at(name)

        commit = store.delete(world.name, where=pc.field("amount") > above)

        views[world.name].delete(lambda row: (row.values["amount"] or 0) > above)
        self.history.commit(name, commit.id, views)

    @rule(data=st.data(), pick=picks, first=times, fails=st.booleans())
    def do_several_things_at_once(self, data: st.DataObject, pick: int, first: int, fails: bool) -> None:
        name, store = self.branch(pick)
        views = self.history.at(name)
        written = data.draw(st.tuples(*(fact_lists(world, bulk_rows=5) for world in VIEWS)))
        try:
            with store.transaction(message="at once") as tx:
                for world, facts in zip(VIEWS, written, strict=True):
                    step = tx.write(world.name, fact_table(world, facts))
                    views[world.name].append(facts, commit_time=microseconds(step.time))
                    assert_shows(tx, world, views)
                tx.delete(KNOWN.name, end=instant(first))
                views[KNOWN.name].delete(lambda row: row.event_time < first)
                assert_shows(tx, KNOWN, views)
                if fails:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            return
        commit = store.history(limit=1)[0]
        assert len(commit.changes) == len(VIEWS) + 1
        self.history.commit(name, commit.id, views)

    @rule(data=st.data(), pick=picks, world=worlds)
    def forget_a_key_on_every_branch(self, data: st.DataObject, pick: int, world: World) -> None:
        name, store = self.branch(pick)
        key = data.draw(st.sampled_from(world.written_keys))

        report = store.forget(f"{world.name}_entity", key_columns(world, [key]))

        for views in self.history.views.values():
            views[world.name].delete(lambda row: row.key == key)
        self.history.commit(name, report.commit.id, self.history.at(name))

    @rule(data=st.data(), pick=picks, world=worlds)
    def stream(self, data: st.DataObject, pick: int, world: World) -> None:
        name, store = self.branch(pick)
        views = self.history.at(name)
        facts = data.draw(fact_lists(world, bulk_rows=5))[: limits.DIRECT_ROWS]
        if not facts:
            return

        with store.stream(world.name) as stream:
            commit = stream.append_many(fact_table(world, facts)).result()

        views[world.name].append(facts, commit_time=microseconds(commit.time))
        self.history.commit(name, commit.id, views)

    @rule(pick=picks, tier=st.sampled_from([None, "cold", "hot"]))
    def optimize(self, pick: int, tier: str | None) -> None:
        self.branch(pick)[1].optimize(tier=tier)

    @rule()
    def bring_the_mirror_up_to_date(self) -> None:
        mirror = Path(self.folder.name) / "mirror.mls"
        if mirror.exists():
            self.store.push(mirror)
        else:
            self.store.clone(mirror)

        with ml.open(mirror, durability="normal") as copy:
            assert copy.verify().checks == self.store.verify().checks
            for name, commit in self.history.heads.items():
                for world in VIEWS:
                    assert_shows(copy.checkout(name), world, self.history.views[commit])

    @rule()
    def go_on_with_a_backup(self) -> None:
        self.count += 1
        backup = Path(self.folder.name) / f"backup{self.count}.mls"
        self.store.backup(backup)
        self.store.close()
        self.handles.clear()
        self.path = backup
        self.store = ml.open(self.path, durability="normal")

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.handles.clear()
        self.store = ml.open(self.path, durability="normal")

    # ------------------------------------------------------------ versions

    @rule(pick=picks)
    def snapshot(self, pick: int) -> None:
        name, store = self.branch(pick)
        self.count += 1
        store.snapshot(f"s{self.count}")
        self.snapshots[f"s{self.count}"] = self.history.heads[name]

    @precondition(lambda self: len(self.history.heads) < 4)
    @rule(pick=picks, back=st.integers(0, 3), is_at_head=st.booleans())
    def make_a_branch(self, pick: int, back: int, is_at_head: bool) -> None:
        name, store = self.branch(pick)
        chain = self.history.first_parents(name)
        commit = chain[0] if is_at_head else chain[min(back, len(chain) - 1)]
        if self.refuses([commit], lambda: store.branch("never", at=commit)):
            return
        self.count += 1
        made = store.branch(f"b{self.count}", at=None if is_at_head else commit)
        assert made.branch_name == f"b{self.count}"
        self.history.heads[f"b{self.count}"] = commit

    @precondition(lambda self: len(self.history.heads) > 1)
    @rule(pick=picks, other=picks, strategy=strategies, fast_forward=st.booleans())
    def merge(self, pick: int, other: int, strategy: str | None, fast_forward: bool) -> None:
        (name, store), (source, _) = self.branch(pick), self.branch(other)
        ours, theirs = self.history.heads[name], self.history.heads[source]
        base = self.history.base(ours, theirs)
        try:
            views = merge_views(*(self.history.views[commit] for commit in (base, ours, theirs)), strategy)
        except Conflict:
            with pytest.raises(ml.MergeConflictError) as refusal:
                store.merge(source)
            assert refusal.value.conflicts.num_rows
            return

        commit = store.merge(source, strategy=strategy, fast_forward=fast_forward)

        if base == theirs:
            assert commit.id == ours
        elif commit.id == theirs:
            assert base == ours
            assert fast_forward
            self.history.heads[name] = theirs
        else:
            assert commit.parents == (ours, theirs)
            self.history.commit(name, commit.id, views, merged=theirs)

    @rule(pick=picks, back=st.integers(0, 4))
    def roll_back(self, pick: int, back: int) -> None:
        name, store = self.branch(pick)
        chain = self.history.first_parents(name)
        commit = chain[min(back, len(chain) - 1)]
        if self.refuses([commit], lambda: store.rollback(commit)):
            return

        store.rollback(commit)

        self.history.heads[name] = commit

    @rule(pick=picks, back=st.integers(0, 3), strategy=st.sampled_from(["ours", "theirs"]))
    def revert(self, pick: int, back: int, strategy: str) -> None:
        name, store = self.branch(pick)
        chain = self.history.first_parents(name)
        if back + 1 >= len(chain):
            return
        if self.refuses(chain[back : back + 2], lambda: store.revert(chain[back], strategy=strategy)):
            return
        undone, before = self.history.views[chain[back]], self.history.views[chain[back + 1]]
        views = merge_views(undone, self.history.views[chain[0]], before, strategy)

        commit = store.revert(chain[back], strategy=strategy)

        self.history.commit(name, commit.id, views)

    @precondition(lambda self: len(self.history.heads) > 1)
    @rule(pick=picks)
    def delete_a_branch(self, pick: int) -> None:
        name, _ = self.branch(pick)
        if name == "main":
            with pytest.raises(ml.UsageError):
                self.store.delete_branch(name)
            return
        self.store.delete_branch(name)
        del self.history.heads[name]
        self.handles.pop(name, None)

    @rule(pick=picks, last=st.integers(1, 3), is_compact=st.booleans())
    def let_old_versions_go(self, pick: int, last: int, is_compact: bool) -> None:
        kept = {commit for name in self.history.heads for commit in self.history.first_parents(name)[:last]} | {*self.snapshots.values()}
        _, store = self.branch(pick)

        report = store.retain(last=last)

        if is_compact:
            store.compact()
        for commit, views in self.history.views.items():
            try:
                seen = self.store.at(commit)
            except ml.UnknownVersionError:
                assert commit not in kept - self.gone
                self.gone.add(commit)
                continue
            assert commit not in self.gone, "what was let go came back"
            assert_shows(seen, VIEWS[report.versions_kept % 2], views)

    def refuses(self, needed: list[str], act: Callable[[], object]) -> bool:
        """Whether a version that is needed was let go; then what needs it must be refused."""
        if self.gone.isdisjoint(needed):
            return False
        with pytest.raises(ml.UnknownVersionError):
            act()
        return True

    # ------------------------------------------------------------ questions

    @rule(first=picks, second=picks, back=st.integers(0, 3))
    def compare_two_versions(self, first: int, second: int, back: int) -> None:
        (name, _), (other, _) = self.branch(first), self.branch(second)
        chain = self.history.first_parents(other)
        before, after = self.history.heads[name], chain[min(back, len(chain) - 1)]
        if self.refuses([after], lambda: self.store.diff(before, after)):
            return

        found = self.store.diff(before, after)

        for world in VIEWS:
            rows = [Counter(model_contents(self.history.views[commit], world)) for commit in (before, after)]
            gone, come = (
                Counter() if world.name not in found else diff_contents(found[world.name], world, side) for side in ("before", "after")
            )
            assert gone == rows[0] - rows[1]
            assert come == rows[1] - rows[0]

    @precondition(lambda self: self.snapshots)
    @rule(pick=picks, world=worlds)
    def look_at_a_snapshot(self, pick: int, world: World) -> None:
        name = sorted(self.snapshots)[pick % len(self.snapshots)]
        assert_shows(self.store.at(name), world, self.history.views[self.snapshots[name]])

    @rule(pick=picks, world=worlds, time=times)
    def train(self, pick: int, world: World, time: int) -> None:
        name, store = self.branch(pick)
        asked = [(key, time) for key in world.universe]
        table = store.training_set(label_table(world, asked), [world.name], status=True, full_names=False)
        expected = [self.history.views[self.history.heads[name]][world.name].as_of(key, time) for key, time in asked]
        assert answers(table, world) == expected

    @invariant()
    def every_branch_shows_its_own(self) -> None:
        for name, commit in self.history.heads.items():
            fresh = self.store.checkout(name)
            for store in (fresh, self.handles.setdefault(name, fresh)):
                assert store.history(limit=1)[0].id == commit
                for world in VIEWS:
                    assert_shows(store, world, self.history.views[commit])

    @invariant()
    def the_file_is_whole(self) -> None:
        assert not self.store.verify().problems


def assert_shows(store: ml.Store, world: World, views: Views) -> None:
    model = views[world.name]
    now = max((row.event_time for row in model.rows), default=0)
    expected = [model.online(key, now=now) for key in world.universe]
    assert online_answers(store, world, now=now) == expected
    for key, answer in zip(world.universe, expected, strict=True):
        one = store.online_features([world.name], dict(zip(world.keys, key, strict=True)), now=instant(now))
        assert repr([one[name] for name in FEATURES]) == repr([answer.values[name] for name in FEATURES])
    assert Counter(map(repr, history_rows(store.read(world.name).table(), world))) == Counter(model_contents(views, world))


def model_contents(views: Views, world: World) -> list[str]:
    return list(map(repr, model_rows(views[world.name].rows)))


def diff_contents(table: ml.TableDiff, world: World, side: str) -> Counter[str]:
    """The rows that only one side of a diff has."""
    alone = table.removed if side == "before" else table.added
    heads = [*world.keys, "event_timestamp"]
    changed = pa.table({name: table.changed[name if name in heads else f"{name}__{side}"] for name in alone.column_names})
    return Counter(map(repr, [*history_rows(alone, world), *history_rows(changed, world)]))


TestVersions = VersionsMachine.TestCase
TestVersions.settings = settings(stateful_step_count=25, max_examples=30)
assert set(FEATURES) == {"amount", "ratio", "note", "level"}

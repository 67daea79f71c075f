"""A store under the life of the store machine that also forgets keys and is compacted; verified after every step.

Forgetting is the one change that reaches back: the model takes the rows out of every copy it ever made.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

import mlstore as ml
from tests.stateful.test_store_machine import StoreMachine, worlds
from tests.support.data import key_columns
from tests.support.model import ViewModel
from tests.support.worlds import World, shrink_limits


@pytest.fixture(scope="module", autouse=True)
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_limits(monkeypatch)
        yield


class HousekeepingMachine(StoreMachine):
    @rule(data=st.data(), world=worlds.filter(lambda world: world.keys), then_compact=st.booleans())
    def forget(self, data: st.DataObject, world: World, then_compact: bool) -> None:
        doomed = data.draw(st.lists(st.sampled_from(world.universe), min_size=1, max_size=2, unique=True))

        report = self.store.forget(f"{world.name}_entity", keys=key_columns(world, doomed), compact=then_compact)

        assert list(report.rows) == [world.name]
        for model in self.every_copy_of(world):
            model.delete(lambda row: row.key in doomed)
        self.remember(report.commit)

    @rule()
    def compact(self) -> None:
        before = self.path.stat().st_size

        report = self.store.compact()

        assert (report.bytes_before, report.bytes_after) == (before, self.path.stat().st_size)

    @precondition(lambda self: self.commits)
    @rule(last=st.integers(1, 4))
    def let_old_versions_go(self, last: int) -> None:
        self.store.retain(last=last)

        gone = [past for past in self.commits[:-last] if not self.is_readable(past.commit)]
        assert all(self.is_readable(past.commit) for past in self.commits[-last:])
        self.commits = [past for past in self.commits if past not in gone]

    def is_readable(self, commit: str) -> bool:
        try:
            self.store.at(commit)
        except ml.UnknownVersionError:
            return False
        return True

    @invariant()
    def everything_is_proved_whole(self) -> None:
        if self.commits:
            assert not self.store.verify().problems

    def every_copy_of(self, world: World) -> Iterator[ViewModel]:
        yield self.views[world.name]
        yield from (past.views[world.name] for past in self.commits)
        yield from (views[world.name] for views in self.snapshots.values())


HousekeepingMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=timedelta(seconds=60))
TestHousekeepingMachine = HousekeepingMachine.TestCase

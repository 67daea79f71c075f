"""Schedules: writes, replacements and deletions that a store and the model go through together."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

import mlstore as ml
from tests.support.data import fact_lists, fact_table, instant, key_columns, microseconds, times
from tests.support.model import Fact, Key, ViewModel
from tests.support.worlds import World

BULK_ROWS = 5  # of shrink_limits


@dataclass(frozen=True)
class Append:
    facts: list[Fact]

    def run(self, store: ml.Store, world: World, model: ViewModel) -> None:
        commit = store.write(world.name, fact_table(world, self.facts))
        model.append(self.facts, commit_time=microseconds(commit.time))


@dataclass(frozen=True)
class Upsert:
    facts: list[Fact]

    def run(self, store: ml.Store, world: World, model: ViewModel) -> None:
        commit = store.write(world.name, fact_table(world, self.facts), mode="upsert")
        model.upsert(self.facts, commit_time=microseconds(commit.time))


@dataclass(frozen=True)
class Delete:
    key: Key
    start: int
    end: int

    def run(self, store: ml.Store, world: World, model: ViewModel) -> None:
        keys = key_columns(world, [self.key]) or None
        store.delete(world.name, keys=keys, start=instant(self.start), end=instant(self.end))
        model.delete(lambda row: row.key == self.key and self.start <= row.event_time < self.end)


def schedules(world: World) -> st.SearchStrategy[list[Append | Upsert | Delete]]:
    facts = fact_lists(world, bulk_rows=BULK_ROWS)
    deletes = st.builds(Delete, st.sampled_from(world.universe), times, times)
    return st.lists(st.one_of(facts.map(Append), facts.map(Append), facts.map(Upsert), deletes), min_size=1, max_size=8)

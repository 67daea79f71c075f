"""Many handles on one store, in this process, its threads and another process: whichever is asked, it says what the model says.

Branches, snapshots, going back, merging, transactions that fail, reopening, pickling, compaction: in any order.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mlstore as ml
from tests.support.processes import Child, Parent
from tests.support.soaking import scaled
from tests.support.worlds import shrink_limits

CELL = ml.Entity("cell", keys={"cell_id": ml.int64})
VALUES = ml.FeatureView("value", entity=CELL, schema={"value": ml.int64})
CELLS = range(8)
DAY = "2024-05-01"

Cells = dict[int, int]

cells = st.dictionaries(st.sampled_from(CELLS), st.integers(0, 99), min_size=1, max_size=8)
places = st.integers(0, 9)


@pytest.fixture(scope="module", autouse=True)
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_limits(monkeypatch)
        yield


def put(store: ml.Store, held: Cells) -> None:
    store.write("value", rows_of(held), mode="upsert")


def rows_of(held: Cells) -> dict[str, list[Any]]:
    return {"cell_id": list(held), "event_timestamp": [DAY] * len(held), "value": list(held.values())}


def see(store: ml.Store) -> list[Cells]:
    """The cells in every way there is to ask."""
    keys = {"cell_id": list(CELLS)}
    online = store.online_features(["value"], keys)["value"].to_pylist()
    labels = keys | {"event_timestamp": ["2030-01-01"] * len(CELLS)}
    training = store.training_set(labels, ["value"])["value"].to_pylist()
    rows = store.read("value", columns=["cell_id", "value"]).to_pylist()
    assert len({row["cell_id"] for row in rows}) == len(rows)
    told = [{cell: value for cell, value in zip(CELLS, found, strict=True) if value is not None} for found in (online, training)]
    return [*told, {row["cell_id"]: row["value"] for row in rows}]


def serve(parent: Parent, path: Path) -> None:
    """In another process: put and see on a branch, as told."""
    with ml.open(path, durability="normal") as store:
        while (word := parent.hear()) != "stop":
            branch, held = word
            place = store.checkout(branch)
            if held:
                put(place, held)
            parent.tell(see(place))


class Handles(RuleBasedStateMachine):
    """The model: of every branch and snapshot the cells."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "cells.mls"
        self.branches: dict[str, Cells] = {"main": {}}
        self.snapshots: dict[str, tuple[str, Cells]] = {}
        self.numbers = iter(range(10_000))
        store = ml.open(self.path, durability="normal")
        store.apply(CELL, VALUES)
        self.handles: list[tuple[ml.Store, str]] = [(store, "main")]
        self.looks = 0
        self.child: Child | None = None
        self.threads = ThreadPoolExecutor(2)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            if self.child is not None:
                self.child.__exit__(None, None, None)
            self.threads.shutdown()
            for handle, _ in self.handles:
                handle.close()
            self.folder.cleanup()

    def at(self, place: int) -> tuple[ml.Store, str]:
        return self.handles[place % len(self.handles)]

    def changed(self, branch: str, change: Callable[[Cells], object]) -> None:
        held = dict(self.branches[branch])
        change(held)
        self.branches[branch] = held

    @rule(place=places, held=cells)
    def write(self, place: int, held: Cells) -> None:
        store, branch = self.at(place)
        put(store, held)
        self.changed(branch, lambda cells: cells.update(held))

    @rule(place=places, held=cells)
    def write_in_a_thread(self, place: int, held: Cells) -> None:
        store, branch = self.at(place)
        self.threads.submit(put, store, held).result()
        self.changed(branch, lambda cells: cells.update(held))

    @rule(place=places, gone=st.sets(st.sampled_from(CELLS), min_size=1))
    def delete(self, place: int, gone: set[int]) -> None:
        store, branch = self.at(place)
        store.delete("value", keys={"cell_id": sorted(gone)})
        self.changed(branch, lambda cells: [cells.pop(cell, None) for cell in gone])

    @rule(place=places, held=cells, more=cells, fails=st.booleans())
    def transact(self, place: int, held: Cells, more: Cells, fails: bool) -> None:
        store, branch = self.at(place)
        try:
            with store.transaction() as both:
                put(both, held)
                put(both, more)
                assert see(both)[0] == self.branches[branch] | held | more
                if fails:
                    raise KeyError("on purpose")
        except KeyError:
            return
        self.changed(branch, lambda cells: cells.update(held | more))

    @rule(place=places)
    def snapshot(self, place: int) -> None:
        store, branch = self.at(place)
        name = f"snapshot {next(self.numbers)}"
        store.snapshot(name)
        self.snapshots[name] = branch, self.branches[branch]

    @precondition(lambda self: len(self.branches) < 4)
    @rule(place=places)
    def branch(self, place: int) -> None:
        store, branch = self.at(place)
        name = f"branch-{next(self.numbers)}"
        self.handles.append((store.branch(name), name))
        self.branches[name] = self.branches[branch]

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.snapshots)))
        branch, held = self.snapshots[name]
        self.handles[0][0].checkout(branch).rollback(name)
        self.branches[branch] = held

    @rule(place=places)
    def another_handle(self, place: int) -> None:
        _, branch = self.at(place)
        if len(self.handles) < 8:
            self.handles.append((ml.open(self.path, branch=branch, durability="normal"), branch))

    @rule(place=places)
    def pickle_a_handle(self, place: int) -> None:
        store, branch = self.at(place)
        self.handles[place % len(self.handles)] = pickle.loads(pickle.dumps(store)), branch

    @rule()
    def open_again(self) -> None:
        for store, _ in self.handles:
            store.close()
        self.handles = [(ml.open(self.path, branch=branch, durability="normal"), branch) for _, branch in self.handles]

    @rule(place=places, tier=st.sampled_from([None, "hot", "cold"]))
    def optimize(self, place: int, tier: Any) -> None:
        self.at(place)[0].optimize(tier=tier)

    @precondition(lambda self: self.child is None)
    @rule(place=places)
    def compact(self, place: int) -> None:
        self.at(place)[0].compact()

    @rule(place=places, held=st.just({}) | cells)
    def ask_another_process(self, place: int, held: Cells) -> None:
        _, branch = self.at(place)
        if self.child is None:
            self.child = Child(serve, self.path)
        self.child.say((branch, held))
        self.changed(branch, lambda cells: cells.update(held))
        assert self.child.hear() == [self.branches[branch]] * 3

    @rule()
    def end_the_other_process(self) -> None:
        if self.child is not None:
            self.child.__exit__(None, None, None)
            self.child = None

    @invariant()
    def a_handle_says_what_the_model_says(self) -> None:
        """One handle after the other, the last one first: it knows least of what the others did."""
        if hasattr(self, "handles"):
            self.looks += 1
            store, branch = self.at(-self.looks)
            assert see(store) == [self.branches[branch]] * 3

    @invariant()
    def snapshots_stay(self) -> None:
        for name, (_, held) in list(getattr(self, "snapshots", {}).items())[-1:]:
            assert see(self.handles[0][0].at(name)) == [held] * 3

    @rule()
    def verify(self) -> None:
        self.handles[0][0].verify()
        for store, branch in self.handles:
            assert see(store) == [self.branches[branch]] * 3


TestHandles = Handles.TestCase
TestHandles.settings = settings(max_examples=7, stateful_step_count=25, deadline=None)


class TestManyHandles(Handles.TestCase):  # type: ignore[name-defined,misc]
    """The same for long."""

    settings = settings(max_examples=scaled(2000), stateful_step_count=100, deadline=None)


TestManyHandles = pytest.mark.soak(pytest.mark.timeout(0)(TestManyHandles))  # type: ignore[misc]

"""Many handles on one store, in this process, its threads and another process: whichever is asked, it says what the model says.

Branches, snapshots, going back, merging, transactions that fail, reopening, pickling, compaction: in any order.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import lmdb
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

import mlstore as ml
from mlstore.engine.history.offline import Shelves
from mlstore.storage.transaction import Writer
from tests.support.cells import CELL, NUMBERS, TURNS, VALUES, Cells, put, see, serve
from tests.support.processes import Child
from tests.support.worlds import shrink_limits

cells = st.dictionaries(st.sampled_from(NUMBERS), st.integers(0, 99), min_size=1, max_size=len(NUMBERS))
places = st.integers(0, 9)


@pytest.fixture(scope="module", autouse=True)
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_limits(monkeypatch)
        yield


class Handles(RuleBasedStateMachine):
    """The model: of every branch and snapshot the cells; of every branch the commits that are part of it."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "cells.mls"
        self.branches: dict[str, Cells] = {"main": {}}
        self.commits: dict[str, list[str]] = {"main": []}
        self.snapshots: dict[str, tuple[str, Cells, str]] = {}
        self.numbers = iter(range(10_000))
        store = ml.open(self.path, durability="normal")
        store.apply(CELL, VALUES)
        self.commits["main"].append(store.history(limit=1)[0].id)
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

    def changed(self, branch: str, held: Cells) -> None:
        self.branches[branch] = held
        self.commits[branch].append(self.handles[0][0].checkout(branch).history(limit=1)[0].id)

    @rule(place=places, held=cells)
    def write(self, place: int, held: Cells) -> None:
        store, branch = self.at(place)
        put(store, held)
        self.changed(branch, self.branches[branch] | held)

    @rule(place=places, held=cells)
    def write_in_a_thread(self, place: int, held: Cells) -> None:
        store, branch = self.at(place)
        self.threads.submit(put, store, held).result()
        self.changed(branch, self.branches[branch] | held)

    @rule(place=places, other=places, held=cells)
    def write_in_two_threads_at_once(self, place: int, other: int, held: Cells) -> None:
        halves = [{cell: value for cell, value in held.items() if cell % 2 == half} for half in (0, 1)]
        work = [(*self.at(place), halves[0]), (*self.at(other), halves[1])]
        for written in [self.threads.submit(put, store, half) for store, _, half in work if half]:
            written.result()
        for _, branch, half in work:
            self.changed(branch, self.branches[branch] | half)

    @rule(place=places, gone=st.sets(st.sampled_from(NUMBERS), min_size=1))
    def delete(self, place: int, gone: set[int]) -> None:
        store, branch = self.at(place)
        store.delete("value", keys={"cell_id": sorted(gone)})
        self.changed(branch, {cell: value for cell, value in self.branches[branch].items() if cell not in gone})

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
        self.changed(branch, self.branches[branch] | held | more)

    @rule(place=places)
    def snapshot(self, place: int) -> None:
        store, branch = self.at(place)
        name = f"snapshot {next(self.numbers)}"
        store.snapshot(name)
        self.snapshots[name] = branch, self.branches[branch], self.commits[branch][-1]

    @precondition(lambda self: len(self.branches) < 4)
    @rule(place=places)
    def branch(self, place: int) -> None:
        store, branch = self.at(place)
        name = f"branch-{next(self.numbers)}"
        self.handles.append((store.branch(name), name))
        self.branches[name], self.commits[name] = self.branches[branch], list(self.commits[branch])

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.snapshots)))
        branch, held, commit = self.snapshots[name]
        place = self.handles[0][0].checkout(branch)
        if commit not in self.commits[branch]:
            # The branch went back to before it.
            with pytest.raises(ml.UsageError):
                place.rollback(name)
            return
        place.rollback(name)
        self.branches[branch] = held
        del self.commits[branch][self.commits[branch].index(commit) + 1 :]

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
        found = self.child.hear()
        self.changed(branch, self.branches[branch] | held)
        assert found == [self.branches[branch]] * 3

    @precondition(lambda self: self.child is not None)
    @rule()
    def end_the_other_process(self) -> None:
        assert self.child is not None
        self.child.__exit__(None, None, None)
        self.child = None

    @invariant()
    def a_handle_says_what_the_model_says(self) -> None:
        """One handle after the other, the last one first: it knows least of what the others did. One way to ask after the other."""
        if hasattr(self, "handles"):
            self.looks += 1
            store, branch = self.at(-self.looks)
            assert TURNS[self.looks % len(TURNS)](store) == self.branches[branch]

    @precondition(lambda self: getattr(self, "snapshots", None) and self.looks % 5 == 0)
    @invariant()
    def snapshots_stay(self) -> None:
        name = list(self.snapshots)[-1 - self.looks // 5 % len(self.snapshots)]
        assert see(self.handles[0][0].at(name)) == [self.snapshots[name][1]] * 3

    @precondition(lambda self: self.looks % 4 == 0)
    @rule()
    def verify(self) -> None:
        self.handles[0][0].verify()
        for store, branch in self.handles:
            assert see(store) == [self.branches[branch]] * 3


TestHandles = Handles.TestCase
TestHandles.settings = settings(max_examples=7, stateful_step_count=25, deadline=None)


@contextmanager
def planted(patch: pytest.MonkeyPatch, bug: str) -> Iterator[None]:
    """An engine of which one thing is broken."""
    match bug:
        case "it does not notice that a branch was moved":
            patch.setattr("mlstore.engine.session.catalog_tick", lambda reader: 0)
        case "it does not notice that others wrote":
            tail = Shelves.tail
            patch.setattr(Shelves, "tail", lambda shelves, reader, relation, line, tick: tail(shelves, reader, relation, line, 0))
        case "it writes a transaction that failed":
            leave = Writer.__exit__
            patch.setattr(Writer, "__exit__", lambda writer, *error: leave(writer, None, None, None))
    yield
    patch.undo()


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug",
    [
        "it does not notice that a branch was moved",
        "it does not notice that others wrote",
        "it writes a transaction that failed",
    ],
)
def test_a_broken_engine_is_found_out(monkeypatch: pytest.MonkeyPatch, bug: str):
    many = settings(max_examples=60, stateful_step_count=40, deadline=None, database=None, phases=[Phase.generate])

    with planted(monkeypatch, bug), pytest.raises((AssertionError, ml.MlstoreError, lmdb.Error)):
        run_state_machine_as_test(hypothesis.seed(1)(Handles), settings=many)

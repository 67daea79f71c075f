"""The promise of the store: `online(k)` equals `as_of(k, now)` equals the model, after any interleaving of writes.

Schedules mix small writes (the tail) and bulk ones (segments), late, tied, duplicated, upserted and deleted rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlstore as ml
from tests.support.data import answers, fact_table, instant, label_table, online_answers
from tests.support.model import Answer, Fact
from tests.support.schedules import BULK_ROWS, Append, Delete, schedules
from tests.support.worlds import KNOWN, PAIRED, PLAIN, REACHING, SECOND, WORLDS, World, shrink_limits


@pytest.fixture(scope="module", autouse=True)
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_limits(monkeypatch)
        yield


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
@given(data=st.data())
@settings(deadline=None)
def test_online_equals_as_of_now_equals_the_model(world: World, data: st.DataObject) -> None:
    schedule = data.draw(schedules(world))
    age = data.draw(st.sampled_from([1, 5 * SECOND, 10 * SECOND, 10 * SECOND + 1]))
    model = world.model()
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())
        for step in schedule:
            step.run(store, world, model)

            # As-of now and the end of time are the same only where no row lies in the future.
            now = max((row.event_time for row in model.rows), default=0) + age
            expected = [model.as_of(key, now) for key in world.universe]
            assert [model.online(key, now=now) for key in world.universe] == expected
            assert online_answers(store, world, now=now) == expected
            labels = label_table(world, [(key, now) for key in world.universe])
            assert answers(store.training_set(labels, [world.name], status=True), world) == expected


@pytest.mark.parametrize(
    ("rows_per_write", "place"),
    [pytest.param(2, "tail_rows", id="small writes stay in the tail"), pytest.param(2 * BULK_ROWS, "segments", id="bulk goes to segments")],
)
def test_the_schedules_reach_both_tail_and_segments(rows_per_write: int, place: str) -> None:
    facts = [Fact((1,), second * SECOND, {"amount": second}, created=0) for second in range(rows_per_write)]
    with ml.open(":memory:") as store:
        store.apply(*KNOWN.definitions())

        store.write(KNOWN.name, fact_table(KNOWN, facts))

        assert store.info()["tables"][0][place] > 0


def test_a_late_row_never_replaces_the_online_row() -> None:
    world, model = PLAIN, PLAIN.model()
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())
        Append([Fact((7,), 10 * SECOND, {"amount": 5})]).run(store, world, model)

        Append([Fact((7,), 9 * SECOND, {"amount": 9})]).run(store, world, model)

        assert store.online_features(["plain:amount"], {"card": 7}) == {"card": 7, "amount": 5}


def test_deleting_the_newest_row_brings_back_the_one_before() -> None:
    world, model = PLAIN, PLAIN.model()
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())
        Append([Fact((7,), 9 * SECOND, {"amount": 9}), Fact((7,), 10 * SECOND, {"amount": 5})]).run(store, world, model)

        Delete((7,), 10 * SECOND, 11 * SECOND).run(store, world, model)

        assert store.online_features(["plain:amount"], {"card": 7}) == {"card": 7, "amount": 9}


def online_and_as_of(store: ml.Store, world: World, now: int) -> tuple[list[Answer], list[Answer]]:
    labels = label_table(world, [(key, now) for key in world.universe])
    return online_answers(store, world, now=now), answers(store.training_set(labels, [world.name], status=True), world)


@pytest.mark.parametrize("interfere", [ml.Store.optimize, ml.Store.verify], ids=["optimize", "verify"])
def test_upkeep_changes_no_answer(interfere: Callable[[ml.Store], object]) -> None:
    world, model = KNOWN, KNOWN.model()
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())
        for batch in range(12):
            facts = [Fact((1 + n % 2,), (batch * 3 - n) * SECOND, {"amount": batch * 10 + n}, created=n) for n in range(batch + 1)]
            Append(facts).run(store, world, model)
        before = online_and_as_of(store, world, 40 * SECOND)

        interfere(store)

        assert online_and_as_of(store, world, 40 * SECOND) == before


@pytest.mark.parametrize("rows", [9, 17, 40])
def test_of_tied_rows_in_one_bulk_write_the_last_wins_online_too(rows: int) -> None:
    """A load is cut into segments. The online row came from the first segment that held a tie, the history's answer from the last."""
    world, model = PAIRED, PAIRED.model()
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())

        Append([Fact(("a", 1), 0, {"amount": number}) for number in range(rows)]).run(store, world, model)

        assert store.online_features(["paired:amount"], {"carrier": "a", "stop": 1}, now=instant(1))["amount"] == rows - 1
        assert store.training_set(label_table(world, [(("a", 1), 1)]), ["paired"])["amount"].to_pylist() == [rows - 1]


def test_an_answer_outside_its_ttl_is_the_same_online_and_as_of() -> None:
    """Online gave the event time of the row that was too old, a training set gave none."""
    world, model = KNOWN, KNOWN.model()
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())
        Append([Fact((1,), 0, {"amount": 1}, created=0)]).run(store, world, model)

        online, as_of = online_and_as_of(store, world, 10 * SECOND + 1)

        assert online == as_of


@pytest.mark.parametrize("copies", [1, BULK_ROWS], ids=["tail", "segments"])
def test_nan_is_a_value_that_no_earlier_one_shows_through(copies: int) -> None:
    world, model = REACHING, REACHING.model()
    nan, earlier = Fact((1,), 2 * SECOND, {"ratio": math.nan}, created=0), Fact((1,), SECOND, {"ratio": 1.5, "amount": 7}, created=0)
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())
        Append([earlier, nan] * copies).run(store, world, model)

        online, as_of = online_and_as_of(store, world, 3 * SECOND)

        for answered in (online, as_of):
            assert math.isnan(answered[0].values["ratio"])
            assert answered[0].values["amount"] == 7

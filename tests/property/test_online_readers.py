"""Prepared readers, newest rows and key ranges against the model, after any interleaving of writes; and against the store of a version."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlstore as ml
from tests.support.data import answers, instant, key_columns, microseconds
from tests.support.model import Answer, Key, ViewModel
from tests.support.schedules import schedules
from tests.support.worlds import FEATURES, PAIRED, SECOND, WORLDS, World, shrink_limits


@pytest.fixture(scope="module", autouse=True)
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_limits(monkeypatch)
        monkeypatch.setattr("mlstore.engine.asking.keyrange.BATCH_KEYS", 2)
        yield


def one_answer(found: dict[str, object], world: World) -> Answer:
    moment = found[f"{world.name}__event_timestamp"]
    values = {name: found[name] for name in FEATURES}
    return Answer(values, str(found[f"{world.name}__status"]), None if moment is None else microseconds(moment))


def read_one_by_one(reader: ml.OnlineReader, world: World, now: int) -> list[Answer]:
    keys = [dict(zip(world.keys, key, strict=True)) for key in world.universe]
    return [one_answer(reader.online_features(key, now=instant(now)), world) for key in keys]


def read_together(reader: ml.OnlineReader, world: World, now: int) -> list[Answer]:
    return answers(reader.online_features(key_columns(world, world.universe), now=instant(now)), world)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
@given(data=st.data())
@settings(deadline=None)
def test_a_reader_gives_what_the_model_says_of_one_key_and_of_many(world: World, data: st.DataObject) -> None:
    schedule, model = data.draw(schedules(world)), world.model()
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())
        reader, plain = store.reader([world.name], status=True), store.reader([world.name])
        past: list[tuple[ml.Commit, ViewModel]] = []
        for step in schedule:
            step.run(store, world, model)
            now = max((row.event_time for row in model.rows), default=0) + data.draw(st.sampled_from([1, 10 * SECOND, 10 * SECOND + 1]))
            expected = [model.online(key, now=now) for key in world.universe]

            first, again = (read_one_by_one(reader, world, now) for _ in range(2))

            assert first == again == expected
            if world.keys:
                assert read_together(reader, world, now) == expected
                for _ in range(2):  # the second time by the plan for lists of integers, where there is one
                    table = plain.online_features(key_columns(world, world.universe), now=instant(now))
                    assert [{name: row[name] for name in FEATURES} for row in table.to_pylist()] == [answer.values for answer in expected]
            past.append((store.history(limit=1)[0], model.copy()))
        commit, then = data.draw(st.sampled_from(past))
        assert read_one_by_one(store.at(commit).reader([world.name], status=True), world, now) == [
            then.online(key, now=now) for key in world.universe
        ]


def newest_rows(model: ViewModel, key: Key, last_n: int, now: int) -> tuple[str, list[dict[str, object]], list[int]]:
    """The rule in words: the rows of the key, in the total order, those within the ttl, the last n."""
    known = sorted((row for row in model.rows if row.key == key), key=lambda row: row.rank)
    fresh = [row for row in known if model.max_age is None or now - row.event_time <= model.max_age][-last_n:]
    status = "PRESENT" if fresh else "OUTSIDE_TTL" if known else "NOT_FOUND"
    return status, [{name: row.values.get(name) for name in FEATURES} for row in fresh], [row.event_time for row in fresh]


def told_rows(found: dict[str, object], world: World) -> tuple[object, list[dict[str, object]], list[int]]:
    lists = [found[name] for name in FEATURES]
    rows = [dict(zip(FEATURES, values, strict=True)) for values in zip(*lists, strict=True)]
    return found[f"{world.name}__status"], rows, [microseconds(time) for time in found[f"{world.name}__event_timestamp"]]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
@given(data=st.data(), last_n=st.integers(1, 7))
@settings(deadline=None)
def test_the_newest_rows_of_a_key_are_those_of_the_model_now_and_at_a_version(world: World, data: st.DataObject, last_n: int) -> None:
    schedule, model = data.draw(schedules(world)), world.model()
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())
        for step in schedule[:-1]:
            step.run(store, world, model)
        store.snapshot("before")
        before = model.copy()
        schedule[-1].run(store, world, model)
        now = max((row.event_time for row in model.rows), default=0) + data.draw(st.sampled_from([1, 10 * SECOND, 10 * SECOND + 1]))
        for asked, then in ((store, model), (store.at("before"), before)):
            reader = asked.reader([world.name], status=True)
            expected = [newest_rows(then, key, last_n, now) for key in world.universe]

            keys = [dict(zip(world.keys, key, strict=True)) for key in world.universe]
            singly = [told_rows(reader.online_features(key, now=instant(now), last_n=last_n), world) for key in keys]

            assert singly == expected
            if world.keys:
                table = reader.online_features(key_columns(world, world.universe[::-1]), now=instant(now), last_n=last_n)
                assert [told_rows(row, world) for row in table.to_pylist()] == expected[::-1]


@pytest.mark.parametrize("world", [world for world in WORLDS if world.keys], ids=lambda world: world.name)
@given(data=st.data())
@settings(deadline=None)
def test_a_range_of_keys_is_what_is_said_of_each_known_key_in_order(world: World, data: st.DataObject) -> None:
    schedule, model = data.draw(schedules(world)), world.model()
    first = next(iter(world.keys))
    low, high = data.draw(st.sampled_from(world.universe))[0], data.draw(st.sampled_from(world.universe))[0]
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())
        for step in schedule:
            step.run(store, world, model)
        store.snapshot("now")
        for asked in (store, store.at("now")):
            found = asked.online_range(world.name, start={first: low}, stop={first: high}, now=instant(0), status=True)

            known = sorted({row.key for row in model.rows if low <= row.key[0] < high})
            assert [tuple(row[name] for name in world.keys) for row in found.to_pylist()] == known
            assert answers(found.table(), world) == [model.online(key, now=0) for key in known]
            assert pa.Table.from_batches(list(found.batches()), found.schema).equals(found.table())


@given(data=st.data())
@settings(deadline=None)
def test_a_prefix_of_a_composite_key_gives_the_keys_that_begin_with_it(data: st.DataObject) -> None:
    world, model = PAIRED, PAIRED.model()
    schedule = data.draw(schedules(world))
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())
        for step in schedule:
            step.run(store, world, model)
        for carrier in ("a", "a1", "b", "c"):
            found = store.online_range([world.name], prefix={"carrier": carrier}, start={"carrier": "a", "stop": 0})

            expected = sorted({row.key for row in model.rows if row.key[0] == carrier and row.key >= ("a", 0)})
            assert [(row["carrier"], row["stop"]) for row in found.to_pylist()] == expected

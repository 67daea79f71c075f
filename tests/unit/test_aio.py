"""The store for asyncio: the same answers, a loop that goes on, cancellation, and an end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import mlstore as ml

USER = ml.Entity("user", keys={"user_id": ml.int64})


@pytest.fixture
def shop(store: ml.Store) -> Iterator[ml.Store]:
    store.apply(USER, ml.FeatureView("spend", entity=USER, schema={"amount": ml.int64}))
    store.write("spend", {"user_id": [1, 2], "event_timestamp": ["2024-05-01", "2024-05-02"], "amount": [3, 4]})
    yield store
    asyncio.run(store.aio.close())


class Gate:
    """Calls that stop until they are let through, and say that they are there."""

    def __init__(self) -> None:
        self.is_reached, self.is_open = threading.Event(), threading.Event()

    def __call__(self, *args: Any, **options: Any) -> str:
        self.is_reached.set()
        assert self.is_open.wait(60)
        return "through"


def test_every_call_gives_what_the_store_gives(shop: ml.Store) -> None:
    labels = {"user_id": [1, 2], "event_timestamp": ["2024-06-01", "2024-06-01"]}

    async def ask() -> list[Any]:
        commit = await shop.aio.write("spend", {"user_id": 3, "event_timestamp": "2024-05-03", "amount": 5})
        return [
            commit.id,
            await shop.aio.online_features(["spend"], {"user_id": 1}),
            await shop.aio.online_features(["spend"], {"user_id": 1}, last_n=2),
            await shop.aio.online_features(["spend"], {"user_id": [3, 1]}),
            await shop.aio.training_set(labels, ["spend"]),
            await shop.aio.read("spend", columns=["amount"]),
            await shop.aio.run(shop.snapshot, "v1"),
        ]

    commit, one, last, many, training, rows, snapshot = asyncio.run(ask())

    assert commit == shop.history(limit=1)[0].id == snapshot.id
    assert (one, last) == ({"user_id": 1, "amount": 3}, {"user_id": 1, "amount": [3]})
    assert many.equals(shop.online_features(["spend"], {"user_id": [3, 1]}))
    assert training.equals(shop.training_set(labels, ["spend"]))
    assert rows.equals(shop.read("spend", columns=["amount"]).table())


def test_one_key_is_answered_in_the_loop_and_many_are_not(shop: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    original = type(shop).online_features

    def online_features(store: ml.Store, *args: Any, **options: Any) -> Any:
        threads.append(threading.current_thread().name)
        return original(store, *args, **options)

    monkeypatch.setattr(type(shop), "online_features", online_features)

    async def ask() -> None:
        await shop.aio.online_features(["spend"], {"user_id": 1})
        await shop.aio.online_features(["spend"], {"user_id": [1]})

    asyncio.run(ask())

    assert threads[0] == threading.current_thread().name
    assert threads[1].startswith("mlstore")


def test_the_loop_goes_on_while_a_long_call_is_at_work(shop: ml.Store) -> None:
    gate = Gate()

    async def ask() -> tuple[Any, str]:
        waiting = asyncio.ensure_future(shop.aio.run(gate))
        while not gate.is_reached.is_set():
            await asyncio.sleep(0)
        meanwhile = await shop.aio.online_features(["spend"], {"user_id": 2})
        gate.is_open.set()
        return meanwhile, await waiting

    assert asyncio.run(ask()) == ({"user_id": 2, "amount": 4}, "through")


def test_a_cancelled_call_stops_waiting_at_once_and_harms_no_other(shop: ml.Store) -> None:
    gate = Gate()

    async def ask() -> Any:
        waiting = asyncio.ensure_future(shop.aio.run(gate))
        while not gate.is_reached.is_set():
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        found = await shop.aio.online_features(["spend"], {"user_id": [2]})
        gate.is_open.set()
        return found.to_pylist()

    assert asyncio.run(ask()) == [{"user_id": 2, "amount": 4}]


def test_closing_waits_for_what_is_at_work_and_refuses_what_comes_after(shop: ml.Store) -> None:
    async def ask() -> None:
        async with shop.aio as aio:
            write = asyncio.ensure_future(aio.write("spend", {"user_id": 9, "event_timestamp": "2024-05-03", "amount": 9}))
            await asyncio.sleep(0)
        await write
        for keys in ({"user_id": 9}, {"user_id": [9]}):
            with pytest.raises(ml.ClosedError):
                await shop.aio.online_features(["spend"], keys)

    asyncio.run(ask())

    assert shop.online_features(["spend"], {"user_id": 9}) == {"user_id": 9, "amount": 9}


def test_an_error_of_the_store_is_the_coroutines_error(shop: ml.Store) -> None:
    async def ask(keys: Any) -> None:
        await shop.aio.online_features(["spend"], keys)

    for keys in ({"nobody": 1}, {"nobody": [1]}):
        with pytest.raises(ml.SchemaMismatchError):
            asyncio.run(ask(keys))

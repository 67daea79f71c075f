"""Consumers killed in their middle, again and again: every event of the source is there once."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlstore as ml
from tests.support.crash_limits import shrink_limits
from tests.support.processes import Child, Parent

EVENTS = 60_000  # more than all lives together can take in
LIVES = 12


def events() -> Iterator[dict[str, object]]:
    for number in range(EVENTS):
        yield {"user_id": number % 7, "ts": f"2024-05-01T00:{number // 60 % 60:02}:{number % 60:02}Z", "number": number}


def consume(parent: Parent, path: Path, durability: str) -> None:
    shrink_limits()
    with ml.open(path, durability=durability) as store:
        parent.tell("open")
        store.consume("feed", events(), into="orders", max_rows=25)


@pytest.mark.slow
def test_a_consumer_killed_again_and_again_writes_every_event_once(tmp_path):
    path = tmp_path / "killed.mls"
    with ml.open(path) as store:
        store.apply(ml.Table("orders", schema={"user_id": ml.int64, "number": ml.int64}, key=["user_id"], timestamp="ts"))
    dice = random.Random(5)

    for _ in range(LIVES):
        with Child(consume, path, dice.choice(["full", "normal"])) as child:
            child.hear()
            time.sleep(dice.uniform(0.01, 0.3))
            child.kill()
        with ml.open(path) as store:
            numbers = sorted(store.read("orders")["number"].to_pylist())
            assert numbers == list(range(len(numbers)))
            assert [state.position for state in store.consumers()] == [len(numbers)][: len(store.consumers())]

    with ml.open(path) as store:
        assert store.consume("feed", events(), into="orders").rows == EVENTS
        assert sorted(store.read("orders")["number"].to_pylist()) == list(range(EVENTS))
        store.verify()

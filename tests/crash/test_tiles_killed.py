"""Processes killed while they fill in tiles or stream events: tiles that are in use are what the events make, and the next one goes on."""

from __future__ import annotations

import itertools
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import mlstore as ml
from mlstore.engine import limits
from mlstore.engine.writing import catching
from tests.support.crash_limits import shrink_limits
from tests.support.processes import Child, Parent

LIVES = 6
USERS = 40
LONGEST_LIFE_SECONDS = 0.5
START = datetime(2024, 5, 1, tzinfo=UTC)

USER = ml.Entity("user", keys={"user_id": ml.int64})
ORDERS = ml.FeatureView("orders", entity=USER, schema={"amount": ml.float64})
SPEND = ml.WindowView(
    "spend", entity=USER, source=ORDERS, aggregations=[ml.agg("amount", ["count", "sum", "std", "max"], windows=["1h", "1d", "lifetime"])]
)


def events(dice: random.Random, count: int) -> dict[str, list[object]]:
    times = [START + timedelta(seconds=dice.randrange(30 * 86_400)) for _ in range(count)]
    users = [dice.randrange(USERS) for _ in range(count)]
    return {"user_id": users, "event_timestamp": times, "amount": [dice.uniform(0, 100) for _ in range(count)]}


def live(parent: Parent, path: Path, life: int) -> None:
    """Fill in, write, delete, tidy up, until killed."""
    shrink_limits()
    limits.TILE_LEAF = 4
    catching.STEP_KEYS = 3
    dice = random.Random(life)
    with ml.open(path) as store:
        parent.tell("lives")
        for _ in itertools.count():
            act = dice.choice(["backfill", "backfill", "few", "few", "many", "stream", "delete", "optimize"])
            if act == "backfill":
                store.backfill("spend")
            elif act == "stream":
                with store.stream("orders", max_rows=20) as stream:
                    for _ in range(50):
                        stream.append({name: values[0] for name, values in events(dice, 1).items()})
            elif act == "delete":
                store.delete("orders", keys={"user_id": [dice.randrange(USERS)]})
            elif act == "optimize":
                store.optimize()
            else:
                store.write("orders", events(dice, 20 if act == "few" else 400))
            parent.tell(act)


@pytest.mark.slow
def test_tiles_are_what_the_events_make_whenever_a_process_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TILE_LEAF", 4)
    path, dice, acts = tmp_path / "killed.mls", random.Random(5), set[str]()
    with ml.open(path) as store:
        store.apply(USER, ORDERS, SPEND)
        store.write("orders", events(dice, 3000))

    for life in range(LIVES):
        with Child(live, path, life) as child:
            child.hear()
            time.sleep(dice.uniform(0.1, LONGEST_LIFE_SECONDS))
            acts.update(child.kill())
        with ml.open(path) as store:
            assert store.verify().problems == ()
            assert store.verify_skew(["spend"], sample=USERS, now=START + timedelta(days=30))

    with ml.open(path) as store:
        store.backfill("spend")
        assert store.verify().checks["tiles"] > USERS
        assert store.verify_skew(["spend"], sample=USERS, now=START + timedelta(days=30))
    assert "backfill" in acts or "few" in acts

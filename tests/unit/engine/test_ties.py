"""Ties: of rows that are equal in key and all clocks the last written wins, wherever segments are cut, merged or moved."""

from __future__ import annotations

from itertools import count
from typing import Any

import pyarrow.compute as pc
import pytest

import mlstore as ml
from mlstore.engine import limits
from mlstore.engine.keeping import optimizing
from mlstore.engine.writing import upkeep
from tests.support.data import fact_table, instant, label_table
from tests.support.model import Fact
from tests.support.worlds import KNOWN, PLAIN, SECOND

# Rows of one call that are equal in key and both times: the last of them wins, wherever segments are cut.
TIED = [Fact((1,), 1 * SECOND, {"amount": 0}), *(Fact((1,), 5 * SECOND, {"amount": amount}) for amount in (1, 2, 3))]


def answers_of_card_one(store: ml.Store) -> tuple[Any, Any, Any]:
    trained = store.training_set(label_table(PLAIN, [((1,), 9 * SECOND)]), ["plain:amount"])["amount"][0].as_py()
    state = store.read("plain", as_of=instant(9 * SECOND), where=pc.field("card") == 1).to_pylist()[0]["amount"]
    return trained, store.online_features(["plain:amount"], {"card": 1})["amount"], state


@pytest.mark.parametrize("segment_rows", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("others", [[], [Fact((2,), 0, {"amount": 9})]], ids=["alone", "beside an older row of another key"])
@pytest.mark.parametrize("later", [[], ["optimize"]], ids=["at once", "after a merge"])
def test_the_last_of_equal_rows_of_a_bulk_load_wins_on_every_path(
    store: ml.Store, monkeypatch: pytest.MonkeyPatch, segment_rows: int, others: list[Fact], later: list[str]
) -> None:
    monkeypatch.setattr(limits, "DIRECT_ROWS", 1)
    monkeypatch.setattr(limits, "SEGMENT_ROWS", segment_rows)
    store.apply(*PLAIN.definitions())

    store.write("plain", fact_table(PLAIN, TIED + others))
    if later:
        store.write("plain", fact_table(PLAIN, [Fact((3,), 0, {"amount": 4})]))
        store.optimize()

    assert answers_of_card_one(store) == (3, 3, 3)
    store.verify()


@pytest.mark.parametrize("segment_rows", [1, 2, 3])
def test_ties_are_settled_alike_at_every_step_of_a_merge(store: ml.Store, monkeypatch: pytest.MonkeyPatch, segment_rows: int) -> None:
    monkeypatch.setattr(limits, "DIRECT_ROWS", 1)
    monkeypatch.setattr(limits, "SEGMENT_ROWS", segment_rows)
    store.apply(*PLAIN.definitions())
    store.write("plain", fact_table(PLAIN, TIED))
    store.write("plain", fact_table(PLAIN, [Fact((0,), second * SECOND, {"amount": 9}) for second in range(3)]))

    moved, steps = 1, 0
    while moved:
        assert answers_of_card_one(store) == (3, 3, 3)
        with store._session.writing() as context:
            moved = upkeep.merge_once(context, context.catalog.relation("plain"), upkeep.plan_full_merge)
        steps += 1

    assert steps > 3
    assert store.info()["tables"][0]["runs"] == 1
    store.verify()


@pytest.mark.parametrize("moved", [1, 2, 3])
def test_ties_are_settled_alike_while_segments_move_to_another_tier(store: ml.Store, monkeypatch: pytest.MonkeyPatch, moved: int) -> None:
    monkeypatch.setattr(limits, "DIRECT_ROWS", 1)
    monkeypatch.setattr(limits, "SEGMENT_ROWS", 1)
    store.apply(*PLAIN.definitions())
    store.write("plain", fact_table(PLAIN, TIED))
    steps, rewrite_one = count(), optimizing.rewrite_segment

    def rewrite_some(*arguments: Any) -> Any:
        if next(steps) == moved:
            raise KeyboardInterrupt
        return rewrite_one(*arguments)

    monkeypatch.setattr(optimizing, "rewrite_segment", rewrite_some)
    with pytest.raises(KeyboardInterrupt):
        store.optimize(tier="cold")

    assert store.info()["tables"][0]["tiers"] == {"hot": 4 - moved, "cold": moved}
    assert answers_of_card_one(store) == (3, 3, 3)
    store.verify()


@pytest.mark.usefixtures("small_limits")
def test_equal_rows_of_several_calls_keep_their_order_through_merges(store: ml.Store) -> None:
    store.apply(*KNOWN.definitions())
    for amount in range(40):
        store.write("known", fact_table(KNOWN, [Fact((1,), SECOND, {"amount": amount}, created=SECOND)]))

        trained = store.training_set(label_table(KNOWN, [((1,), 2 * SECOND)]), ["known:amount"])["amount"].to_pylist()
        assert trained == [amount]

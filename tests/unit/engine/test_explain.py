"""Explaining a cell: every row of its key has a verdict, and the verdicts tell the answer of the training set."""

from __future__ import annotations

from typing import Any

import pytest

import mlstore as ml
from tests.support.data import fact_table, instant, label_table
from tests.support.model import Fact
from tests.support.worlds import COMMON, KNOWN, PAIRED, PLAIN, REACHING, SECOND, STRICT, World


def fill(store: ml.Store, world: World, *facts: Fact) -> None:
    store.apply(*world.definitions())
    for fact in facts:
        store.write(world.name, fact_table(world, [fact]))


def fact(second: int, amount: int | None, *, created: int = 0, key: tuple[Any, ...] = (1,)) -> Fact:
    return Fact(key, second * SECOND, {"amount": amount}, created=created * SECOND)


def explain(store: ml.Store, world: World, second: int, **options: Any) -> ml.Explanation:
    label = {"card": 1, "event_timestamp": instant(second * SECOND), "more": "than needed"}
    return store.explain(label, f"{world.name}:amount", **options)


def verdicts(explanation: ml.Explanation) -> list[tuple[int, str]]:
    return [(row["value"], row["verdict"]) for row in explanation.rows]


def test_every_row_of_the_key_has_its_verdict_newest_first(store: ml.Store) -> None:
    fill(store, KNOWN, fact(1, 10), fact(5, 50, created=3), fact(5, 51, created=2), fact(6, 60, created=99), fact(20, 90), fact(25, 95))
    store.write("known", fact_table(KNOWN, [fact(12, 99, key=(2,))]))

    told = explain(store, KNOWN, 14, known_at=instant(50 * SECOND))

    assert verdicts(told) == [
        (95, "after the label"),
        (90, "after the label"),
        (60, "not yet known"),
        (50, "won"),
        (51, "lost: the same event, known or written earlier"),
        (10, "older than the ttl allows"),
    ]
    assert (told.value, told.status, told.feature) == (50, "PRESENT", "known@1:amount")


def test_an_earlier_event_lost_to_the_winner(store: ml.Store) -> None:
    fill(store, PLAIN, fact(1, 10), fact(2, 20))

    assert verdicts(explain(store, PLAIN, 3)) == [(20, "won"), (10, "lost: an earlier event than the winner")]


def test_of_equal_rows_the_later_written_won(store: ml.Store) -> None:
    fill(store, KNOWN, fact(1, 10), fact(1, 11), fact(1, 12))

    told = explain(store, KNOWN, 3)

    assert verdicts(told) == [(12, "won"), *((amount, "lost: the same event, known or written earlier") for amount in (11, 10))]
    assert [row["seq"] for row in told.rows] == sorted((row["seq"] for row in told.rows), reverse=True)


def test_deleted_rows_are_told_of(store: ml.Store) -> None:
    fill(store, PLAIN, fact(1, 10), fact(2, 20))
    store.delete("plain", keys={"card": 1}, start=instant(2 * SECOND))

    assert verdicts(explain(store, PLAIN, 3)) == [(20, "deleted"), (10, "won")]


def test_rows_of_later_versions_are_told_of(store: ml.Store) -> None:
    fill(store, PLAIN, fact(1, 10))
    store.snapshot("v1")
    store.write("plain", fact_table(PLAIN, [fact(2, 20)]))

    assert verdicts(explain(store.at("v1"), PLAIN, 3)) == [(20, "written after this version"), (10, "won")]
    assert explain(store.at("v1"), PLAIN, 3).value == 10


def test_a_strict_boundary_is_named(store: ml.Store) -> None:
    fill(store, STRICT, fact(1, 10), fact(2, 20))

    told = explain(store, STRICT, 2)

    assert verdicts(told) == [(20, "not before the label (boundary is strict)"), (10, "won")]


def test_a_null_is_an_answer_unless_the_view_reaches_back(store: ml.Store) -> None:
    fill(store, KNOWN, fact(1, 10), fact(2, None))
    fill(store, REACHING, fact(1, 10), fact(2, None))

    told, reaching = explain(store, KNOWN, 3), explain(store, REACHING, 3)

    assert (told.value, told.status) == (None, "NULL_VALUE")
    assert verdicts(told)[0] == (None, "won")
    assert (reaching.value, reaching.status) == (10, "PRESENT")
    assert verdicts(reaching) == [(None, 'null, and nulls="last_valid" reaches back'), (10, "won")]


@pytest.mark.parametrize(
    ("label", "status"),
    [({"card": 1}, "OUTSIDE_TTL"), ({"card": 2}, "NOT_FOUND"), ({"card": None}, "NOT_FOUND")],
)
def test_no_answer_has_a_reason(store: ml.Store, label: dict[str, Any], status: str) -> None:
    fill(store, KNOWN, fact(1, 10))

    told = store.explain({**label, "event_timestamp": instant(100 * SECOND)}, "known:amount")

    assert (told.value, told.status) == (None, status)
    assert len(told.rows) == (status == "OUTSIDE_TTL")


def test_a_label_without_a_time_has_no_answer(store: ml.Store) -> None:
    # As in a training set: a label with a null time gets nulls.
    fill(store, KNOWN, fact(1, 10))

    told = store.explain({"card": 1, "event_timestamp": None}, "known:amount")

    assert (told.value, told.status) == (None, "NOT_FOUND")


def test_known_at_the_label_is_the_labels_time(store: ml.Store) -> None:
    fill(store, KNOWN, fact(1, 10, created=1), fact(2, 20, created=5))

    assert explain(store, KNOWN, 4, known_at="label").value == 10
    assert explain(store, KNOWN, 5, known_at="label").value == 20


def test_keys_of_several_columns_and_of_none_are_explained(store: ml.Store) -> None:
    fill(store, PAIRED, Fact(("a", 1), SECOND, {"amount": 10}))
    fill(store, COMMON, Fact((), SECOND, {"amount": 20}, created=0))
    time = instant(2 * SECOND)

    assert store.explain({"carrier": "a", "stop": 1, "event_timestamp": time}, "paired:amount").value == 10
    assert store.explain({"event_timestamp": time}, "common:amount").value == 20


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("world", [KNOWN, STRICT, REACHING], ids=lambda world: world.name)
def test_an_explanation_gives_the_answer_of_the_training_set(store: ml.Store, world: World) -> None:
    amounts = [3, None, 7, 1, None, 4, 9, 2]
    fill(store, world, *(fact(n * 7 % 16, amounts[n % 8], created=n % 5) for n in range(30)))
    store.delete(world.name, start=instant(4 * SECOND), end=instant(6 * SECOND))

    for second in range(-1, 30):
        for known in (None, "label", instant(2 * SECOND)):
            labels = label_table(world, [((1,), second * SECOND)])
            row = store.training_set(labels, [f"{world.name}:amount"], known_at=known, status=True).to_pylist()[0]

            told = explain(store, world, second, known_at=known)

            assert told.value == row["amount"]
            assert told.status == row[f"{world.name}__status"]
            has_winner = told.status == "PRESENT" or (told.status == "NULL_VALUE" and not world.last_valid)
            assert [verdict for _, verdict in verdicts(told)].count("won") == has_winner
            assert len(told.rows) == 30


@pytest.mark.parametrize(
    ("label", "feature", "error"),
    [
        ({"card": 1, "event_timestamp": "2024-01-01"}, "plain", ml.UsageError),
        ({"card": 1, "event_timestamp": "2024-01-01"}, "plain:amout", ml.UnknownNameError),
        ({"event_timestamp": "2024-01-01"}, "plain:amount", ml.SchemaMismatchError),
        ({"card": 1}, "plain:amount", ml.SchemaMismatchError),
        ({"card": 1, "event_timestamp": "noon"}, "plain:amount", ml.InvalidDataError),
    ],
)
def test_what_cannot_be_explained_is_refused(store: ml.Store, label: dict[str, Any], feature: str, error: Any) -> None:
    fill(store, PLAIN, fact(1, 10))

    with pytest.raises(error) as caught:
        store.explain(label, feature)

    assert caught.value.hint


def test_an_explanation_can_be_read(store: ml.Store) -> None:
    fill(store, PLAIN, fact(1, 10), fact(2, 20))

    lines = str(explain(store, PLAIN, 3)).splitlines()

    assert lines[0] == "plain@1:amount of {'card': 1} at 1970-01-01 00:00:03+00:00 is 20 (PRESENT)"
    assert len(lines) == 3
    assert lines[1].endswith("won")
    assert "no row of this key" in str(store.explain({"card": 9, "event_timestamp": instant(0)}, "plain:amount"))

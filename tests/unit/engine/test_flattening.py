"""Lines left behind by rollbacks and fast-forwards: what is seen of them is taken over, and reading looks at no more lines than it must."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mlstore as ml
from mlstore.engine import limits
from tests.support.worlds import shrink_limits
from tests.unit.engine.test_branches import USER, held, online, rows, spend


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ml.Store]:
    with ml.open(tmp_path / "store.mls", durability="normal") as opened:
        opened.apply(USER, spend())
        opened.write("spend", rows({1: 10, 2: 20, 3: 30}))
        yield opened
        assert not opened.verify().problems


def layers(store: ml.Store) -> int:
    """How many lines a read looks at."""
    with store._session.reading() as context:
        return len(list(context.scope.layers()))


def go_back_once(store: ml.Store, turn: int) -> None:
    kept = store.write("spend", rows({1: turn}, at=f"2026-02-{turn:02}"))
    store.write("spend", rows({1: -turn, 2: -turn}, at=f"2026-02-{turn:02}"))
    store.rollback(kept)


def fast_forward_once(store: ml.Store, turn: int) -> None:
    branch = store.branch(f"b{turn}")
    branch.write("spend", rows({1: turn}, at=f"2026-02-{turn:02}"))
    store.merge(f"b{turn}")
    store.delete_branch(f"b{turn}")


@pytest.fixture(params=[go_back_once, fast_forward_once], ids=["rollbacks", "fast-forwards"])
def move(request: pytest.FixtureRequest) -> Callable[[ml.Store, int], None]:
    way: Callable[[ml.Store, int], None] = request.param
    return way


def test_reading_looks_at_a_bounded_number_of_lines_however_often_the_branch_moved(
    store: ml.Store, move: Callable[[ml.Store, int], None]
) -> None:
    """Each move left a line behind, and every read looked at all of them."""
    for turn in range(1, 25):
        move(store, turn)
        assert layers(store) <= limits.MAX_LAYERS

    assert online(store) == [24, 20, 30, None]
    assert held(store) == sorted([(1, 10), (2, 20), (3, 30), *((1, turn) for turn in range(1, 25))])


def test_optimize_leaves_one_line_to_look_at(store: ml.Store, move: Callable[[ml.Store, int], None]) -> None:
    for turn in range(1, 6):
        move(store, turn)
    assert layers(store) > 1
    before = held(store)

    store.optimize()

    assert layers(store) == 1
    assert held(store) == before
    assert online(store) == [5, 20, 30, None]


def test_every_version_shows_what_it_showed(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_limits(monkeypatch)
    told = {}
    for turn in range(1, 12):
        go_back_once(store, turn)
        commit = store.delete("spend", keys={"user_id": 1 + turn % 3}) if turn % 2 else store.history()[0]
        told[commit.id] = held(store), online(store)
    store.optimize()

    assert {commit: (held(store.at(commit)), online(store.at(commit))) for commit in told} == told
    assert [commit.id for commit in store.history() if commit.id in told] == list(reversed(told))
    assert len(store.history(table="spend", key={"user_id": 1})) == len({*store.history(table="spend", key={"user_id": 1})})


def test_what_was_deleted_before_and_after_stays_deleted(store: ml.Store) -> None:
    first = store.write("spend", rows({1: 11, 2: 21, 3: 31}, at="2026-02-01"))
    store.write("spend", rows({4: 40}))
    store.rollback(first)
    store.delete("spend", keys={"user_id": 2})
    gone = store.history()[0]
    store.write("spend", rows({4: 41}))
    store.rollback(gone)
    store.delete("spend", keys={"user_id": 3}, end="2026-01-15")
    before = held(store), online(store)

    store.optimize()

    assert layers(store) == 1
    assert (held(store), online(store)) == before == ([(1, 10), (1, 11), (3, 31)], [11, None, 31, None])


def test_what_was_deleted_after_the_version_gone_back_to_is_there(store: ml.Store) -> None:
    kept = store.write("spend", rows({1: 11}, at="2026-02-01"))
    store.delete("spend", keys={"user_id": [1, 2]})
    store.rollback(kept)
    store.write("spend", rows({4: 40}))

    store.optimize()

    assert layers(store) == 1
    assert (held(store), online(store)) == ([(1, 10), (1, 11), (2, 20), (3, 30), (4, 40)], [11, 20, 30, 40])


def test_branches_made_before_see_what_they_saw(store: ml.Store) -> None:
    for turn in range(1, 4):
        go_back_once(store, turn)
    store.write("spend", rows({3: 31}, at="2026-03-01"))
    trial = store.branch("trial")
    trial.write("spend", rows({4: 40}))
    store.write("spend", rows({3: 32}, at="2026-03-02"))
    before = held(trial), online(trial)

    store.optimize()

    assert (held(trial), online(trial)) == before
    assert layers(trial) == 2
    assert not store.diff("main", "trial").definitions
    assert store.diff("main", "trial").summary() == {"spend": {"added": 1, "removed": 1, "changed": 0}}


def test_a_line_that_a_branch_stands_on_is_shared_as_before(store: ml.Store) -> None:
    trial = store.branch("trial")
    trial.write("spend", rows({4: 40}))

    trial.optimize()

    assert layers(trial) == 2


def test_a_large_line_is_left_where_it_is(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlstore.engine.limits.TAKEN_ROWS", 4)
    for turn in range(1, 4):
        go_back_once(store, turn)

    store.optimize()

    assert layers(store) == 2
    assert online(store) == [3, 20, 30, None]


def test_definitions_of_lines_taken_over_are_known(store: ml.Store) -> None:
    store.apply(spend(schema={"amount": ml.int64, "note": ml.string, "rain": ml.float64}))
    kept = store.write("spend", rows({1: 11}, at="2026-02-01", rain=[0.5]))
    store.write("spend", rows({1: 12}, at="2026-02-02", rain=[0.75]))
    store.rollback(kept)

    store.optimize()

    assert store.online_features(["spend:rain"], {"user_id": 1})["rain"] == 0.5
    store.apply(spend(schema={"amount": ml.int64, "note": ml.string, "rain": ml.float64, "city": ml.string}))
    store.write("spend", rows({2: 21}, at="2026-02-03", rain=[None], city=["Oslo"]))
    assert store.online_features(["spend:rain", "spend:city"], {"user_id": [1, 2]}).to_pydict()["rain"] == [0.5, None]


def test_a_merge_after_it_brings_only_what_is_new(store: ml.Store) -> None:
    go_back_once(store, 1)
    trial = store.branch("trial")
    trial.write("spend", rows({4: 40}))
    go_back_once(store, 2)
    go_back_once(store, 3)
    store.optimize()

    store.merge("trial")

    assert held(store) == [(1, 1), (1, 2), (1, 3), (1, 10), (2, 20), (3, 30), (4, 40)]
    assert store.history()[0].changes[0].rows == 1


def test_keys_are_forgotten_on_lines_taken_over_and_on_those_that_were(store: ml.Store) -> None:
    for turn in range(1, 4):
        go_back_once(store, turn)
    commit = store.history()[0]
    store.optimize()

    store.forget(USER, {"user_id": [1]})

    assert [user for user, _ in held(store)] == [2, 3]
    assert [user for user, _ in held(store.at(commit))] == [2, 3]


def test_old_versions_are_let_go_after_it(store: ml.Store) -> None:
    for turn in range(1, 12):
        go_back_once(store, turn)
    store.optimize()
    before = held(store)

    store.retain(last=1)
    store.compact()

    assert held(store) == before

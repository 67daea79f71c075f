"""Upkeep: what is merged with what, how much of it at a time, and that no answer changes by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlstore as ml
from mlstore.engine import limits
from mlstore.engine.history.block import Block, Content
from mlstore.engine.history.extents import EXTENTS
from mlstore.engine.versions import LIVE
from mlstore.engine.writing import upkeep
from mlstore.format.keys import Keys
from mlstore.format.keyvector import decode_int
from mlstore.format.manifest import SegmentEntry, TableState
from tests.support.data import fact_table, label_table
from tests.support.model import Fact
from tests.support.worlds import PLAIN, SECOND


def entry(run: int, level: int = 0, *, rows: int = 10, start_row: int = 0, segment: int = 0) -> SegmentEntry:
    clocks = dict.fromkeys(("min_time", "max_time", "min_created", "max_created", "min_seq", "max_seq", "created", "seq"), 0)
    places = dict.fromkeys(("extents", "size_bytes", "header_offset", "header_size", "header_checksum", "place"), 0)
    return SegmentEntry(
        segment=segment, run=run, level=level, revision=1, tier="hot", rows=rows, start_row=start_row,
        min_key=b"", max_key=b"", **clocks, **places,
    )  # fmt: skip


def numbers(first: int) -> Callable[[], int]:
    return count(first).__next__


# ---------------------------------------------------------------- plans


@pytest.fixture
def fanout_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FANOUT", 3)


@pytest.mark.usefixtures("fanout_of_three")
@pytest.mark.parametrize(
    ("runs", "merges"),
    [
        ([(1, 0), (2, 0)], ()),
        ([(1, 0), (2, 0), (3, 0)], ((0, 50, (1, 2, 3)),)),
        ([(4, 0), (3, 0), (2, 0), (1, 0)], ((0, 50, (1, 2, 3)),)),
        ([(1, 0), (1, 0), (1, 0)], ()),
        ([(1, 0), (2, 1), (3, 0), (4, 1)], ()),
        ([(1, 1), (2, 1), (3, 1), (4, 0), (5, 0), (6, 0)], ((0, 50, (4, 5, 6)), (1, 51, (1, 2, 3)))),
        ([], ()),
    ],
)
def test_a_level_is_merged_once_it_has_enough_runs(runs: list[tuple[int, int]], merges: tuple[Any, ...]) -> None:
    planned = upkeep.plan_merges(TableState(), [entry(*run) for run in runs], numbers(50))

    assert planned == TableState(merges=merges)


@pytest.mark.usefixtures("fanout_of_three")
def test_runs_that_a_merge_takes_or_makes_are_left_to_it() -> None:
    state = TableState(merges=((0, 40, (1, 2, 3)),))
    entries = [entry(2), entry(3), entry(40, 1), entry(4), entry(5), entry(41, 1), entry(42, 1)]

    assert upkeep.plan_merges(state, entries, numbers(50)) == state


@pytest.mark.usefixtures("fanout_of_three")
def test_a_second_merge_of_a_level_joins_the_first() -> None:
    state = TableState(merges=((0, 40, (1, 2, 3)),))

    planned = upkeep.plan_merges(state, [entry(run) for run in (3, 4, 5, 6)], numbers(50))

    assert planned.merges == ((0, 40, (1, 2, 3)), (0, 50, (4, 5, 6)))


def test_no_number_is_taken_for_a_merge_that_is_not_planned() -> None:
    def refuse() -> int:
        raise AssertionError("took a number")

    assert upkeep.plan_merges(TableState(), [entry(1)], refuse) == TableState()
    assert upkeep.plan_full_merge(TableState(), [entry(1), entry(1)], refuse) == TableState()
    assert upkeep.plan_full_merge(TableState(), [], refuse) == TableState()


def test_a_full_merge_takes_all_runs_and_stands_one_level_above_the_highest() -> None:
    planned = upkeep.plan_full_merge(TableState(), [entry(7, 2, rows=99), entry(3, rows=9), entry(5, 1)], numbers(50))

    assert planned.merges == ((2, 50, (3, 5, 7)),)


@pytest.mark.usefixtures("fanout_of_three")
def test_a_full_merge_of_many_runs_begins_with_those_that_have_the_fewest_rows_left() -> None:
    entries = [entry(run, rows=100 * run) for run in range(1, 9)] + [entry(9, rows=900, start_row=899)]

    planned = upkeep.plan_full_merge(TableState(), entries, numbers(50))

    assert planned.merges == ((0, 50, (1, 2, 3, 4, 5, 9)),)


@pytest.mark.usefixtures("fanout_of_three")
@pytest.mark.parametrize("plan", [upkeep.plan_merges, upkeep.plan_full_merge])
def test_a_number_that_a_run_has_already_is_damage(plan: Any) -> None:
    with pytest.raises(ml.CorruptionError, match="run 2 is there already"):
        plan(TableState(), [entry(1), entry(2), entry(3)], numbers(2))


def test_a_merge_under_way_comes_before_a_full_one() -> None:
    state = TableState(merges=((0, 40, (1, 2)),))

    assert upkeep.plan_full_merge(state, [entry(1), entry(2), entry(3)], numbers(50)) == state


# ---------------------------------------------------------------- takes

Place = tuple[int, int]  # key, time


def block(places: Sequence[Place], start: int = 0) -> Block:
    content = Content()
    keys = sorted({key for key, _ in places})
    content.keys = Keys(ints=np.array(keys, np.int64))
    content.offsets = np.append(0, np.cumsum([sum(key == place[0] for place in places) for key in keys])).astype(np.int64)
    content.time = np.array([time for _, time in places], np.int64)
    relation: Any = None
    return Block(relation, content, bound=LIVE, deletes=None, start=start)


runs_of_places = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=12).map(sorted)


@given(st.lists(st.tuples(runs_of_places, st.integers(0, 11), st.booleans()), min_size=1, max_size=4), st.integers(1, 12))
def test_a_step_takes_everything_up_to_one_place_and_about_a_segments_worth(inputs: list[tuple[Any, int, bool]], quota: int) -> None:
    inputs = [(places, min(start, len(places) - 1), more) for places, start, more in inputs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "SEGMENT_ROWS", quota * len(inputs))

        cut = upkeep.plan_cut([block(places, start) for places, start, _ in inputs], [more for _, _, more in inputs])

    last = None if cut is None else (decode_int(cut[0]), cut[1])
    stops = [max(start, sum(last is None or place <= last for place in places)) for places, start, _ in inputs]
    taken, left, total = [], [], 0
    for (places, start, more), stop in zip(inputs, stops, strict=True):
        assert start <= stop <= len(places)
        taken += places[start:stop]
        left += places[stop:]
        left += places[-1:] if more else []  # the segments that follow begin here at the earliest
        ties = places.count(places[stop - 1]) if stop > start else 0
        assert stop - start <= quota + ties
        total += stop - start
    assert total > 0
    assert not left or max(taken) <= min(left)


# ---------------------------------------------------------------- a store at work


def facts_of(batch: int, *, rows: int = 3, keys: int = 3) -> list[Fact]:
    """Rows with times of their own, some of them late."""
    numbered = range(batch * rows, batch * rows + rows)
    return [Fact((number % keys,), (number * 37 % 101) * SECOND + number, {"amount": number}) for number in numbered]


def apply_plain(store: ml.Store) -> None:
    store.apply(*PLAIN.definitions())


def stored_segments(store: ml.Store) -> set[int]:
    with store._session.environment.reader() as reader:
        return {int.from_bytes(key[:8], "big") for key, _ in reader.scan(EXTENTS, keys_only=True) if not any(key[8:])}


def trash(store: ml.Store) -> set[int]:
    with store._session.environment.reader() as reader:
        return {int.from_bytes(key, "big") for key, _ in reader.scan(upkeep.TRASH)}


def named_segments(store: ml.Store) -> set[int]:
    with store._session.reading() as context:
        return {found.segment for relation in context.catalog.relations() for found, _ in context.history(relation).entries()}


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("rows", [2, 4, 13])
def test_answers_stay_while_tails_are_sealed_and_runs_are_merged(store: ml.Store, rows: int) -> None:
    apply_plain(store)
    model = PLAIN.model()
    labels = [((key,), 60 * SECOND) for key in range(4)]
    for batch in range(30):
        facts = facts_of(batch, rows=rows)
        commit = store.write("plain", fact_table(PLAIN, facts))
        model.append(facts, commit_time=int(commit.time.timestamp() * SECOND))

        found = store.training_set(label_table(PLAIN, labels), ["plain:amount"])["amount"].to_pylist()
        assert found == [model.as_of(*label).values["amount"] for label in labels]
        held = store.read("plain", columns=["card", "amount"]).to_pylist()
        assert sorted((row["card"], row["amount"]) for row in held) == sorted((fact.key[0], fact.values["amount"]) for fact in model.rows)
    assert store.info()["tables"][0]["runs"] > 1
    store.verify()


def levels(store: ml.Store) -> int:
    """How many levels the runs of the only table stand on, the one above them included."""
    with store._session.reading() as context:
        return 2 + max(
            (found.level for relation in context.catalog.relations() for found, _ in context.history(relation).entries()), default=0
        )


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("rows", [1, 4, 7, 30])
def test_the_work_of_one_write_is_bounded_by_what_it_wrote(store: ml.Store, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    apply_plain(store)
    merge_once, steps = upkeep.merge_once, list[int]()

    def recorded(*args: Any, **options: Any) -> int:
        steps.append(merge_once(*args, **options))
        return steps[-1]

    monkeypatch.setattr(upkeep, "merge_once", recorded)
    written = moved = 0
    for batch in range(60 // rows + 20):
        steps.clear()
        store.write("plain", fact_table(PLAIN, facts_of(batch, rows=rows)))

        written, moved = written + rows, moved + sum(steps)
        assert sum(steps) <= levels(store) * (max(rows, limits.TAIL_ROWS + rows, limits.SEGMENT_ROWS) + limits.SEGMENT_ROWS)
    assert moved > 0
    assert store.read("plain").num_rows == written


@pytest.mark.slow
@pytest.mark.parametrize("rows", [4, 64, 96])
def test_merging_keeps_up_with_writing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # A write as large as a segment pays for its merges on every level, not on one: else the runs grow with the number of writes.
    for name, size in {"TAIL_ROWS": 16, "DIRECT_ROWS": 8, "SEGMENT_ROWS": 64, "FANOUT": 4}.items():
        monkeypatch.setattr(limits, name, size)
    with ml.open(":memory:") as store:
        apply_plain(store)

        for batch in range(120):
            store.write("plain", fact_table(PLAIN, facts_of(batch, rows=rows)))

        assert store.info()["tables"][0]["runs"] <= limits.FANOUT * levels(store)


@pytest.mark.usefixtures("small_limits")
def test_segments_that_were_merged_away_leave_the_file(store: ml.Store) -> None:
    apply_plain(store)

    for batch in range(40):
        store.write("plain", fact_table(PLAIN, facts_of(batch)))

        assert stored_segments(store) == named_segments(store) | trash(store)
        assert not trash(store)


@pytest.mark.usefixtures("small_limits")
def test_a_segment_that_somebody_looks_at_waits_in_the_trash(store: ml.Store) -> None:
    apply_plain(store)
    store.write("plain", fact_table(PLAIN, facts_of(0, rows=6)))
    store.write("plain", fact_table(PLAIN, facts_of(1, rows=6)))
    rows = store.read("plain", columns=["amount"]).table()
    expected, looked_at = rows.to_pylist(), named_segments(store)

    store.optimize(tier="cold")

    assert trash(store) == looked_at
    assert looked_at <= stored_segments(store)
    assert not looked_at & named_segments(store)
    assert rows.to_pylist() == expected

    del rows
    store.optimize()
    assert not trash(store)
    assert stored_segments(store) == named_segments(store)


@pytest.mark.usefixtures("small_limits")
def test_optimize_tells_how_many_segments_it_freed(store: ml.Store) -> None:
    apply_plain(store)
    store.write("plain", fact_table(PLAIN, facts_of(0, rows=20)))
    before = named_segments(store)

    told = store.optimize(tier="cold")

    assert not before & stored_segments(store)
    assert told["segments_freed"] >= len(before)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("tier", [None, "cold", "hot"])
def test_optimize_leaves_one_run_in_the_tier_asked_for(store: ml.Store, tier: Any) -> None:
    apply_plain(store)
    for batch in range(7):
        store.write("plain", fact_table(PLAIN, facts_of(batch, rows=4)))
    before = store.read("plain").table().sort_by("amount")

    told = store.optimize(tier=tier)

    table = store.info()["tables"][0]
    assert (table["runs"], table["tail_rows"]) == (1, 0)
    assert table["tiers"] == {tier or "hot": table["segments"]}
    assert told["rows_sealed"] > 0
    assert store.read("plain").table().sort_by("amount").equals(before)
    store.verify()


@pytest.mark.usefixtures("small_limits")
def test_moving_to_the_cold_tier_and_back_changes_no_answer(store: ml.Store) -> None:
    apply_plain(store)
    for batch in range(5):
        store.write("plain", fact_table(PLAIN, facts_of(batch, rows=9)))
    before = store.read("plain").table().sort_by("amount")

    for tier in ("cold", "hot", "cold"):
        store.optimize(tier=tier)

        assert store.read("plain").table().sort_by("amount").equals(before)
        store.verify()


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("tier", [None, "cold", "hot"])
def test_a_dry_run_tells_what_optimize_then_does(store: ml.Store, tier: Any) -> None:
    apply_plain(store)
    for batch in range(7):
        store.write("plain", fact_table(PLAIN, facts_of(batch, rows=4)))
    before = store.info()["tables"]

    (told,) = store.optimize(tier=tier, dry_run=True).to_pylist()

    assert store.info()["tables"] == before
    done = store.optimize(tier=tier)
    assert (told["tail_rows"], told["rows_to_move"], told["rows_to_expire"]) == (done["rows_sealed"], done["rows_moved"], 0)
    assert (told["runs"], told["segments"]) == (before[0]["runs"], before[0]["segments"])
    assert store.optimize(tier=tier, dry_run=True)["rows_to_move"].to_pylist() == [0]
    assert store.optimize(tier="cold", dry_run=True)["rows_to_move"].to_pylist() == [0 if tier == "cold" else 28]


def test_a_dry_run_tells_of_rows_beyond_the_retention(store: ml.Store) -> None:
    store.apply(ml.Table("log", schema={"n": ml.int64}, timestamp="at", retention="1d"))
    store.write("log", {"n": [1, 2, 3], "at": ["2020-01-01", "2020-01-02", "2999-01-01"]})

    (told,) = store.optimize(dry_run=True).to_pylist()

    assert told["rows_to_expire"] == store.optimize()["rows_expired"] == 2


@pytest.mark.usefixtures("small_limits")
def test_optimize_of_an_optimized_store_does_nothing(store: ml.Store) -> None:
    apply_plain(store)
    store.write("plain", fact_table(PLAIN, facts_of(0, rows=20)))
    store.optimize()
    before = named_segments(store)

    told = store.optimize()

    assert not any(told.values())
    assert named_segments(store) == before


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("rows", [2, 8], ids=["in the tail", "in segments"])
def test_versions_before_a_delete_see_the_rows_whatever_was_merged_since(store: ml.Store, rows: int) -> None:
    apply_plain(store)
    store.write("plain", fact_table(PLAIN, facts_of(0, rows=rows)))
    store.snapshot("before")
    store.delete("plain", keys={"card": 1})
    for batch in range(1, 12):
        store.write("plain", fact_table(PLAIN, facts_of(batch, rows=rows, keys=1)))
    store.optimize()

    old = store.at("before").read("plain", columns=["card", "amount"]).to_pylist()

    assert sorted(row["amount"] for row in old) == list(range(rows))
    assert 1 not in store.read("plain")["card"].to_pylist()
    store.verify()


@pytest.mark.parametrize(
    ("step", "stand_in"),
    [("plan_cut", lambda blocks, has_more: (b"", 0)), ("merge_keys", lambda keys: keys[0].slice(0, 3))],
    ids=["nothing to take", "keys that are not found"],
)
def test_a_merge_of_rows_that_are_not_in_order_calls_the_file_damaged(
    store: ml.Store, monkeypatch: pytest.MonkeyPatch, step: str, stand_in: Callable[..., Any]
):
    # Damaged and forged segments ended optimize() with an IndexError, or an error of the kernel that sorts.
    monkeypatch.setattr(limits, "DIRECT_ROWS", 2)
    store.apply(*PLAIN.definitions())
    for number in range(2):
        facts = [Fact((card,), (number + card) * SECOND, {"amount": card, "note": ""}) for card in range(4)]
        store.write("plain", fact_table(PLAIN, facts))
    monkeypatch.setattr(upkeep, step, stand_in)

    with pytest.raises(ml.CorruptionError, match="not in order"):
        store.optimize()

    monkeypatch.undo()
    assert store.read("plain").num_rows == 8
    store.verify()

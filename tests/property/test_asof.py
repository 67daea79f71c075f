"""The as-of kernels agree with loops over lists, for every combination of switches, and however the facts lie in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlstore._core.asof import find_ranges, match_backward, match_next
from tests.support.naive_asof import NULL_TIME, Fact, Question, naive_match, naive_next, naive_range

LIVE = 2**63 - 1
KEYS = range(4)  # the last one has questions and no facts
EMPTY = np.empty(0, np.int64)

# Few values make ties and exact bounds; the extremes make overflows.
times = st.one_of(st.integers(-3, 4), st.integers(-3, 4), st.sampled_from([NULL_TIME + 1, -(2**62), 2**62, LIVE]))
created_times = st.one_of(st.integers(-2, 3), st.just(NULL_TIME))


@dataclass(frozen=True, slots=True)
class Task:
    """Questions and facts. A constant clock may be given to the kernel as one number instead of a column."""

    questions: list[Question]
    facts: list[Fact]
    last_seq: int
    is_created_constant: bool
    is_seq_constant: bool
    is_hidden_given: bool


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    has_oldest, has_known, same_created, same_seq, has_hidden = (draw(st.booleans()) for _ in range(5))
    oldest = times if has_oldest else st.none()
    known = created_times if has_known else st.none()
    created = st.just(draw(created_times)) if same_created else created_times
    seq = st.just(draw(st.integers(1, 5))) if same_seq else st.integers(1, 5)
    hidden = st.booleans() if has_hidden else st.just(value=False)
    questions = draw(st.lists(st.builds(Question, st.sampled_from(KEYS), times, oldest, known), max_size=8))
    in_time = draw(st.booleans())
    facts = draw(st.lists(st.builds(Fact, st.sampled_from(KEYS[:-1]), times, created, seq, hidden), max_size=20))
    last_seq = draw(st.sampled_from([LIVE, LIVE, 0, 3]))
    return Task(grouped(questions, in_time=in_time), in_order(facts), last_seq, same_created, same_seq, has_hidden)


def in_order(facts: Sequence[Fact]) -> list[Fact]:
    """By (key, time, created, seq); equals as they are."""
    return sorted(facts, key=lambda fact: (fact.key, fact.time, fact.created, fact.seq))


def grouped(questions: Sequence[Question], *, in_time: bool) -> list[Question]:
    """By key; within a key in the order of time, or as they come."""
    return sorted(questions, key=lambda question: (question.key, question.latest if in_time else 0))


def column(values: Sequence[int | None]) -> np.ndarray[Any, Any]:
    """A column, or the empty one that means no bound."""
    return EMPTY if not values or values[0] is None else np.array(values, np.int64)


def offsets_of(rows: Sequence[Fact] | Sequence[Question], keys: Sequence[int]) -> np.ndarray[Any, Any]:
    return np.cumsum([0, *(sum(row.key == key for row in rows) for key in keys)], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Best:
    """The INOUT arrays of the kernel."""

    time: np.ndarray[Any, Any]
    created: np.ndarray[Any, Any]
    seq: np.ndarray[Any, Any]
    source: np.ndarray[Any, Any]
    row: np.ndarray[Any, Any]

    @classmethod
    def none_yet(cls, asks: int) -> Best:
        return cls(*(np.full(asks, 77, np.int64) for _ in range(3)), np.full(asks, -1, np.int32), np.full(asks, 77, np.uint32))


def search_block(task: Task, facts: Sequence[Fact], source: int, best: Best) -> None:
    """Hand one block to the kernel, as the engine would."""
    asked = sorted({question.key for question in task.questions})
    held = sorted({fact.key for fact in facts})
    match_backward(
        offsets_of(task.questions, asked),
        column([question.latest for question in task.questions]),
        column([question.oldest for question in task.questions]),
        column([question.known for question in task.questions]),
        np.array([held.index(key) if key in held else -1 for key in asked], np.int64),
        offsets_of(facts, held),
        column([fact.time for fact in facts]),
        min((fact.time for fact in facts), default=0),
        max((fact.time for fact in facts), default=0),
        EMPTY if task.is_created_constant else column([fact.created for fact in facts]),
        facts[0].created if facts else 0,
        EMPTY if task.is_seq_constant else column([fact.seq for fact in facts]),
        facts[0].seq if facts else 0,
        np.array([fact.is_hidden for fact in facts], np.uint8) if task.is_hidden_given else np.empty(0, np.uint8),
        task.last_seq,
        source,
        best.time,
        best.created,
        best.seq,
        best.source,
        best.row,
    )


def assert_blocks_answer(task: Task, blocks: Sequence[Sequence[int]]) -> None:
    """blocks: the places in task.facts of each block's facts, ascending."""
    best = Best.none_yet(len(task.questions))

    for source, places in enumerate(blocks):
        search_block(task, [task.facts[place] for place in places], source, best)

    for ask, question in enumerate(task.questions):
        expected = naive_match(question, task.facts, last_seq=task.last_seq)
        if expected is None:
            assert best.source[ask] == -1
            continue
        place = blocks[best.source[ask]][best.row[ask]]
        assert (best.time[ask], best.created[ask], best.seq[ask], place) == expected


@given(tasks())
def test_the_kernel_finds_what_a_loop_finds(task: Task) -> None:
    assert_blocks_answer(task, [range(len(task.facts))])


def runs_of_equals(facts: Sequence[Fact]) -> list[list[int]]:
    """Places of the facts that are equal in key and all clocks."""
    places = sorted(range(len(facts)), key=lambda place: (facts[place].key, facts[place].time, facts[place].created, facts[place].seq))
    found = groupby(places, key=lambda place: replace(facts[place], is_hidden=False))
    return [list(run) for _, run in found]


@given(tasks(), st.data())
def test_the_answers_are_the_same_however_the_facts_lie_in_blocks(task: Task, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    blocks: list[list[int]] = [[] for _ in range(count)]
    for run in runs_of_equals(task.facts):
        # Equals are of one run: its blocks hold them in the order of writing.
        homes = sorted(data.draw(st.lists(st.integers(0, count - 1), min_size=len(run), max_size=len(run))))
        for place, home in zip(run, homes, strict=True):
            blocks[home].append(place)

    assert_blocks_answer(task, [sorted(places) for places in blocks])


@given(tasks(), st.randoms(use_true_random=False))
def test_blocks_without_equal_facts_may_come_in_any_order(task: Task, random: Any) -> None:
    distinct = [run[-1] for run in runs_of_equals(task.facts)]
    facts = [task.facts[place] for place in distinct]
    blocks: list[list[int]] = [[] for _ in range(3)]
    for place in range(len(facts)):
        random.choice(blocks).append(place)

    assert_blocks_answer(replace(task, facts=facts), blocks)


@given(tasks())
def test_a_winner_already_found_stays_unless_it_is_beaten(task: Task) -> None:
    best = Best.none_yet(len(task.questions))
    search_block(task, task.facts, 0, best)
    before = [array.copy() for array in (best.time, best.created, best.seq, best.source, best.row)]

    search_block(task, [], 1, best)

    assert all(np.array_equal(*pair) for pair in zip(before, (best.time, best.created, best.seq, best.source, best.row), strict=True))


def test_a_fact_at_the_time_of_the_winner_beats_it_by_its_other_clocks_though_its_block_ends_there() -> None:
    task = Task([Question(0, 5, None, None)], [Fact(0, 5, 1, 1, False), Fact(0, 5, 2, 1, False)], LIVE, False, False, False)

    assert_blocks_answer(task, [[0], [1]])


@given(tasks())
def test_the_next_fact_is_the_one_a_loop_finds(task: Task) -> None:
    asked = sorted({question.key for question in task.questions})
    held = sorted({fact.key for fact in task.facts})
    next_time = np.full(len(task.questions), LIVE, np.int64)

    match_next(
        offsets_of(task.questions, asked),
        column([question.latest for question in task.questions]),
        np.array([held.index(key) if key in held else -1 for key in asked], np.int64),
        offsets_of(task.facts, held),
        column([fact.time for fact in task.facts]),
        EMPTY if task.is_seq_constant else column([fact.seq for fact in task.facts]),
        task.facts[0].seq if task.facts else 0,
        np.array([fact.is_hidden for fact in task.facts], np.uint8) if task.is_hidden_given else np.empty(0, np.uint8),
        task.last_seq,
        next_time,
    )

    assert next_time.tolist() == [naive_next(question, task.facts, last_seq=task.last_seq, never=LIVE) for question in task.questions]


@pytest.mark.parametrize("in_time", [True, False], ids=["in time", "as they come"])
def test_a_key_of_many_rows_is_searched_as_one_of_few(in_time: bool) -> None:
    rng = np.random.default_rng(7)
    time = np.sort(rng.integers(0, 10_000, 5000))
    latest = rng.integers(-5, 10_005, 400)
    latest = np.sort(latest) if in_time else latest
    best = Best.none_yet(400)
    blocks = np.array([0, 400]), latest, EMPTY, EMPTY, np.array([0]), np.array([0, 5000]), time

    match_backward(
        *blocks, -5, 10_000, EMPTY, 0, EMPTY, 1, np.empty(0, np.uint8), LIVE, 0, best.time, best.created, best.seq, best.source, best.row
    )

    expected = np.searchsorted(time, latest, "right") - 1
    assert np.array_equal(np.where(best.source < 0, -1, best.row.astype(np.int64)), expected)


range_bounds = times | st.just(NULL_TIME)


@given(
    st.lists(st.builds(Fact, st.sampled_from(KEYS[:-1]), times, st.just(0), st.just(0)), max_size=20),
    st.lists(st.tuples(st.sampled_from(KEYS), range_bounds, range_bounds), max_size=8),
)
@example([Fact(0, LIVE, 0, 0)], [(0, LIVE, LIVE), (0, NULL_TIME, LIVE), (0, LIVE, NULL_TIME)])
@example([Fact(0, NULL_TIME + 1, 0, 0)], [(0, NULL_TIME, NULL_TIME), (0, NULL_TIME + 1, NULL_TIME + 1)])
@example([], [(0, 0, 1)])
def test_ranges_hold_what_a_loop_finds(facts: list[Fact], asks: list[tuple[int, int, int]]) -> None:
    facts = in_order(facts)
    held = sorted({fact.key for fact in facts})
    begin, end = np.full(len(asks), -9, np.int64), np.full(len(asks), -9, np.int64)

    find_ranges(
        np.array([held.index(key) if key in held else -1 for key, _, _ in asks], np.int64),
        np.array([first for _, first, _ in asks], np.int64),
        np.array([last for _, _, last in asks], np.int64),
        offsets_of(facts, held),
        np.array([fact.time for fact in facts], np.int64),
        begin,
        end,
    )

    found = [list(range(low, high)) for low, high in zip(begin.tolist(), end.tolist(), strict=True)]
    assert found == [naive_range(*ask, facts) for ask in asks]


# One question of one key, and one fact.
GOOD: dict[str, Any] = {
    "ask_offsets": np.array([0, 1]),
    "ask_latest": np.array([5]),
    "ask_oldest": EMPTY,
    "ask_known": EMPTY,
    "key_position": np.array([0]),
    "fact_offsets": np.array([0, 1]),
    "fact_time": np.array([3]),
    "first_time": 3,
    "last_time": 3,
    "fact_created": EMPTY,
    "same_created": 0,
    "fact_seq": EMPTY,
    "same_seq": 1,
    "hidden": np.empty(0, np.uint8),
    "last_seq": LIVE,
    "source": 0,
}
TWO = np.array([1, 2])


@pytest.mark.parametrize(
    "wrong",
    [
        {"ask_offsets": np.array([0, 2])},
        {"ask_offsets": np.array([0, 1, 1])},
        {"key_position": np.array([0, 0])},
        {"ask_oldest": TWO},
        {"ask_known": TWO},
        {"fact_offsets": np.array([0, 2])},
        {"fact_created": TWO},
        {"fact_seq": TWO},
        {"hidden": np.zeros(2, np.uint8)},
    ],
    ids=lambda wrong: ",".join(wrong),
)
def test_arrays_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    best = Best.none_yet(1)

    with pytest.raises(ValueError, match=r"fit|length"):
        match_backward(*(GOOD | wrong).values(), best.time, best.created, best.seq, best.source, best.row)

    assert best.source.tolist() == [-1]


@pytest.mark.parametrize("short", ["time", "created", "seq", "source", "row"])
def test_answers_of_the_wrong_length_are_refused(short: str) -> None:
    good = Best.none_yet(1)
    best = replace(good, **{short: getattr(good, short)[:0]})

    with pytest.raises(ValueError, match="answers do not fit"):
        match_backward(*GOOD.values(), best.time, best.created, best.seq, best.source, best.row)


@pytest.mark.parametrize("wrong", ["ask_position", "ask_first", "ask_last", "fact_offsets", "fact_time", "begin", "end"])
def test_ranges_of_arrays_that_do_not_fit_are_refused(wrong: str) -> None:
    arrays = {
        name: np.zeros(1, np.int64) for name in ("ask_position", "ask_first", "ask_last", "fact_offsets", "fact_time", "begin", "end")
    }
    arrays["fact_offsets"] = np.array([0, 1])
    arrays[wrong] = {"fact_offsets": np.array([0, 9]), "fact_time": EMPTY}.get(wrong, np.zeros(2, np.int64))

    with pytest.raises(ValueError, match=r"differ in length|does not fit"):
        find_ranges(*arrays.values())

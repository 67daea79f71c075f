"""Aggregates equal what plain Python works out event by event, bit for bit; and tiles, wherever they come from, change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlstore as ml
from mlstore._core.tiles import add_to_record, build_tiles, count_words, merge_records
from mlstore.engine.windows import aggregates
from mlstore.engine.windows.aggregates import aggregate
from mlstore.engine.windows.plan import is_of_rows
from tests.support import naive_windows
from tests.support.windows import (
    MERGING,
    NUMBERS,
    TILES,
    VALUES,
    IsAbove,
    Rows,
    bits,
    event_groups,
    moments_of,
    plan_of,
    raw_events,
    shown,
    windows,
)

FIRST, LAST = -(2**63), 2**63 - 1


def check(plan, groups, asked, known=()):
    """Every output at every moment is what the naive twin says."""
    answers = aggregate(plan, Rows.of(groups), moments_of(asked, known))

    flat = [(events, moment) for events, moments in zip(groups, asked, strict=True) for moment in moments]
    for output, column in zip(plan.outputs, answers, strict=True):
        bounds = known or [None] * len(flat)
        expected = [
            naive_windows.answer(output, events, moment, plan=plan, known=bound)
            for (events, moment), bound in zip(flat, bounds, strict=True)
        ]
        assert column.type == output.dtype.arrow
        assert [bits(value) for value in shown(column)] == [bits(value) for value in expected], output.name


@st.composite
def questions(draw: st.DrawFn, groups: int) -> list[list[int | None]]:
    moment = st.one_of(st.integers(-70, 70), st.integers(-70, 70), st.none())
    asked = [draw(st.lists(moment, max_size=6)) for _ in range(groups)]
    return [sorted(moments, key=lambda time: FIRST if time is None else time) for moments in asked]


@st.composite
def aggregations(draw: st.DrawFn) -> list[ml.Aggregation]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        window = draw(windows())
        name = f"out{number}_{{function}}"
        kind = draw(st.sampled_from(["merging", "merging", "order", "picks", "lists", "rows"]))
        column = draw(st.sampled_from(NUMBERS if kind == "merging" else sorted(VALUES)))
        match kind:
            case "merging":
                functions, options = draw(st.lists(st.sampled_from(MERGING), min_size=1, max_size=4, unique=True)), {}
            case "order":
                functions, options = ["min", "max", "count", "distinct"], {}
            case "picks":
                functions, options = ["first", "last"], {}
            case "lists":
                functions, options = ["first_n", "last_n", "last_distinct_n", "top_k"], {"n": 2, "k": 2}
            case _:
                column, functions, options = None, ["count"], {}
        found.append(ml.agg(column, functions, windows=[window], name=name, by=draw(st.sampled_from([None, None, "s", "h"])), **options))
    return found


@given(st.data())
def test_aggregates_equal_the_plain_loop(data):
    groups = data.draw(event_groups())
    plan = plan_of(
        data.draw(aggregations()),
        tiles=data.draw(st.sampled_from(TILES)),
        where=data.draw(st.sampled_from([None, None, IsAbove("h", 0)])),
        boundary=data.draw(st.sampled_from(["inclusive", "strict"])),
        offset=data.draw(st.sampled_from([None, "4us"])),
    )

    check(plan, groups, data.draw(questions(len(groups))))


@given(st.data())
def test_a_bound_of_what_was_known_leaves_the_canonical_order_of_the_known_events(data):
    groups = data.draw(event_groups())
    plan = plan_of(data.draw(aggregations()), tiles=data.draw(st.sampled_from(TILES)))
    asked = data.draw(questions(len(groups)))

    if data.draw(st.booleans()):
        in_turn(groups[0])
    if data.draw(st.booleans()):
        for events in groups:
            in_turn(events)

    check(plan, groups, asked, known=[data.draw(st.integers(0, 30)) for moments in asked for _ in moments])


def in_turn(events):
    """Make events known in their order."""
    for number, event in enumerate(events):
        event["created"] = number // 2


@pytest.mark.parametrize("is_known_late", [False, True])
@pytest.mark.parametrize("tiles", TILES)
def test_many_floats_in_few_tiles_are_added_in_the_canonical_order(tiles, is_known_late):
    random = np.random.default_rng(11)
    times = np.sort(random.integers(-80, 80, 250)).tolist()
    nothing = dict.fromkeys(VALUES) | {"u": 0}
    events = [
        nothing | {"time": time, "created": time + 9, "f": float(value)} for time, value in zip(times, random.normal(size=250), strict=True)
    ]
    plan = plan_of([ml.agg("f", ["sum", "std"], windows=["7us", "30us", "65us", "lifetime"])], tiles=tiles)
    moments = list(range(-70, 90, 3))

    check(plan, [events], [moments], known=moments if is_known_late else ())


@given(st.data())
def test_values_in_their_order_make_quantiles_histograms_and_decayed_sums(data):
    groups = data.draw(event_groups())
    column = data.draw(st.sampled_from(NUMBERS))
    found = [
        ml.agg(column, "quantile", windows=[data.draw(windows())], q=[0.0, 0.5, 0.9, 1.0]),
        ml.agg(column, "histogram", windows=[data.draw(windows())], bins=[-2, 0, 0.5, 3]),
        ml.agg(column, "decayed_sum", windows=[data.draw(windows())], half_life="5us"),
        ml.agg(column, "rate", windows=["7us"]),
    ]

    check(plan_of(found), groups, data.draw(questions(len(groups))))


@given(st.data())
def test_work_in_pieces_gives_the_same_as_work_in_one(data):
    groups = data.draw(event_groups(groups=6))
    plan = plan_of(data.draw(aggregations()), tiles=data.draw(st.sampled_from(TILES)))
    events, moments = Rows.of(groups), moments_of(data.draw(questions(len(groups))))
    whole = aggregate(plan, events, moments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregates, "PART_ROWS", 3)
        pieces = aggregate(plan, events, moments)

    assert [bits(shown(column)) for column in pieces] == [bits(shown(column)) for column in whole]


# ---------------------------------------------------------------- tiles


def words_of(measures: list[Any]) -> int:
    return sum(count_words(kind, mask) for kind, mask, _, _ in measures)


def last_of(start: int, width: int) -> int:
    """The last tick of a tile; one whose beginning lies before the least tick starts there."""
    return min(start // width * width + width - 1, LAST)


@given(raw_events(), st.sampled_from([[5], [2, 6], [3, 12, 24]]))
def test_a_tile_is_its_events_added_in_turn_and_one_above_its_children_merged(raw, widths):
    offsets, time, measures = raw
    widths = np.array(widths, np.int64)
    tile_offsets, starts, records = build_tiles(offsets, time, measures, widths)

    for key in range(len(offsets) - 1):
        for level, width in enumerate(widths.tolist()):
            for place in range(tile_offsets[level, key], tile_offsets[level, key + 1]):
                record = np.empty(words_of(measures), np.int64)
                merge_records(measures, np.empty((0, len(record)), np.int64), record)
                if level == 0:
                    rows = np.arange(offsets[key], offsets[key + 1])
                    for row in rows[(time[rows] >= starts[place]) & (time[rows] <= last_of(int(starts[place]), width))]:
                        add_to_record(upto(measures, int(row) + 1), int(row), int(row) + 1, record)
                else:
                    below = np.arange(tile_offsets[level - 1, key], tile_offsets[level - 1, key + 1])
                    last = last_of(int(starts[place]), width)
                    children = below[(starts[below] >= starts[place]) & (starts[below] <= last)]
                    merge_records(measures, records[children], record)
                assert record.tolist() == records[place].tolist()


def upto(measures, rows):
    return [(kind, mask, v[:rows] if v.size else v, c[:rows] if c.size else c) for kind, mask, v, c in measures]


# ---------------------------------------------------------------- against numpy


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from(TILES))
def test_floats_agree_with_numpy_closely(seed, tiles):
    random = np.random.default_rng(seed)
    rows = 400
    time = np.sort(random.integers(-200, 200, rows))
    values = random.normal(1e3, 10, rows)
    events = Rows(np.array([0, rows]), time, np.empty(0, np.int64), {"f": pa.array(values)})
    plan = plan_of([ml.agg("f", ["sum", "mean", "std", "skew", "kurtosis", "min", "max"], windows=["90us"])], tiles=tiles)
    moments = list(range(-90, 200, 17))

    answers = [np.asarray(column) for column in aggregate(plan, events, moments_of([moments]))]

    for place, moment in enumerate(moments):
        held = values[(time > moment - 90) & (time <= moment)]
        n, apart = len(held), held - held.mean()
        m2, m3, m4 = ((apart**power).sum() for power in (2, 3, 4))
        skew = n * np.sqrt(n - 1) / (n - 2) * m3 / m2**1.5
        kurtosis = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (n * m4 / m2**2 - 3) + 6)
        expected = [held.sum(), held.mean(), held.std(ddof=1), skew, kurtosis, held.min(), held.max()]
        assert np.allclose([column[place] for column in answers], expected, rtol=1e-9, atol=1e-9)


@given(windows(), st.one_of(st.integers(-70, 70), st.sampled_from([FIRST, FIRST + 1, FIRST + 9, LAST - 1, LAST])), st.booleans())
def test_an_interval_is_the_same_for_one_moment_and_many_and_never_leaves_the_clock(window, moment, is_strict):
    plan = plan_of([ml.agg("f", "sum", windows=[window])], offset="3us", tiles=["2us"], boundary="strict" if is_strict else "inclusive")

    low, high = plan.interval(plan.windows[0], np.array([moment, moment]))

    if not is_of_rows(plan.windows[0]):
        assert plan.spans(plan.windows).at(moment) == [(low[1], high[1])]
    if moment != FIRST:
        clock = {"tick_ns": plan.tick_ns, "offset": plan.offset, "is_strict": is_strict}
        first, last = naive_windows.interval(plan.windows[0], moment, **clock)
        assert (low[0], high[0]) == (FIRST if first is None else max(first, FIRST), max(last, FIRST))

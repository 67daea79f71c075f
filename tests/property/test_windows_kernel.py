"""Aggregates equal what plain Python works out event by event, bit for bit; and tiles, wherever they come from, change nothing."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import datetime
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mlstore as ml
from mlstore._core.tiles import ASKED, KINDS, add_to_record, build_tiles, count_words, merge_records
from mlstore._core.windows import find_events, fold, fold_stored
from mlstore.engine.windows import aggregates
from mlstore.engine.windows.aggregates import aggregate
from mlstore.engine.windows.kept import KeptTiles
from mlstore.engine.windows.single import SinglePlan, is_single
from tests.support import naive_windows
from tests.support.data import microseconds
from tests.support.kept_windows import Part, answer_kept, build_kept, kept_plan, parts_of
from tests.support.windows import NUMBERS, TILES, VALUES, IsAbove, Rows, event_groups, moments_of, plan_of, windows

MERGING = ("count", "sum", "mean", "min", "max", "std", "var", "skew", "kurtosis")
FIRST, LAST = -(2**63), 2**63 - 1


def bits(value: Any) -> Any:
    """Equal where bits are; one NaN; times as ticks."""
    if isinstance(value, float):
        return "nan" if value != value else struct.pack("<d", value)
    if isinstance(value, list):
        return [bits(part) for part in value]
    if isinstance(value, dict):
        return [(key, bits(part)) for key, part in value.items()]
    if isinstance(value, datetime):
        return microseconds(value)
    return int(value) if isinstance(value, bool) else value


def shown(column: pa.Array) -> list[Any]:
    """Python values; maps as dicts."""
    values = column.to_pylist()
    return [dict(value) for value in values] if pa.types.is_map(column.type) else values


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

    if not is_known_late:
        rows, single = Rows.of([events]), SinglePlan(plan)
        many = [column.to_pylist() for column in aggregate(plan, rows, moments_of([moments]))]
        kept = build_kept(plan, rows)
        assert [single.from_tiles(kept, rows, moment) for moment in moments] == [list(row) for row in zip(*many, strict=True)]


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


# ---------------------------------------------------------------- tiles that are kept

ALL = sum(ASKED.values())


@st.composite
def raw_events(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Offsets, times and measures of all kinds: some values null."""
    counts = draw(st.lists(st.integers(0, 30), min_size=1, max_size=3))
    rows = sum(counts)
    extremes = st.sampled_from([FIRST, FIRST + 1, LAST, LAST - 1])
    times = st.integers(-60, 60) if draw(st.booleans()) else st.one_of(st.integers(-60, 60), extremes)
    time = np.concatenate([np.sort(np.array(draw(st.lists(times, min_size=n, max_size=n)), np.int64)) for n in counts])
    floats = np.array(draw(st.lists(VALUES["f"], min_size=rows, max_size=rows)), np.float64)
    ints = np.array(draw(st.lists(VALUES["i"], min_size=rows, max_size=rows)), np.int64)
    uints = np.array(draw(st.lists(VALUES["u"], min_size=rows, max_size=rows)), np.uint64)
    flags = np.array(draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)), np.uint8)
    none = np.empty(0, np.uint8)
    return (
        np.append(0, np.cumsum(counts)).astype(np.int64),
        time,
        [
            (KINDS["floats"], ALL, floats.view(np.int64), flags),
            (KINDS["rows"], 0, np.empty(0, np.int64), none),
            (KINDS["ints"], ASKED["sum"] | ASKED["greatest"], ints, none),
            (KINDS["uints"], ALL, uints.view(np.int64), flags),
            (KINDS["floats"], ASKED["spread"], floats.view(np.int64), none),
        ],
    )


def words_of(measures: list[Any]) -> int:
    return sum(count_words(kind, mask) for kind, mask, _, _ in measures)


levels = st.sampled_from([np.array(widths, np.int64) for widths in ([], [5], [2, 6], [3, 12, 24], [1, 10], [2**62])])
bounds = st.one_of(st.integers(-70, 70), st.integers(-70, 70), st.sampled_from([FIRST, LAST, FIRST + 1, LAST - 1]))


@given(raw_events(), levels, st.lists(st.tuples(bounds, bounds), min_size=1, max_size=5), st.booleans())
def test_stored_tiles_and_edge_events_fold_to_the_bits_of_the_events_alone(raw, widths, asked, is_sparse):
    offsets, time, measures = raw
    keys = len(offsets) - 1
    low, high = (np.array([list(side) * keys], np.int64) for side in zip(*asked, strict=True))
    moment_offsets = np.arange(keys + 1) * len(asked)
    begin, end = np.empty_like(low), np.empty_like(low)
    find_events(offsets, time, moment_offsets, low, high, begin, end)
    wanted = np.ones((1, len(measures)), np.uint8)
    from_events = np.empty((1, words_of(measures), low.shape[1]), np.int64)
    fold(offsets, time, measures, widths, moment_offsets, low, high, begin, end, wanted, from_events)

    for ask in range(low.shape[1]):
        one = np.s_[:, ask : ask + 1]
        key = ask // len(asked)
        stored = needed_for(offsets, time, measures, widths, key, int(low[0, ask]), int(high[0, ask]), is_sparse=is_sparse)
        from_tiles = np.empty((1, words_of(measures), 1), np.int64)
        fold_stored(*stored, np.zeros(1, np.int64), low[one].copy(), high[one].copy(), wanted, from_tiles)
        assert from_tiles[0, :, 0].tolist() == from_events[0, :, ask].tolist()


KEPT = ("count", "sum", "mean", "min", "max", "std", "var", "skew", "kurtosis", "rate")


@given(st.data())
def test_an_answer_from_kept_tiles_and_the_events_between_them_has_the_bits_of_one_from_events(data):
    groups = data.draw(event_groups())
    columns = data.draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3, unique=True))
    lengths = data.draw(st.lists(st.sampled_from(["5us", "12us", "65us"]), min_size=1, max_size=2, unique=True))
    plan = plan_of([ml.agg(column, KEPT, windows=lengths) for column in columns], tiles=data.draw(st.sampled_from(TILES)))
    conditions = st.sampled_from([None, IsAbove("h", 0), IsAbove("h", 1)])
    plan = kept_plan(plan.of(replace(output, where=data.draw(conditions)) for output in plan.outputs))
    events, tiles = Rows.of(groups), build_kept(plan, Rows.of(groups))

    for group, moment in product(range(len(groups)), data.draw(st.lists(st.integers(-70, 70), max_size=4))):
        parts = [part for window in plan.windows for part in parts_of(plan, window, moment)]
        edges = [
            [row for row in rows if any(part.level < 0 and part.first <= row["time"] <= part.last for part in parts)] for rows in groups
        ]
        from_tiles = answer_kept(plan, only(tiles, parts), Rows.of(edges), np.array([group]), np.array([moment]))
        from_events = aggregate(plan, events, moments_of([[moment] if g == group else [] for g in range(len(groups))]))
        assert [bits(shown(column)) for column in from_tiles] == [bits(shown(column)) for column in from_events]


@given(st.data())
def test_a_single_moment_is_answered_with_the_bits_of_many(data):
    groups = data.draw(event_groups(groups=1))
    columns = data.draw(st.lists(st.sampled_from([*NUMBERS, "t"]), min_size=1, max_size=3, unique=True))
    lengths = data.draw(st.lists(windows(), min_size=1, max_size=3, unique_by=str))
    functions = {column: ("count", "min", "max") if column == "t" else MERGING for column in columns}
    found = [ml.agg(column, functions[column], windows=lengths) for column in columns]
    rules = {"boundary": data.draw(st.sampled_from(["inclusive", "strict"])), "offset": data.draw(st.sampled_from([None, "4us"]))}
    plan = plan_of(found, tiles=data.draw(st.sampled_from(TILES)), where=data.draw(st.sampled_from([None, IsAbove("h", 0)])), **rules)
    plan = plan.of(output for output in plan.outputs if is_single(plan.of([output])))
    assume(plan.outputs)
    events, tiles = Rows.of(groups), build_kept(plan, Rows.of(groups))
    moments = sorted(data.draw(st.lists(st.integers(-70, 70), min_size=1, max_size=3)))
    many = [shown(column) for column in aggregate(plan, events, moments_of([moments]))]

    single = SinglePlan(plan)
    for place, moment in enumerate(moments):
        assert bits(single.from_events(events, moment)) == [bits(column[place]) for column in many]
        assert bits(single.from_tiles(tiles, events, moment)) == [bits(column[place]) for column in many]


def only(tiles: KeptTiles, parts: list[Part]) -> KeptTiles:
    """Of the tiles those that the parts name."""
    level = np.repeat(np.arange(len(tiles.offsets)), tiles.offsets[:, -1] - tiles.offsets[:, 0])
    kept = np.zeros(len(tiles.start), np.bool_)
    for part in parts:
        kept |= (level == part.level) & (tiles.start >= part.first) & (tiles.start <= part.last)
    return KeptTiles(np.append(0, np.cumsum(kept))[tiles.offsets], tiles.start[kept], np.ascontiguousarray(tiles.records[kept]))


def needed_for(offsets, time, measures, widths, key, low, high, *, is_sparse):
    """The tiles and events of one key that one interval must have, or, not sparse, all."""
    tile_offsets, starts, records = build_tiles(offsets, time, measures, widths)
    rows = np.arange(offsets[key], offsets[key + 1])
    kept, kept_offsets, covered = [], [], []
    for level in range(len(widths) - 1, -1, -1):
        width = int(widths[level])
        own = range(tile_offsets[level, key], tile_offsets[level, key + 1])
        if is_sparse:
            inside = [i for i in own if starts[i] >= low and last_of(int(starts[i]), width) <= high]
            own = [i for i in inside if not any(first <= starts[i] <= last for first, last in covered)]
            covered += [(int(starts[i]), last_of(int(starts[i]), width)) for i in own]
        kept.insert(0, list(own))
    if is_sparse:
        rows = np.array([r for r in rows if low <= time[r] <= high and not any(a <= time[r] <= b for a, b in covered)], np.int64)
    places = [place for own in kept for place in own]
    for own in kept:
        begin = kept_offsets[-1][1] if kept_offsets else 0
        kept_offsets.append([begin, begin + len(own)])
    picked = [(kind, mask, v[rows] if v.size else v, c[rows] if c.size else c) for kind, mask, v, c in measures]
    table = np.array(kept_offsets, np.int64).reshape(len(widths), 2)
    return (
        picked,
        widths,
        table,
        starts[places] if places else np.empty(0, np.int64),
        np.ascontiguousarray(records[places].reshape(len(places), words_of(measures))),
        np.array([0, len(rows)], np.int64),
        time[rows],
    )


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

    assert (low[1], high[1]) == plan.interval_at(plan.windows[0], moment)
    if moment != FIRST:
        clock = {"tick_ns": plan.tick_ns, "offset": plan.offset, "is_strict": is_strict}
        first, last = naive_windows.interval(plan.windows[0], moment, **clock)
        assert (low[0], high[0]) == (FIRST if first is None else max(first, FIRST), max(last, FIRST))

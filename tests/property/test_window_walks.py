"""Walks through trees of tiles find the bits of what the events alone give, and look up few nodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import mlstore as ml
from mlstore._core.spans import KINDS as SPANS
from mlstore._core.spans import Spans
from mlstore._core.walks import Trees
from mlstore._core.windows import find_events, fold
from mlstore.engine.windows.aggregates import aggregate
from mlstore.engine.windows.plan import FIRST_TICK as FIRST
from mlstore.engine.windows.plan import LAST_TICK as LAST
from mlstore.engine.windows.tilereading import KeptPlan
from mlstore.errors import CorruptionError, InvalidDataError
from tests.support.trees import PREFIX, Drawer, answer_one, events_of, kept_plan, raw_kept, raw_trees, trees_of
from tests.support.windows import (
    MERGING,
    NUMBERS,
    TILES,
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

LEAVES = st.sampled_from([1, 2, 64])
levels = st.sampled_from([np.array(widths, np.int64) for widths in ([5], [2, 6], [3, 12, 24], [1, 10])])
bounds = st.one_of(st.integers(-70, 70), st.integers(-70, 70), st.sampled_from([FIRST, LAST, FIRST + 1, LAST - 1]))


@given(raw_events(), levels, st.lists(st.tuples(bounds, bounds), min_size=1, max_size=5), LEAVES)
def test_a_walk_folds_to_the_bits_of_the_events_alone(raw, widths, asked, leaf):
    offsets, time, measures = raw
    keys, moment = len(offsets) - 1, max(high for _, high in asked)
    asked = [(low, high) for low, high in asked if low <= high and moment - high <= LAST and (low == FIRST or high - low < LAST)]
    assume(asked and moment != FIRST)
    plan = raw_trees(measures, widths)
    spans = Spans([(SPANS["sliding"], 0 if low == FIRST else high - low + 1, 0, moment - high) for low, high in asked])
    wanted = np.ones((len(asked), len(measures)), np.uint8)
    drawer = Drawer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlstore.engine.limits.TILE_LEAF", leaf)
        for key in range(keys):
            drawer.plant(plan, bytes([key]), raw_kept(measures, time, slice(*offsets[key : key + 2])))

    walk = Trees(plan.asked, np.array(plan.widths), spans, wanted, "w").walk(
        [*(PREFIX + bytes([key]) for key in range(keys)), None], moment
    )
    found = drawer.through(walk).states()

    low, high = (np.repeat(np.array([side], np.int64).T, keys, axis=1) for side in zip(*asked, strict=True))
    begin, end = np.empty_like(low), np.empty_like(low)
    find_events(offsets, time, np.arange(keys + 1), low, high, begin, end)
    expected = np.empty((len(asked), plan.words, keys), np.int64)
    fold(offsets, time, measures, widths, np.arange(keys + 1), low, high, begin, end, wanted, expected)
    assert found[:keys].tolist() == expected.transpose(2, 0, 1).tolist()
    assert (found[keys, :, 0] == 0).all()


@given(st.data())
def test_an_answer_from_trees_has_the_bits_of_one_from_events(data):
    groups = data.draw(event_groups())
    columns = data.draw(st.lists(st.sampled_from([*NUMBERS, "t"]), min_size=1, max_size=3, unique=True))
    functions = {column: ("count", "min", "max") if column == "t" else MERGING for column in columns}
    lengths = data.draw(st.lists(windows(), min_size=1, max_size=3, unique_by=str))
    rules = {"boundary": data.draw(st.sampled_from(["inclusive", "strict"])), "offset": data.draw(st.sampled_from([None, "4us"]))}
    asked = [ml.agg(column, functions[column], windows=lengths) for column in columns]
    asked += [ml.agg(column, "rate", windows="9us") for column in columns]
    plan = plan_of(asked, tiles=data.draw(st.sampled_from(TILES)), **rules)
    conditions = st.sampled_from([None, IsAbove("h", 0), IsAbove("h", 1)])
    plan = kept_plan(plan.of(replace(output, where=data.draw(conditions)) for output in plan.outputs))
    assume(len(plan.widths))
    rows, drawer, trees = Rows.of(groups), Drawer(), trees_of(plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlstore.engine.limits.TILE_LEAF", data.draw(LEAVES))
        for group in range(len(groups)):
            chosen = slice(*rows.offsets[group : group + 2])
            drawer.plant(trees, bytes([group]), trees.keep(events_of(rows.time, rows.columns, chosen), rows.created[chosen]))
    outputs = data.draw(st.lists(st.sampled_from(plan.outputs), min_size=1, unique_by=lambda output: output.name))
    kept = KeptPlan(trees, outputs)

    for moment in data.draw(st.lists(st.integers(-70, 70), min_size=1, max_size=3)):
        expected = [bits(shown(column)) for column in aggregate(plan.of(outputs), rows, moments_of([[moment]] * len(groups)))]
        walk = drawer.through(kept.begin([PREFIX + bytes([group]) for group in range(len(groups))], moment))
        assert [bits(shown(column)) for column in kept.columns(walk)] == expected
        for group in range(len(groups)):
            assert bits(answer_one(kept, drawer, bytes([group]), moment)) == [column[group] for column in expected]


def floats(rows: int, tiles: list[str], lengths: list[str]) -> tuple[KeptPlan, Rows, Drawer]:
    random = np.random.default_rng(11)
    time = np.sort(random.integers(-80, 80, rows))
    plan = kept_plan(plan_of([ml.agg("f", ["sum", "std", "count"], windows=lengths)], tiles=tiles))
    trees, events, drawer = trees_of(plan), Rows(np.array([0, rows]), time, np.zeros(rows, np.int64), {}), Drawer()
    events = replace(events, columns={"f": pa.array(random.normal(size=rows))})
    drawer.plant(trees, b"k", trees.keep(events_of(time, events.columns, slice(None)), events.created))
    return KeptPlan(trees, plan.outputs), events, drawer


@pytest.mark.parametrize("tiles", [tiles for tiles in TILES if tiles])
def test_many_floats_in_few_tiles_are_added_in_the_canonical_order(tiles):
    kept, events, drawer = floats(250, tiles, ["7us", "30us", "65us", "lifetime"])
    moments = list(range(-70, 90, 3))

    many = [column.to_pylist() for column in aggregate(kept.plan.plan, events, moments_of([moments]))]

    assert [answer_one(kept, drawer, b"k", moment) for moment in moments] == [list(row) for row in zip(*many, strict=True)]


def test_the_nodes_looked_up_are_as_many_however_many_events_there_are():
    looked_up = []
    for rows in (5000, 50_000):
        kept, _, drawer = floats(rows, ["2us", "20us"], ["7us", "65us", "150us"])
        answer_one(kept, drawer, b"k", 41)
        looked_up.append(drawer.looked_up)

    # A root; below it two tiles of 20 us, and in each of them two of 2 us at most, for three beginnings and one end.
    assert looked_up[0] == looked_up[1]
    assert len(looked_up[0]) <= 1 + 4 + 4


def test_windows_that_begin_and_end_at_borders_of_tiles_need_no_node_but_roots():
    kept, events, drawer = floats(5000, ["2us", "20us"], ["40us", "60us"])

    found = dict(zip((output.name for output in kept.outputs), answer_one(kept, drawer, b"k", 39), strict=True))

    assert [name[len(b"pk")] for name in drawer.looked_up] == [2, 2]
    assert found["f_count_40us"] == int(((events.time > -1) & (events.time <= 39)).sum())


def test_a_sum_beyond_64_bits_is_refused_by_its_own_name():
    plan = kept_plan(plan_of([ml.agg("i", ["count", "mean", "sum"], windows=["3us", "lifetime"])], tiles=["2us"]))
    trees, drawer = trees_of(plan), Drawer()
    events = events_of(np.array([1, 2, 9]), {"i": pa.array([2**63 - 1, 2**63 - 1, -(2**63)])}, slice(None))
    drawer.plant(trees, b"k", trees.keep(events, np.zeros(3, np.int64)))
    mean = KeptPlan(trees, [output for output in plan.outputs if output.function == "mean"])

    assert answer_one(mean, drawer, b"k", 2) == [float(2**64 - 2) / 2] * 2
    assert answer_one(KeptPlan(trees, plan.outputs), drawer, b"k", 9)[-1] == 2**63 - 2
    with pytest.raises(InvalidDataError, match="i_sum_3us: a sum of i does not fit 64 bits"):
        answer_one(KeptPlan(trees, plan.outputs, [f"x{place}" for place in range(6)]), drawer, b"k", 2)


def test_a_node_that_the_one_above_it_tells_of_must_be_there():
    kept, _, drawer = floats(5000, ["2us", "20us"], ["7us"])
    root = min(drawer.nodes, key=len)
    for name in [name for name in drawer.nodes if name[:3] == root[:2] + b"\x01"]:
        del drawer.nodes[name]

    with pytest.raises(CorruptionError, match="a tile of w makes no sense: a node that the one above it tells of is not there"):
        answer_one(kept, drawer, b"k", 41)


def test_a_walk_that_is_not_over_says_so_and_takes_no_more_than_it_wanted():
    kept, _, _ = floats(5000, ["2us", "20us"], ["7us"])
    walk = kept.begin([b"pk"], 41)

    with pytest.raises(ValueError, match="as many nodes"):
        walk.take([None])
    assert walk.wanted()
    with pytest.raises(ValueError, match="as many nodes"):
        walk.take([])

"""What the aggregating function promises at the edges: sums that do not fit, NaN and signed zeros, categories, order, what is not there."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml
from mlstore._core.tiles import ASKED, KINDS, build_tiles, count_words, merge_records
from mlstore._core.windows import find_events, fold
from mlstore.engine.windows.aggregates import aggregate
from mlstore.engine.windows.plan import FIRST_TICK, LAST_TICK, WindowPlan, compile_plan
from mlstore.engine.windows.stretches import rising_groups
from mlstore.errors import InvalidDataError
from mlstore.schema.layout import view_layout
from tests.support.windows import USER, Rows, moments_of, plan_of

NO_CLOCK = np.empty(0, np.int64)


def rows(name, values, times=None):
    values = values if isinstance(values, pa.Array) else pa.array(values)
    times = range(len(values)) if times is None else times
    return Rows(np.array([0, len(values)]), np.array(list(times), np.int64), NO_CLOCK, {name: values})


def answers(plan, events, moments):
    found = aggregate(plan, events, moments_of([moments]))
    return {output.name: column.to_pylist() for output, column in zip(plan.outputs, found, strict=True)}


def test_a_sum_of_integers_is_exact_beyond_64_bits_on_the_way_and_refused_at_the_end():
    plan = plan_of([ml.agg("i", ["sum", "mean"], windows=["3us", "2us"])])
    most = 2**63 - 1
    events = rows("i", [most, most, -most], [0, 1, 2])

    assert answers(plan, events, [2]) == {"i_sum_3us": [most], "i_sum_2us": [0], "i_mean_3us": [float(most) / 3], "i_mean_2us": [0.0]}
    with pytest.raises(InvalidDataError, match=r"i_sum_3us: a sum of i does not fit 64 bits.*float64"):
        aggregate(plan, events, moments_of([[1]]))
    mean = plan_of([ml.agg("i", "mean", windows=["3us"])])
    assert answers(mean, events, [1]) == {"i_mean_3us": [float(2 * most) / 2]}


def test_a_nan_is_the_least_and_the_greatest_and_zeros_have_an_order():
    plan = plan_of([ml.agg("f", ["min", "max", "sum", "std"], windows=["2us"])])

    found = answers(plan, rows("f", [0.0, -0.0, math.nan, 1.0]), [1, 2])

    assert math.copysign(1, found["f_min_2us"][0]) == -1
    assert math.copysign(1, found["f_max_2us"][0]) == 1
    assert all(math.isnan(column[1]) for column in found.values())


def test_equal_values_have_no_skew_and_no_kurtosis():
    plan = plan_of([ml.agg("i", ["var", "skew", "kurtosis"], windows=["1s"])])

    assert answers(plan, rows("i", [3, 3, 3, 3]), [9]) == {"i_var_1s": [0.0], "i_skew_1s": [None], "i_kurtosis_1s": [None]}


def test_decimals_sum_as_floats_and_keep_their_type_as_least_and_greatest():
    source = ml.FeatureView("facts", entity=USER, schema={"d": ml.decimal(10, 2)})
    found = [ml.agg("d", ["sum", "min", "max", "first"], windows=["1s"]), ml.agg("d", "top_k", windows=["1s"], k=1)]
    plan = compile_plan(ml.WindowView("w", entity=USER, source=source, aggregations=found), view_layout(source, USER))
    values = [Decimal("1.50"), None, Decimal("-10.25"), Decimal("1.50")]

    found = answers(plan, rows("d", pa.array(values, pa.decimal128(10, 2))), [9, 9])

    assert list(found.values()) == [
        [-7.25] * 2, [Decimal("-10.25")] * 2, [Decimal("1.50")] * 2, [Decimal("1.50")] * 2, [[Decimal("1.50")]] * 2,
    ]  # fmt: skip


def test_lists_are_the_last_first_and_the_first_last_and_the_commonest_first():
    found = [
        ml.agg("s", ["first_n", "last_n", "last_distinct_n"], windows=["1s"], n=3),
        ml.agg("s", ["top_k"], windows=["1s"], k=2),
    ]

    told = answers(plan_of(found), rows("s", ["a", "b", None, "b", "a", "c"]), [-1, 9])

    assert told == {
        "s_first_3_1s": [None, ["a", "b", "b"]],
        "s_last_3_1s": [None, ["c", "a", "b"]],
        "s_last_distinct_3_1s": [None, ["c", "a", "b"]],
        "s_top_2_1s": [None, ["a", "b"]],
    }


def test_a_map_has_the_categories_that_the_window_holds_even_if_their_values_are_null():
    plan = plan_of([ml.agg("i", ["sum", "count"], windows=["10us"], by="s")])
    columns = {"i": pa.array([1, 2, None, 4]), "s": pa.array(["b", "a", "c", None])}
    events = Rows(np.array([0, 4]), np.arange(4), NO_CLOCK, columns)

    assert answers(plan, events, [-1, 1, 3, 11, 13]) == {
        "i_sum_s_10us": [[], [("a", 2), ("b", 1)], [("a", 2), ("b", 1), ("c", None)], [("c", None)], []],
        "i_count_s_10us": [[], [("a", 1), ("b", 1)], [("a", 1), ("b", 1), ("c", 0)], [("c", 0)], []],
    }


def test_the_last_rows_of_a_key_are_taken_before_they_are_told_apart_by_category():
    plan = plan_of([ml.agg(None, "count", windows=[ml.last_rows(2)], by="s")])
    events = Rows(np.array([0, 3]), np.arange(3), NO_CLOCK, {"s": pa.array(["a", "b", "b"])})

    assert answers(plan, events, [1, 2]) == {"count_s_last_2_rows": [[("a", 1), ("b", 1)], [("b", 2)]]}


def test_a_condition_chooses_events_before_a_window_of_rows_does():
    big = ml.col("i") > 2
    plan = plan_of([ml.agg("i", "sum", windows=[ml.last_rows(2), "2us"], where=big), ml.agg("i", "count", windows=["2us"])], where=None)

    told = answers(plan, rows("i", [3, 4, 5, 1, None]), [3, 4])

    assert told == {"i_sum_last_2_rows": [9, 9], "i_sum_2us": [5, None], "i_count_2us": [2, 1]}


def test_an_age_halves_what_a_value_counts():
    plan = plan_of([ml.agg("i", "decayed_sum", windows=["lifetime"], half_life="2us", name="decayed")], offset="1us")

    assert answers(plan, rows("i", [8, 1]), [0, 1, 3]) == {"decayed": [None, 8.0, 8 / 2 + 1 / math.sqrt(2)]}


def test_a_window_that_would_begin_before_the_first_tick_begins_there():
    plan = plan_of([ml.agg("i", ["sum", "last"], windows=["1w", "lifetime", ml.tumbling("1d"), ml.session("1d")])], tiles=["1s", "1h"])
    times = [FIRST_TICK + 1, FIRST_TICK + 5, LAST_TICK - 1, LAST_TICK]

    found = answers(plan, rows("i", [1, 2, 4, 8], times), [FIRST_TICK + 1, FIRST_TICK + 9, LAST_TICK])

    assert [found[f"i_sum_{window}"] for window in ("1w", "lifetime", "session_1d")] == [[1, 3, 12], [1, 3, 15], [1, 3, 12]]
    assert found["i_last_tumbling_1d"] == [1, 2, 8]


def test_no_events_and_no_moments_are_answered_too():
    plan = plan_of([ml.agg("f", ["count", "std", "last", "distinct"], windows=["1d"]), ml.agg("f", "sum", windows=["1d"], by="s")])
    nothing = Rows(np.array([0, 0]), NO_CLOCK, NO_CLOCK, {"f": pa.array([], pa.float64()), "s": pa.array([], pa.string())})

    assert list(answers(plan, nothing, [5, 6]).values()) == [[0, 0], [None, None], [None, None], [0, 0], [[], []]]
    assert list(answers(plan, nothing, []).values()) == [[], [], [], [], []]
    assert all(len(column) == 0 for column in aggregate(plan, Rows(np.array([0]), NO_CLOCK, NO_CLOCK, nothing.columns), moments_of([])))


def test_a_plan_names_what_it_reads_and_how_far_back_it_looks():
    plan = plan_of([ml.agg("f", "sum", windows=["2us", "7us"], by="s"), ml.agg("i", "last", windows=["1us"])], offset="3us")

    assert plan.columns == ("f", "s", "i")
    assert plan.span(np.array([20, FIRST_TICK, 30])) == (20 - 3 - 7 + 1, 30 - 3)
    assert plan.span(np.array([FIRST_TICK])) == (LAST_TICK, FIRST_TICK)
    assert isinstance(plan.of(plan.outputs[:1]), WindowPlan)


@pytest.mark.parametrize("length", [timedelta(seconds=1), "1s"])
def test_a_rate_is_per_second(length):
    plan = plan_of([ml.agg(None, "rate", windows=["2s"]), ml.agg("i", "rate", windows=[length], name="each")])

    assert answers(plan, rows("i", [1, None, 3]), [2]) == {"rate_2s": [1.5], "each": [2.0]}


def test_groups_are_told_apart_by_whether_their_events_were_known_in_turn():
    offsets = np.array([0, 2, 2, 4, 6, 7])
    created = np.array([5, 9, 1, 1, 4, 3, FIRST_TICK])

    assert rising_groups(offsets, created).tolist() == [True, True, True, False, False]


# ---------------------------------------------------------------- kernels refuse what does not fit


def test_kernels_refuse_arrays_that_do_not_fit_each_other():
    none, offsets, time = np.empty(0, np.uint8), np.array([0, 2]), np.array([1, 2])
    measure = (KINDS["ints"], ASKED["sum"], np.array([1, 2]), none)
    grid = np.zeros((1, 1), np.int64)
    wanted, states = np.ones((1, 1), np.uint8), np.empty((1, 3, 1), np.int64)

    with pytest.raises(ValueError, match="values do not fit the events"):
        build_tiles(offsets, time, [(KINDS["ints"], 0, np.array([1]), none)], np.array([5]))
    with pytest.raises(ValueError, match="no multiple"):
        build_tiles(offsets, time, [measure], np.array([2, 5]))
    with pytest.raises(ValueError, match="no known kind"):
        build_tiles(offsets, time, [(KINDS["floats"], ASKED["shape"], np.array([1, 2]), none)], np.array([5]))
    with pytest.raises(ValueError, match="offsets do not fit"):
        find_events(np.array([0, 3]), time, np.array([0, 1]), grid, grid, grid.copy(), grid.copy())
    end = np.full((1, 1), 7)
    with pytest.raises(ValueError, match="another key"):
        fold(offsets, time, [measure], np.array([5]), np.array([0, 1]), grid, grid, grid, end, wanted, states)
    with pytest.raises(ValueError, match="do not fit the measures"):
        merge_records([measure], np.empty((1, 2), np.int64), np.empty(3, np.int64))
    assert count_words(KINDS["ints"], ASKED["sum"]) == 3

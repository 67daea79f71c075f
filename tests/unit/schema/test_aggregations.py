"""Windows and aggregations: what they are called, what they take, what they refuse."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mlstore.errors import DefinitionError
from mlstore.schema import dtypes as t
from mlstore.schema.aggregation import FUNCTIONS, OF_ROWS, agg, fits, output_type
from mlstore.schema.durations import DAY_NS
from mlstore.schema.expression import col
from mlstore.schema.window import Window, checked_window, hopping, last_rows, session, tumbling

HOUR_NS = DAY_NS // 24


def names(*given, **options):
    return [part.name for part in agg(*given, **options).parts()]


@pytest.mark.parametrize(
    ("window", "label", "facts"),
    [
        ("7d", "7d", {"kind": "time", "length_ns": 7 * DAY_NS}),
        ("24h", "24h", {"kind": "time", "length_ns": DAY_NS}),
        (" 1h 30m ", "1h30m", {"kind": "time", "length_ns": 3 * HOUR_NS // 2}),
        (timedelta(hours=36), "1d12h", {"kind": "time", "length_ns": 36 * HOUR_NS}),
        ("lifetime", "lifetime", {"kind": "lifetime"}),
        (tumbling("1d"), "tumbling_1d", {"kind": "tumbling", "length_ns": DAY_NS}),
        (hopping("7d", hop="24h"), "hopping_7d_24h", {"kind": "hopping", "length_ns": 7 * DAY_NS, "hop_ns": DAY_NS}),
        (session(gap=timedelta(minutes=30)), "session_30m", {"kind": "session", "gap_ns": HOUR_NS // 2}),
        (
            Window("hopping", length_ns=7 * DAY_NS, hop_ns=DAY_NS),
            "hopping_7d_1d",
            {"kind": "hopping", "length_ns": 7 * DAY_NS, "hop_ns": DAY_NS},
        ),
        (last_rows(10), "last_10_rows", {"kind": "rows", "rows": 10}),
        (tumbling("1d").shifted(2 * DAY_NS), "tumbling_1d_2d_ago", {"kind": "tumbling", "length_ns": DAY_NS, "shift_ns": 2 * DAY_NS}),
    ],
    ids=str,
)
def test_a_window_knows_its_name_and_its_lengths(window, label, facts):
    found = checked_window(window, "here")

    told = {name: getattr(found, name) for name in ("kind", "length_ns", "hop_ns", "gap_ns", "rows", "shift_ns")}
    assert found.label == label
    assert {name: fact for name, fact in told.items() if fact} == facts


@pytest.mark.parametrize(
    "make",
    [
        lambda: checked_window("7", "here"),
        lambda: checked_window(7, "here"),
        lambda: checked_window("0s", "here"),
        lambda: checked_window(None, "here"),
        lambda: checked_window(timedelta(days=-1), "here"),
        lambda: tumbling("0d"),
        lambda: hopping("7d", hop="x"),
        lambda: session("-1m"),
        lambda: last_rows(0),
        lambda: last_rows(True),
        lambda: last_rows(2.5),
        lambda: Window("time"),
        lambda: Window("lifetime", length_ns=1),
        lambda: Window("session", gap_ns=-1),
        lambda: Window("week", length_ns=1),
        lambda: Window("rows", rows=1, shift_ns=-1),
    ],
)
def test_what_is_no_window_is_refused(make):
    with pytest.raises(DefinitionError) as refusal:
        make()

    assert refusal.value.hint


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (names("amount", ["sum", "mean"], windows=["1h", "24h"]), ["amount_sum_1h", "amount_sum_24h", "amount_mean_1h", "amount_mean_24h"]),
        (names("amount", "quantile", q=[0.5, 0.95, 0.999, 0.05, 0.005, 1, 0], windows="7d"),
         [f"amount_quantile_{told}_7d" for told in ("50", "95", "99_9", "5", "0_5", "100", "0")]),
        (names("amount", "approx_quantile", q=0.29, windows="7d"), ["amount_approx_quantile_29_7d"]),
        (names("merchant", "last", n=3, windows="7d"), ["merchant_last_3_7d"]),
        (names("merchant", "last_n", n=3, windows="7d"), ["merchant_last_3_7d"]),
        (names("merchant", ["first", "last"], n=3, windows="7d"), ["merchant_first_3_7d", "merchant_last_3_7d"]),
        (names("merchant", "last", n=3, distinct=True, windows="7d"), ["merchant_last_distinct_3_7d"]),
        (names("merchant", ["first", "last"], windows="7d"), ["merchant_first_7d", "merchant_last_7d"]),
        (names("merchant", ["top_k", "distinct"], k=5, windows="7d"), ["merchant_top_5_7d", "merchant_distinct_7d"]),
        (names("amount", "decayed_sum", half_life="36h", windows="lifetime"), ["amount_decayed_sum_1d12h_lifetime"]),
        (names("amount", "histogram", bins=[0, 1], windows=tumbling("1d")), ["amount_histogram_tumbling_1d"]),
        (names("amount", "sum", by="kind", windows="7d"), ["amount_sum_kind_7d"]),
        (names(None, ["count", "rate"], windows="7d"), ["count_7d", "rate_7d"]),
        (names("*", "count", by="kind", windows=last_rows(5)), ["count_kind_last_5_rows"]),
        (names("amount", "sum", windows="1d", series=3), ["amount_sum_1d", "amount_sum_1d_1d_ago", "amount_sum_1d_2d_ago"]),
        (names("amount", "sum", windows="1h", series=["0s", "7d"]), ["amount_sum_1h", "amount_sum_1h_7d_ago"]),
        (names("amount", "last", windows="lifetime", series=["7d"]), ["amount_last_lifetime_7d_ago"]),
        (names("amount", "sum", windows=["1h", "7d"], name="spent_{window}"), ["spent_1h", "spent_7d"]),
        (names("amount", "quantile", q=[0.5, 0.9], by="kind", windows="7d", name="{by}_{function}_{column}"),
         ["kind_quantile_50_amount", "kind_quantile_90_amount"]),
        (names("amount", "sum", windows="7d", name="weekly"), ["weekly"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_outputs_are_named_by_one_rule(given, expected):
    assert given == expected


def test_an_output_keeps_its_name_whatever_is_asked_beside_it():
    alone = names("amount", "quantile", q=0.5, windows="7d")

    assert set(alone) < set(names("amount", ["quantile", "sum"], q=[0.5, 0.9], windows=["7d", "30d"]))


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        (("amount", []), {}, "no function"),
        (("amount", "median"), {}, "no function 'median'"),
        (("amount", "sum"), {"windows": []}, "no windows"),
        (("a mount", "sum"), {}, "not a name"),
        (("amount", "sum"), {"by": "a b"}, "not a name"),
        ((None, "sum"), {}, "sum of no column"),
        (("amount", "quantile"), {}, "quantile without q="),
        (("amount", "quantile"), {"q": []}, "quantile without q="),
        (("amount", "last_n"), {}, "last_n without n="),
        (("amount", "top_k"), {}, "top_k without k="),
        (("amount", "histogram"), {}, "histogram without bins="),
        (("amount", "decayed_sum"), {}, "decayed_sum without half_life="),
        (("amount", "sum"), {"q": 0.5}, "q= says nothing to sum"),
        (("amount", "sum"), {"n": 3}, "n= says nothing to sum"),
        (("amount", "quantile"), {"q": 1.5}, "q=1.5 is no quantile"),
        (("amount", "quantile"), {"q": float("nan")}, "is no quantile"),
        (("amount", "quantile"), {"q": "0.5"}, "is no quantile"),
        (("amount", "quantile"), {"q": [0.5, 0.5]}, "two outputs are called 'amount_quantile_50_7d'"),
        (("amount", "last"), {"n": 0}, "n=0"),
        (("amount", "last"), {"n": True}, "n=True"),
        (("amount", "top_k"), {"k": 1.5}, "k=1.5"),
        (("amount", ["last", "last_n"]), {"n": 3}, "two outputs are called 'amount_last_3_7d'"),
        (("amount", "last"), {"distinct": True}, "distinct=True goes with 'last' and n="),
        (("amount", "count"), {"distinct": True, "n": 3}, "distinct=True goes with 'last' and n="),
        (("amount", "histogram"), {"bins": 10}, "are no edges"),
        (("amount", "histogram"), {"bins": [1]}, "are no edges"),
        (("amount", "histogram"), {"bins": [0, 0]}, "are no edges"),
        (("amount", "histogram"), {"bins": [0, float("nan")]}, "are no edges"),
        (("amount", "decayed_sum"), {"half_life": "0s"}, "half_life"),
        (("amount", "rate"), {"windows": ["7d", "lifetime"]}, "rate over 'lifetime', which has no length"),
        (("amount", "rate"), {"windows": last_rows(3)}, "rate over last_rows(3)"),
        (("amount", "sum"), {"windows": ["7d", "7d"]}, "two outputs are called 'amount_sum_7d'"),
        (("amount", ["sum", "sum"]), {}, "two outputs are called"),
        (("amount", ["sum", "mean"]), {"name": "spent"}, "two outputs are called 'spent'"),
        (("amount", "sum"), {"name": "{window}"}, "not a name"),
        (("amount", "sum"), {"name": "{colour}_sum"}, "not a name"),
        (("amount", "sum"), {"where": "kind = 'buy'"}, "is no expression"),
        (("amount", "sum"), {"where": True}, "is no expression"),
        (("amount", "sum"), {"series": 0}, "series=0 is none"),
        (("amount", "sum"), {"series": []}, "is none"),
        (("amount", "sum"), {"series": "1d"}, "series='1d'"),
        (("amount", "sum"), {"series": -1}, "series=-1 is none"),
        (("amount", "sum"), {"series": 3, "windows": "lifetime"}, "'lifetime', which has no neighbour"),
        (("amount", "sum"), {"series": 3, "windows": tumbling("1d")}, "which has no neighbour"),
    ],
    ids=str,
)  # fmt: skip
def test_an_aggregation_that_makes_no_sense_is_refused(given, options, says):
    with pytest.raises(DefinitionError) as refusal:
        agg(*given, **({"windows": "7d"} | options))

    assert says in refusal.value.message
    assert refusal.value.hint


def test_the_same_aggregation_is_equal_and_another_condition_is_not():
    def made(limit):
        return agg("amount", "sum", windows="7d", where=col("amount") > limit)

    assert made(1) == made(1)
    assert hash(made(1)) == hash(made(1))
    assert made(1) != made(2)
    assert made(1) != agg("amount", "sum", windows="7d")
    assert agg("amount", "sum", windows="7d") != made(1)


def test_an_aggregation_shows_itself_as_one_would_write_it():
    made = agg("amount", ["sum", "last"], n=3, windows=["7d", session("30m"), hopping("7d", hop="1d")], where=col("kind") == "buy")

    shown = "agg('amount', ['sum', 'last_n'], windows=['7d', session('30m'), hopping('7d', hop='1d')], n=3, where=(kind == 'buy'))"
    assert repr(made) == shown


INTEGERS = [t.int8, t.int64, t.uint64, t.bool_]
REALS = [t.float32, t.float64, t.decimal(10, 2)]
PLAIN = [t.string, t.binary, t.date, t.timestamp("us")]
NESTED = [t.vector(3), t.list_(t.int8), t.struct({"a": t.int8}), t.map_(t.string, t.int8)]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_takes_numbers_plain_values_or_anything(function):
    plain = function in ("min", "max", "distinct", "approx_distinct", "last_distinct_n", "top_k")
    anything = function in ("count", "rate", "first", "last", "first_n", "last_n")

    assert all(fits(function, dtype) for dtype in INTEGERS + REALS)
    assert all(fits(function, dtype) == (plain or anything) for dtype in PLAIN)
    assert all(fits(function, dtype) == anything for dtype in NESTED)


@pytest.mark.parametrize(
    ("function", "column", "gives"),
    [
        ("count", t.string, t.int64),
        ("distinct", t.string, t.int64),
        ("approx_distinct", t.string, t.int64),
        *(("sum", dtype, t.int64) for dtype in INTEGERS),
        *(("sum", dtype, t.float64) for dtype in REALS),
        *((name, t.int8, t.float64) for name in ("mean", "std", "var", "skew", "kurtosis", "quantile", "approx_quantile", "decayed_sum")),
        ("rate", t.string, t.float64),
        *((name, t.float32, t.float32) for name in ("min", "max", "first", "last")),
        *((name, t.string, t.list_(t.string)) for name in ("first_n", "last_n", "last_distinct_n", "top_k")),
        ("histogram", t.float32, t.list_(t.int64)),
    ],
)
def test_a_function_gives_one_type(function, column, gives):
    assert output_type(function, column) == gives


def test_only_what_counts_rows_needs_no_column():
    assert OF_ROWS == ("count", "rate")

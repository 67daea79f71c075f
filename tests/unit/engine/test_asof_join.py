"""asof_join: what each switch does, what the answer looks like, and what is refused."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml

LEFT = {"t": [1, 5, 9], "k": ["a", "b", "a"], "x": [10, 20, 30]}
RIGHT = {"t": [1, 4, 6, 9], "k": ["a", "b", "b", "a"], "v": [1.0, 2.0, 3.0, 4.0]}


def values(left: Any, right: Any, column: str = "v", **switches: Any) -> list[Any]:
    return ml.asof_join(left, right, on="t", **switches)[column].to_pylist()


def facts(times: list[Any], **columns: Any) -> dict[str, Any]:
    return {"t": times, "v": list(range(len(times))), **columns}


# ---------------------------------------------------------------- switches


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({}, [1.0, 2.0, 4.0]),
        ({"direction": "forward"}, [1.0, 3.0, 4.0]),
        ({"direction": "nearest"}, [1.0, 3.0, 4.0]),
        ({"allow_exact_matches": False}, [None, 2.0, 1.0]),
        ({"allow_exact_matches": False, "direction": "forward"}, [4.0, 3.0, None]),
        ({"tolerance": 0}, [1.0, None, 4.0]),
        ({"tolerance": 1}, [1.0, 2.0, 4.0]),
        ({"tolerance": 7, "allow_exact_matches": False}, [None, 2.0, None]),
        ({"tolerance": 8, "allow_exact_matches": False}, [None, 2.0, 1.0]),
    ],
)
def test_the_switches_choose_the_row(switches: dict[str, Any], expected: list[Any]) -> None:
    assert values(LEFT, RIGHT, by="k", **switches) == expected


def test_without_by_every_row_has_the_same_key() -> None:
    assert values(LEFT, RIGHT | {"k": [0] * 4}, columns=["v"]) == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(("direction", "expected"), [("backward", 2), ("forward", 0), ("nearest", 2)])
@pytest.mark.parametrize("keys", [(), ("k",)])
@pytest.mark.parametrize("times", [[5, 5, 5, 9], [9, 5, 5, 5]])
def test_of_rows_of_one_time_the_last_wins_and_forward_the_first(direction: Any, expected: int, keys: Any, times: list[int]) -> None:
    shift = times.index(5)

    assert values({"t": [5], "k": [1]}, facts(times, k=[1] * 4), by=keys, columns=["v"], direction=direction) == [expected + shift]


@pytest.mark.parametrize(("direction", "expected"), [("backward", 1), ("forward", 1), ("nearest", 2)])
def test_created_settles_ties_before_the_order_of_rows(direction: Any, expected: int) -> None:
    right = facts([5, 5, 5, 5], c=[datetime(2024, 1, day) if day else None for day in (1, 3, 3, 0)])
    right["t"], asked = [datetime(2024, 1, 5)] * 4, {"t": [datetime(2024, 1, 5)]}

    found = values(asked, right, created="c", direction=direction)

    assert found == ([2] if direction != "forward" else [expected])


def test_nearest_takes_the_later_of_two_rows_equally_far() -> None:
    assert values({"t": [5]}, facts([3, 7, 7, 8]), direction="nearest") == [2]


@pytest.mark.parametrize(
    ("known_at", "expected"), [(None, [1, 1]), ("left", [None, 0]), ("2024-01-02", [0, 0]), (datetime(2024, 1, 9, tzinfo=UTC), [1, 1])]
)
def test_known_at_leaves_out_what_was_not_known_yet(known_at: Any, expected: list[Any]) -> None:
    right = facts([datetime(2024, 1, 1), datetime(2024, 1, 1, 12), datetime(2024, 1, 1, 13)])
    right["c"] = [datetime(2024, 1, 2), datetime(2024, 1, 9), None]
    asked = {"t": [datetime(2024, 1, 1, 12), datetime(2024, 1, 2, 0)]}
    if known_at is None:
        right = {name: column[:2] for name, column in right.items()}

    assert values(asked, right, created="c", known_at=known_at) == expected


def test_last_valid_reaches_back_for_each_column() -> None:
    right = {"t": [1, 2, 3], "v": [1, None, None], "w": ["a", "b", None]}

    answer = ml.asof_join({"t": [3]}, right, on="t", nulls="last_valid")

    assert answer.select(["v", "w"]).to_pylist() == [{"v": 1, "w": "b"}]
    assert values({"t": [3]}, right) == [None]


def test_null_keys_match_nothing_unless_nulls_are_equal() -> None:
    left, right = {"t": [5, 5, 5], "k": [None, 1, 2]}, facts([1, 2, 3], k=[1, None, 3])

    assert values(left, right, by="k") == [None, 0, None]
    assert values(left, right, by="k", nulls_equal=True) == [1, 0, None]


def test_null_and_nan_times_match_nothing() -> None:
    left, right = {"t": [None, float("nan"), float("inf"), 2.0]}, facts([float("nan"), 1.0, None])

    assert values(left, right) == [None, None, 1, 1]
    assert values(left, right, direction="nearest", tolerance=float("inf")) == [None, None, 1, 1]


# ---------------------------------------------------------------- types


def test_times_of_differing_units_are_compared_exactly() -> None:
    left = {"t": pa.array([1, 2], pa.timestamp("s", "UTC"))}
    right = facts([10**9 + 1, 2 * 10**9])
    right["t"] = pa.array(right["t"], pa.timestamp("ns", "Asia/Tokyo"))

    assert values(left, right) == [None, 1]
    assert values(left, right, direction="forward", tolerance="1ns") == [0, 1]


def test_times_that_nanoseconds_cannot_count_are_compared_too() -> None:
    left = {"t": pa.array([253_402_300_799, -62_135_596_800], pa.timestamp("s"))}
    right = {"t": pa.array([-(2**63) + 1, 2**63 - 1], pa.timestamp("ns")), "v": [0, 1]}

    assert values(left, right) == [1, None]
    assert values(left, right, direction="nearest") == [1, 0]
    assert values(left, right, direction="nearest", tolerance="1d") == [None, None]


def test_dates_are_midnight_utc() -> None:
    assert values({"t": [date(2024, 1, 2)]}, facts([datetime(2024, 1, 1, 23), datetime(2024, 1, 2, 1)])) == [0]


def test_huge_unsigned_integers_are_times() -> None:
    left, right = {"t": pa.array([2**64 - 1, 2**63], pa.uint64())}, {"t": pa.array([2**63 - 1, -5], pa.int64()), "v": [0, 1]}

    assert values(left, right) == [0, 0]
    assert values(left, right, tolerance=1) == [None, 0]
    assert values(right, left | {"v": [0, 1]}, "v_right", direction="forward") == [1, 1]


@pytest.mark.parametrize("large", ["text", "bytes"])
def test_texts_are_keys_whatever_their_encoding(large: str) -> None:
    texts = ["b", "a", "b"] if large == "text" else [b"b", b"a", b"b"]
    plain = pa.array(texts)
    encodings = [plain, plain.dictionary_encode(), plain.cast(pa.large_string() if large == "text" else pa.large_binary())]
    encodings += [plain.cast(pa.string_view() if large == "text" else pa.binary_view())]

    for one in encodings:
        for other in encodings:
            assert values({"t": [9, 9, 9], "k": one}, facts([1, 2, 3], k=other), by="k") == [2, 1, 2]


def test_dictionaries_that_differ_from_chunk_to_chunk_are_unified() -> None:
    chunks = pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", "c"]).dictionary_encode()])
    right = pa.table({"t": [1, 2, 3, 4], "k": chunks, "v": chunks})

    answer = ml.asof_join({"t": [9, 9, 9], "k": ["c", "b", "a"]}, right, on="t", by="k")

    assert answer["v"].to_pylist() == ["c", "b", "a"]
    assert pa.types.is_dictionary(answer["v"].type)


def test_many_kinds_of_keys_make_one_key() -> None:
    struct = pa.array([{"x": 1, "y": "p"}, {"x": 1, "y": "q"}, None], pa.struct({"x": pa.int64(), "y": pa.string()}))
    decimals = pa.array([Decimal("1.50")] * 3, pa.decimal128(10, 2))
    left = {"t": [9] * 3, "a": pa.array([1] * 3, pa.int16()), "b": decimals, "c": struct, "d": [True] * 3}
    right = {"t": [1, 2, 3], "a": pa.array([1] * 3, pa.uint64()), "b": decimals.cast(pa.decimal128(30, 5)), "c": struct, "d": [True] * 3}

    assert values(left, right | {"v": [0, 1, 2]}, by=["a", "b", "c", "d"]) == [0, 1, None]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([True, None, False]),
        pa.array(["x", None, "z"], pa.large_string()),
        pa.array(["x", None, "z"], pa.string_view()),
        pa.array([b"xy", None, b"zz"], pa.binary(2)),
        pa.array([Decimal("1.5"), None, Decimal("2.5")], pa.decimal256(50, 1)),
        pa.array([[1], None, []], pa.list_(pa.int64())),
        pa.array([[1.0, 2.0], None, [3.0, None]], pa.list_(pa.float64(), 2)),
        pa.array([{"a": 1}, None, {"a": None}], pa.struct({"a": pa.int32()})),
        pa.array([1, None, 3], pa.duration("ms")),
        pa.array([1, None, 3], pa.timestamp("ns", "Europe/London")),
        pa.array([1, None, 3], pa.int8()),
        pa.array([None] * 3, pa.null()),
        pa.array(["x", None, "x"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_right_columns_of_any_type_keep_type_and_values(column: pa.Array) -> None:
    chunked = pa.chunked_array([column[:1], column[1:1], column[1:]])
    right = pa.table({"t": [1, 2, 3], "v": chunked})

    answer = ml.asof_join({"t": [3, 0, 2, 1]}, right, on="t")["v"]

    assert answer.type == column.type
    assert answer.to_pylist() == [column[2].as_py(), None, None, column[0].as_py()]


# ---------------------------------------------------------------- the answer


def test_left_rows_keep_order_and_right_columns_follow() -> None:
    answer = ml.asof_join(LEFT, RIGHT, on="t", by="k")

    assert answer.column_names == ["t", "k", "x", "v"]
    assert answer.select(["t", "k", "x"]).to_pydict() == LEFT


def test_names_of_both_tables_get_a_suffix_and_a_differing_time_is_kept() -> None:
    right = {"when": [1], "key": ["a"], "x": [7]}

    answer = ml.asof_join(LEFT, right, left_on="t", right_on="when", left_by="k", right_by="key", suffix="_then")

    assert answer.column_names == ["t", "k", "x", "when", "x_then"]
    assert answer["x_then"].to_pylist() == [7, None, 7]


def test_columns_may_name_the_matched_time() -> None:
    assert ml.asof_join(LEFT, RIGHT, on="t", by="k", columns=["t"])["t_right"].to_pylist() == [1, 4, 9]


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("direction", ["backward", "forward", "nearest"])
@pytest.mark.parametrize("keys", [(), ("k",)])
def test_empty_tables_join(rows: int, direction: Any, keys: Any) -> None:
    left, right = pa.table(LEFT), pa.table(RIGHT)

    of_empty_right = ml.asof_join(left[:rows], right[:0], on="t", by=keys, direction=direction)
    of_empty_left = ml.asof_join(left[:0], right[:rows], on="t", by=keys, direction=direction)

    assert of_empty_right["v"].to_pylist() == [None] * rows
    assert of_empty_right["v"].type == of_empty_left["v"].type == pa.float64()
    assert of_empty_left.num_rows == 0


def test_large_tables_are_joined_alike_by_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    left = pa.table({"t": rng.integers(0, 10**6, 5_000), "k": rng.integers(0, 300, 5_000)})
    right = pa.table({"t": rng.integers(0, 10**6, 80_000), "k": rng.integers(0, 400, 80_000), "v": np.arange(80_000)})
    in_time = right.sort_by("t")
    expected = ml.asof_join(left, right, on="t", by="k")
    monkeypatch.setattr("mlstore.engine.limits.READ_THREADS", 4)
    monkeypatch.setattr("mlstore.engine.limits.PARALLEL_ROWS", 100)

    assert ml.asof_join(left, right, on="t", by="k").equals(expected)
    assert ml.asof_join(left, in_time, on="t", by="k", columns=["t"]).equals(ml.asof_join(left, right, on="t", by="k", columns=["t"]))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"on": "nope"}, ml.SchemaMismatchError, "left: no column 'nope'"),
        ({"by": ["k", "nope"]}, ml.SchemaMismatchError, "left: no column 'nope'"),
        ({"on": None}, ml.UsageError, "give either on, or both left_on and right_on"),
        ({"left_on": "t"}, ml.UsageError, "give either on, or both left_on and right_on"),
        ({"left_by": "k"}, ml.UsageError, "give either by"),
        ({"by": (), "left_by": ["k"], "right_by": ["k", "v"]}, ml.UsageError, "as many left_by as right_by"),
        ({"direction": "sideways"}, ml.UsageError, "direction: 'sideways' is none of 'backward', 'forward', 'nearest'"),
        ({"nulls": "skip"}, ml.UsageError, "nulls: 'skip'"),
        ({"tolerance": -1}, ml.UsageError, "below zero"),
        ({"tolerance": float("nan")}, ml.UsageError, "not a number"),
        ({"tolerance": 1.5}, ml.UsageError, "not whole"),
        ({"tolerance": "6h"}, ml.UsageError, "the column joined on is int64"),
        ({"tolerance": True}, ml.UsageError, "True is not a number"),
        ({"known_at": "left"}, ml.UsageError, "without created"),
        ({"created": "v"}, ml.SchemaMismatchError, "right.v is double, not a time"),
        ({"columns": "v"}, ml.UsageError, "give a list"),
        ({"columns": ["nope"]}, ml.SchemaMismatchError, "right: no column 'nope'"),
        ({"columns": ["t"], "suffix": None}, ml.NameClashError, "both tables have a column 't'"),
        ({"columns": ["v", "v"]}, ml.NameClashError, "two columns named 'v'"),
        ({"columns": ["t"], "suffix": ""}, ml.NameClashError, "two columns named 't'"),
    ],
)
def test_a_wrong_call_is_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        ml.asof_join(LEFT, RIGHT, **({"on": "t", "by": "k"} | changes))


@pytest.mark.parametrize(
    ("times", "other_times", "switches", "message"),
    [
        ([1], [1.0], {}, "times of unlike types: left.t is int64, right.t is double"),
        ([1], [datetime(2024, 1, 1)], {}, "left.t is int64, right.t is timestamp"),
        (["noon"], ["noon"], {}, "left.t: string has no distances"),
        ([datetime(2024, 1, 1)], [datetime(2024, 1, 1)], {"tolerance": 5}, "the unit of a number would be a guess"),
        ([datetime(2024, 1, 1)], [datetime(2024, 1, 1)], {"tolerance": timedelta(-1)}, "not a positive duration"),
        ([datetime(2024, 1, 1)], [datetime(2024, 1, 1)], {"tolerance": "soon"}, "is not a duration"),
    ],
)
def test_times_that_cannot_be_compared_are_refused(times: Any, other_times: Any, switches: Any, message: str) -> None:
    with pytest.raises(ml.UsageError, match=message):
        ml.asof_join({"t": times}, {"t": other_times}, on="t", **switches)


@pytest.mark.parametrize(
    ("key", "other_key"), [([1], ["1"]), (["a"], [b"a"]), ([True], [1]), ([[1]], [[1]]), ([{"x": 1}], [{"y": 1}]), ([1], [Decimal(1)])]
)
def test_keys_that_cannot_be_compared_are_refused(key: Any, other_key: Any) -> None:
    with pytest.raises(ml.SchemaMismatchError, match=r"left\.k"):
        ml.asof_join(pa.table({"t": [1], "k": key}), pa.table({"t": [1], "k": other_key}), on="t", by="k")


def test_tables_with_two_columns_of_one_name_are_refused() -> None:
    twice = pa.table([[1], [2]], names=["t", "t"])

    with pytest.raises(ml.NameClashError, match="right: two columns are named 't'"):
        ml.asof_join(LEFT, twice, on="t")

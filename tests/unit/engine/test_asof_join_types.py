"""asof_join of unlike columns: keys and times of any wrapping and unit meet where their values are equal, or are refused by name."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

import mlstore as ml

DAYS = [date(2026, 1, 1), date(2026, 1, 2), None]
STAMPS = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), None]
TEXTS = ["a", "b", None]


class Tagged(pa.ExtensionType):
    """Texts with a meaning of somebody's own."""

    def __init__(self) -> None:
        super().__init__(pa.string(), "tests.tagged")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Tagged:
        return cls()


def runs(values: list[Any], kind: pa.DataType) -> pa.Array:
    return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, len(values) + 1), pa.int32()), pa.array(values, kind))


def met(left: Any, right: Any, **switches: Any) -> list[int | None]:
    """For each left key the number of the right row it meets."""
    left_table = pa.table({"t": [9] * len(left), "k": left})
    right_table = pa.table({"t": [1] * len(right), "k": right, "row": list(range(len(right)))})
    found: list[int | None] = ml.asof_join(left_table, right_table, on="t", by="k", **switches)["row"].to_pylist()
    return found


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pa.array(DAYS, pa.date64()), pa.array(STAMPS, pa.timestamp("us", "UTC"))),
        (pa.array(DAYS, pa.date64()), pa.array(DAYS, pa.date32())),
        (pa.ExtensionArray.from_storage(Tagged(), pa.array(TEXTS)), pa.array(TEXTS)),
        (runs(TEXTS, pa.string()), pa.array(TEXTS)),
        (pa.DictionaryArray.from_arrays(pa.array([1, 0, 2]), pa.array(["b", "a", None])), pa.array(TEXTS)),
        (pa.array([1.5, -0.0, None]), pa.array([1.5, 0.0, None], pa.float32())),
        (pa.array([Decimal("1.50"), Decimal("2"), None]), pa.array([Decimal("1.5"), Decimal("2.000"), None])),
    ],
    ids=["days of milliseconds", "days", "an extension", "runs", "a dictionary with a null", "floats", "decimals"],
)
def test_keys_meet_where_their_values_are_equal(left: pa.Array, right: pa.Array) -> None:
    assert met(left, right) == [0, 1, None]
    assert met(right, left) == [0, 1, None]


@pytest.mark.parametrize("other", [pa.array(["a", None]), pa.nulls(2)])
def test_keys_that_are_all_null_meet_nothing(other: pa.Array) -> None:
    assert met(pa.nulls(2), other) == [None, None]
    assert met(other, pa.nulls(2)) == [None, None]


def test_a_dictionary_without_rows_has_no_keys() -> None:
    nobody = pa.chunked_array([], pa.dictionary(pa.int32(), pa.string()))

    assert met(pa.array(["a"]), nobody) == [None]
    assert met(nobody, pa.array(["a"])) == []


@pytest.mark.parametrize(("left", "right"), [([4, 9], runs([1, 5], pa.int64())), (pa.array([4, 9]).dictionary_encode(), [1, 5])])
def test_times_may_be_wrapped(left: Any, right: Any) -> None:
    assert ml.asof_join({"t": left}, {"t": right, "row": [0, 1]}, on="t")["row"].to_pylist() == [0, 1]


@pytest.mark.parametrize("times", [[1, 5], [1.0, 5.0]])
def test_times_that_are_all_null_find_nothing(times: list[Any]) -> None:
    assert ml.asof_join({"t": pa.nulls(2)}, {"t": times, "row": [0, 1]}, on="t")["row"].to_pylist() == [None, None]


def test_decimals_that_no_type_holds_together_are_refused() -> None:
    wide, fine = pa.array([Decimal(1)], pa.decimal256(70, 0)), pa.array([Decimal(1)], pa.decimal256(70, 60))

    with pytest.raises(ml.SchemaMismatchError, match=r"keys of unlike decimals: .*decimal256\(70, 0\).*decimal256\(70, 60\)"):
        met(wide, fine)


def test_what_was_known_at_a_number_is_refused() -> None:
    right = pa.table({"t": [1], "made": pa.array([STAMPS[0]]), "row": [0]})

    with pytest.raises(ml.SchemaMismatchError, match=r"known_at=.left., and .* is int64"):
        ml.asof_join({"t": [4]}, right, on="t", created="made", known_at="left")

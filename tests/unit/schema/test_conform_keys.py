"""Keys of labels made to fit the keys of an entity: cast by value, null where no row can have them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlstore.errors import SchemaMismatchError, UsageError
from mlstore.schema import dtypes as t
from mlstore.schema.conform import conform_keys
from mlstore.schema.layout import Field
from tests.support.integers import INTEGERS, bounds, integers

NOON_US = 1_714_564_800_000_000

KEYS = (Field("id", t.int8), Field("at", t.timestamp("s")), Field("day", t.date), Field("city", t.string))


def labels(**changes):
    columns = {"id": [1], "at": pa.array([5], pa.timestamp("s")), "day": [date(2024, 5, 1)], "city": ["a"], "label": [True]}
    return pa.table(columns | changes)


def test_keys_of_labels_are_cast_and_other_columns_left_alone():
    result = conform_keys(KEYS, labels(), what="labels")

    assert [column.type for column in result] == [field.dtype.arrow for field in KEYS]
    assert [column.to_pylist()[0] for column in result] == [1, datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC), date(2024, 5, 1), "a"]


def test_a_label_key_that_no_row_can_have_is_null():
    table = labels(id=[1000], at=pa.array([5001], pa.timestamp("ms")), day=pa.array([NOON_US], pa.timestamp("us")), city=pa.nulls(1))

    assert [column.null_count for column in conform_keys(KEYS, table, what="labels")] == [1, 1, 1, 1]


@given(st.sampled_from(INTEGERS), st.sampled_from(INTEGERS), st.lists(st.one_of(st.none(), integers), min_size=1, max_size=5))
def test_label_integers_match_by_value_whatever_their_width(given_type, dtype, values):
    low, high = bounds(given_type)
    assume(all(value is None or low <= value <= high for value in values))
    table = pa.table({"id": pa.array(values, given_type.arrow)})

    (result,) = conform_keys((Field("id", dtype),), table, what="labels")

    low, high = bounds(dtype)
    assert result.type == dtype.arrow
    assert result.to_pylist() == [value if value is not None and low <= value <= high else None for value in values]


def test_a_label_frame_without_its_key_is_refused():
    with pytest.raises(SchemaMismatchError, match="labels: no column 'city'; given: 'id', 'at', 'day', 'town', 'label'"):
        conform_keys(KEYS, labels().rename_columns(["id", "at", "day", "town", "label"]), what="labels")


def test_a_label_key_of_the_wrong_type_or_given_twice_is_refused():
    with pytest.raises(SchemaMismatchError, match=r"labels\.id: expected int8, got string"):
        conform_keys(KEYS, labels(id=["1"]), what="labels")
    with pytest.raises(UsageError, match="more than one column 'id'"):
        conform_keys(KEYS, labels().append_column("id", [[1]]), what="labels")

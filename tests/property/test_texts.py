"""Texts are numbered as a dict numbers them, and ordered as Python orders bytes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore._core.texts import find_texts, lay_words, number_texts
from mlstore.format.keyvector import Keys
from mlstore.format.texts import find_column, number_column, order_texts, take_texts

# Few letters make equal texts and long common beginnings.
texts = st.binary(max_size=3) | st.text("ab\0", max_size=20).map(str.encode)


def texts_of(keys: Keys) -> list[bytes]:
    return keys.encoded()


@given(st.lists(st.none() | texts, max_size=30), st.integers(0, 5), st.booleans())
def test_texts_are_numbered_in_the_order_they_are_met(values: list[bytes | None], skipped: int, is_large: bool) -> None:
    column = pa.array([b"skipped"] * skipped + values, pa.large_binary() if is_large else pa.binary())[skipped:]
    expected = list(dict.fromkeys(value for value in values if value is not None))

    distinct, numbers = number_column(column)

    assert texts_of(distinct) == expected
    assert numbers.tolist() == [-1 if value is None else expected.index(value) for value in values]


def test_many_texts_are_numbered_as_a_dict_does() -> None:
    rng = np.random.default_rng(1)
    values = [f"user_{number}" for number in rng.integers(0, 30_000, 60_000).tolist()]
    expected = {value: number for number, value in enumerate(dict.fromkeys(values))}

    distinct, numbers = number_column(pa.array(values))

    assert numbers.tolist() == [expected[value] for value in values]
    assert texts_of(distinct) == [value.encode() for value in expected]


@given(st.lists(texts, unique=True, max_size=30))
def test_texts_that_begin_no_other_are_put_in_order(values: list[bytes]) -> None:
    closed = [value.replace(b"\0", b"\0\1") + b"\0\0" for value in values]
    vector = Keys.from_encoded(closed, "bytes")

    order = order_texts(vector)

    assert [closed[place] for place in order] == sorted(closed)
    assert texts_of(take_texts(vector, order)) == sorted(closed)


@pytest.mark.parametrize("prefix", [0, 1, 7, 8, 9, 100], ids=lambda size: f"{size} bytes in common")
def test_texts_with_long_common_beginnings_are_put_in_order(prefix: int) -> None:
    rng = np.random.default_rng(prefix)
    values = [b"p" * prefix + str(number).encode() + b"\0\0" for number in rng.permutation(3000).tolist()]

    order = order_texts(Keys.from_encoded(values, "bytes"))

    assert [values[place] for place in order] == sorted(values)


def test_arrays_that_do_not_fit_are_refused() -> None:
    offsets, data, nothing = np.array([0, 1]), np.zeros(1, np.uint8), np.empty(0, np.uint8)
    numbers, firsts = np.full(1, 7, np.int32), np.zeros(1, np.int64)

    with pytest.raises(ValueError, match="differ in length"):
        number_texts(offsets, data, nothing, 1, np.zeros(2, np.int32), firsts)
    with pytest.raises(ValueError, match="differ in length"):
        number_texts(offsets, data, np.zeros(2, np.uint8), 1, numbers, firsts)
    with pytest.raises(ValueError, match="beyond the data"):
        number_texts(np.array([0, 2]), data, nothing, 1, numbers, firsts)
    with pytest.raises(ValueError, match="differ in length"):
        lay_words(offsets, data, 0, np.zeros(2, np.uint32), np.zeros(1, np.uint64))

    assert numbers.tolist() == [7]


@given(st.lists(texts, unique=True, max_size=20), st.lists(st.none() | texts, max_size=30))
def test_texts_are_found_among_known_ones_as_a_dict_finds_them(known: list[bytes], values: list[bytes | None]) -> None:
    expected = {text: place for place, text in enumerate(known)}

    numbers = find_column(number_column(pa.array(known, pa.binary()))[0], pa.array(values, pa.binary()))

    assert numbers.tolist() == [expected.get(value, -1) for value in values]


def test_known_texts_must_be_distinct() -> None:
    twice = Keys.from_encoded([b"a", b"a"], "bytes")

    with pytest.raises(ValueError, match="not distinct"):
        find_texts(twice.offsets, twice.data, twice.offsets, twice.data, np.empty(0, np.uint8), 1, np.empty(2, np.int32))

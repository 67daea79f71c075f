"""The gather kernels agree with loops over bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore._core.gather import gather_bits, gather_fixed
from tests.support.naive_gather import naive_bits, naive_gather

WIDTHS = [1, 2, 4, 8, 3, 16, 32]


@st.composite
def picks(draw: st.DrawFn, n_rows: int) -> tuple[list[int], list[int], int]:
    """(rows, slots, slots in all): any rows in any order, each slot at most once, some slots left as they are."""
    n_slots = draw(st.integers(0, 12))
    slots = draw(st.lists(st.integers(0, n_slots - 1), unique=True)) if n_slots and n_rows else []
    rows = draw(st.lists(st.integers(0, max(0, n_rows - 1)), min_size=len(slots), max_size=len(slots)))
    return rows, slots, n_slots


@pytest.mark.parametrize("width", WIDTHS)
@given(data=st.data())
def test_values_of_every_width_reach_their_slots_and_others_stay(width: int, data: st.DataObject) -> None:
    n_rows = data.draw(st.integers(0, 9))
    source = data.draw(st.binary(min_size=n_rows * width, max_size=n_rows * width))
    rows, slots, n_slots = data.draw(picks(n_rows))
    before = data.draw(st.binary(min_size=n_slots * width, max_size=n_slots * width))
    answer = np.frombuffer(before, np.uint8).copy()

    gather_fixed(np.frombuffer(source, np.uint8), width, np.array(rows, np.int64), np.array(slots, np.int64), answer)

    assert answer.tobytes() == naive_gather(source, width, rows, slots, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_values_agree_with_numpy(dtype: Any) -> None:
    rng = np.random.default_rng(5)
    source = rng.integers(0, 200, 1000).astype(dtype)
    rows, slots = rng.integers(0, 1000, 400), rng.permutation(500)[:400]
    answer = np.full(500, 7, dtype)
    expected = answer.copy()
    expected[slots] = source[rows]

    gather_fixed(source.view(np.uint8), source.itemsize, rows, slots, answer.view(np.uint8))

    assert np.array_equal(answer, expected)


@given(st.data())
def test_bits_reach_their_slots_from_any_offset(data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, 17))
    bits = data.draw(st.lists(st.booleans(), max_size=40))
    rows, slots, n_slots = data.draw(picks(len(bits)))
    bitmap = np.packbits(np.array([True] * offset + bits, np.bool_), bitorder="little")
    answer = np.full(n_slots, 9, np.uint8)

    gather_bits(bitmap, offset, np.array(rows, np.int64), np.array(slots, np.int64), answer)

    assert answer.tobytes() == naive_bits(bits, rows, slots, b"\x09" * n_slots)


def test_rows_and_slots_of_different_lengths_are_refused() -> None:
    rows, slots, answer = np.array([0, 0]), np.array([0]), np.array([7], np.uint8)

    with pytest.raises(ValueError, match="differ in length"):
        gather_fixed(np.zeros(1, np.uint8), 1, rows, slots, answer)
    with pytest.raises(ValueError, match="differ in length"):
        gather_bits(np.zeros(1, np.uint8), 0, rows, slots, answer)

    assert answer.tolist() == [7]

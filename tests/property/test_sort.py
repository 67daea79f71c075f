"""Ordering rows agrees with Python's stable sort, on every path the kernel may take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore._core.sort import part_rows, sort_parts, sort_rows, sort_words, split_words
from mlstore.format.order import Job, order_by_time, order_rows
from tests.support.naive_keys import naive_order

LOW, HIGH = -(2**63), 2**63 - 1

# (codes, n_groups, time, created)
Table = tuple[list[int], int, list[int], list[int] | None]

# Few values make ties; extremes make ranges of all 64 bits; steps make constant low bits.
times = st.one_of(
    st.integers(0, 3),
    st.integers(-5, 5),
    st.integers(LOW, HIGH),
    st.sampled_from([LOW, -1, 0, HIGH]),
    st.integers(0, 9).map(lambda s: s << 40),
)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    n_groups = draw(st.sampled_from([1, 2, 7, 300, 70_000, (1 << 18) + 5]))
    n = draw(st.integers(0, 40))
    rows = st.lists(draw(st.sampled_from([times, st.integers(0, 1)])), min_size=n, max_size=n)
    codes = draw(st.lists(st.sampled_from([0, n_groups // 2, n_groups - 1]) | st.integers(0, n_groups - 1), min_size=n, max_size=n))
    time, created = draw(rows), draw(st.none() | rows)
    shape = draw(st.sampled_from(["as drawn", "in order of time", "in order"]))
    if shape != "as drawn":
        time = sorted(time)
        created = None if created is None else [0] * n
    return sorted(codes) if shape == "in order" else codes, n_groups, time, created


def assert_ordered(codes: list[int], n_groups: int, time: list[int], created: list[int] | None, *, drop_null: bool = False) -> None:
    known = None if created is None else np.array(created, np.int64)

    order, offsets = order_rows(np.array(codes, np.int32), n_groups, np.array(time, np.int64), known, drop_null=drop_null)

    assert order.dtype == np.uint32
    assert offsets.dtype == np.int64
    expected_order, _ = naive_order(codes, 0, time, created)
    assert order.tolist() == expected_order
    counts = np.bincount(np.array([code for code in codes if code >= 0], np.int64), minlength=n_groups)
    assert np.array_equal(offsets, np.concatenate([[0], np.cumsum(counts)]))


@given(tables())
def test_rows_come_in_the_order_of_code_then_time_then_created_then_position(table: Table) -> None:
    assert_ordered(*table)


@given(tables(), st.data())
def test_rows_of_null_keys_are_left_out_when_asked(table: Table, data: st.DataObject) -> None:
    codes, n_groups, time, created = table
    nulls = data.draw(st.lists(st.booleans(), min_size=len(codes), max_size=len(codes)))
    holed = [-1 if is_null else code for code, is_null in zip(codes, nulls, strict=True)]

    assert_ordered(holed, n_groups, time, created, drop_null=True)


@pytest.mark.parametrize("n", [30_000, 300_000])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("n_groups", "time_bits"), [(3, 2), (1000, 20), (400_000, 43), (400_000, 63), (1, 63)])
def test_large_tables_agree_with_numpys_stable_sort(n_groups: int, time_bits: int, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_groups, n).astype(np.int32)
    time, created = rng.integers(-(2**time_bits), 2**time_bits, (2, n))
    if seed % 2:
        time, created = np.sort(time), np.zeros_like(created)

    order, offsets = order_rows(codes, n_groups, time, created)

    assert np.array_equal(order, np.lexsort((created, time, codes)))
    assert np.array_equal(offsets, np.searchsorted(np.sort(codes), np.arange(n_groups + 1)))


def in_reverse(jobs: Sequence[Job], rows: int) -> None:
    for job in reversed(jobs):
        job()


@given(tables())
def test_rows_ordered_by_time_come_with_their_times(table: Table) -> None:
    codes, n_groups, time, _ = table

    order, ordered_time, offsets = order_by_time(np.array(codes, np.int32), n_groups, np.array(time, np.int64), in_reverse)

    expected, _ = naive_order(codes, 0, time, None)
    assert (range(len(codes)) if order is None else order.tolist()) == (range(len(codes)) if order is None else expected)
    assert order is not None or expected == sorted(expected)
    assert ordered_time.tolist() == [time[row] for row in expected]
    assert np.array_equal(offsets, np.concatenate([[0], np.cumsum(np.bincount(np.array(codes, np.int64), minlength=n_groups))]))


@pytest.mark.parametrize("n", [30_000, 300_000])
@pytest.mark.parametrize(("n_groups", "time_bits"), [(1, 62), (3, 2), (1000, 20), (400_000, 43), (400_000, 44), (1, 63)])
def test_many_rows_ordered_by_time_agree_with_their_order_alone(n_groups: int, time_bits: int, n: int) -> None:
    rng = np.random.default_rng(n)
    codes, time = (rng.zipf(1.3, n) % n_groups).astype(np.int32), rng.integers(-(2 ** (time_bits - 1)), 2 ** (time_bits - 1), n)

    order, ordered_time, offsets = order_by_time(codes, n_groups, time, in_reverse)

    expected_order, expected_offsets = order_rows(codes, n_groups, time)
    assert np.array_equal(order, expected_order)
    assert np.array_equal(ordered_time, time[expected_order])
    assert np.array_equal(offsets, expected_offsets)


def test_parts_that_do_not_fit_are_refused() -> None:
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)
    words, rows, ends = np.zeros(2, np.uint64), np.zeros(2, np.uint32), np.array([0, 2], np.uint32)

    with pytest.raises(ValueError, match="differ in length"):
        part_rows(np.zeros(2, np.int32), one, 0, 1, 0, words, rows, ends)
    with pytest.raises(ValueError, match="bits lie in"):
        part_rows(np.zeros(2, np.int32), two, 0, 64, 0, words, rows, ends)
    with pytest.raises(ValueError, match="beyond the parts"):
        part_rows(np.array([0, 9], np.int32), two, 0, 1, 1, words, rows, ends)
    with pytest.raises(ValueError, match="no such parts"):
        sort_parts(words, rows, ends, 1, 3, 1, words, rows)
    with pytest.raises(ValueError, match="does not fit"):
        sort_parts(words, rows, np.array([0, 2], np.uint32), 0, 2, 1, words[:1], rows)
    with pytest.raises(ValueError, match="does not fit"):
        sort_parts(words, rows, np.array([1, 9], np.uint32), 0, 2, 1, words, rows)
    with pytest.raises(ValueError, match="a code lies outside"):
        split_words(np.array([8], np.uint64), 0, 2, two)


def test_strided_and_read_only_input_is_taken_as_it_is() -> None:
    codes = np.array([1, 9, 0, 9, 1, 9], np.int32)[::2]
    time = np.array([5, 4, 3], np.int64)
    time.flags.writeable = False

    order, offsets = order_rows(codes, 2, time)

    assert order.tolist() == [1, 2, 0]
    assert offsets.tolist() == [0, 1, 3]


@pytest.mark.parametrize("code", [-1, 2])
def test_a_code_out_of_range_is_refused_before_anything_is_written(code: int) -> None:
    with pytest.raises(ValueError, match=r"outside of \[0, n_groups\)"):
        order_rows(np.array([0, code], np.int32), 2, np.zeros(2, np.int64))
    with pytest.raises(ValueError, match=r"outside of \[0, n_groups\)"):
        order_by_time(np.array([0, code], np.int32), 2, np.zeros(2, np.int64), in_reverse)


@pytest.mark.parametrize("wrong", ["time", "created", "order", "offsets"])
def test_arrays_of_the_wrong_length_are_refused(wrong: str) -> None:
    lengths = {"time": 2, "created": 2, "order": 2, "offsets": 4} | {wrong: 1}

    with pytest.raises(ValueError, match=r"differ in length|n_groups \+ 1"):
        sort_rows(
            np.zeros(2, np.int32),
            3,
            np.zeros(lengths["time"], np.int64),
            np.zeros(lengths["created"], np.int64),
            np.zeros(lengths["order"], np.uint32),
            np.zeros(lengths["offsets"], np.int64),
        )


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3)))
def test_words_are_sorted_with_their_rows(values: list[int]) -> None:
    words, rows = np.array(values, np.uint64), np.arange(len(values), dtype=np.uint32)
    spare_words, spare_rows = np.empty_like(words), np.empty_like(rows)

    is_spare = sort_words(words, rows, spare_words, spare_rows, max(values, default=0).bit_length())

    assert (spare_words if is_spare else words).tolist() == sorted(values)
    assert (spare_rows if is_spare else rows).tolist() == sorted(range(len(values)), key=values.__getitem__)


def test_words_of_more_than_64_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="bits lie in"):
        sort_words(np.zeros(1, np.uint64), np.zeros(1, np.uint32), np.zeros(1, np.uint64), np.zeros(1, np.uint32), 65)


@pytest.mark.parametrize("n", [24, 25, 1 << 15, (1 << 15) + 1, (1 << 18) + 1, 600_000])
@pytest.mark.parametrize("shape", ["all 64 bits", "46 bits", "ties", "one far from the others", "bunched"])
def test_every_size_and_shape_of_words_is_sorted_and_ties_stay_in_place(n: int, shape: str) -> None:
    rng = np.random.default_rng(n)
    words = rng.integers(0, 2**46 if shape == "46 bits" else 2**64 - 1, n, np.uint64)
    if shape == "ties":
        words = (words % np.uint64(97)) << np.uint64(40)
    if shape == "one far from the others":
        words[:-1] >>= np.uint64(30)
    if shape == "bunched":
        words = (words >> np.uint64(36)) | (rng.integers(0, 3, n, np.uint64) << np.uint64(61))
    bits = int(words.max()).bit_length()
    sorted_words, rows = words.copy(), np.arange(n, dtype=np.uint32)
    spare_words, spare_rows = np.empty_like(words), np.empty_like(rows)

    is_spare = sort_words(sorted_words, rows, spare_words, spare_rows, bits)

    expected = np.argsort(words, kind="stable")
    assert np.array_equal(spare_rows if is_spare else rows, expected)
    assert np.array_equal(spare_words if is_spare else sorted_words, words[expected])

"""The order of rows: by group, time, created and place; rows without a group are left out or refused."""

from itertools import pairwise

import numpy as np
import pytest

from mlstore.format.order import order_rows, take_ints

CODES = np.array([1, 0, 1, 0, 1], np.int32)
TIME = np.array([5, 2, 5, 1, 3])


def groups(order: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
    return [order[start:stop].tolist() for start, stop in pairwise(offsets)]


def test_the_rows_of_a_group_come_oldest_first_and_ties_as_they_came():
    order, offsets = order_rows(CODES, 2, TIME)

    assert groups(order, offsets) == [[3, 1], [4, 0, 2]]


def test_ties_of_time_go_by_when_they_were_created():
    order, offsets = order_rows(CODES, 2, TIME, np.array([9, 0, 8, 0, 0]))

    assert groups(order, offsets) == [[3, 1], [4, 2, 0]]


def test_without_time_the_rows_of_a_group_stay_as_they_came():
    order, offsets = order_rows(CODES, 3, None)

    assert groups(order, offsets) == [[1, 3], [0, 2, 4], []]


def test_rows_without_a_group_are_left_out_where_that_is_asked_for():
    codes = np.array([1, -1, 1, 0, -1, 1], np.int32)
    time, created = np.array([5, 0, 5, 1, 9, 3]), np.array([9, 0, 8, 0, 0, 7])

    order, offsets = order_rows(codes, 2, time, created, drop_null=True)

    assert order.dtype == np.uint32
    assert groups(order, offsets) == [[3], [5, 2, 0]]
    assert groups(*order_rows(codes, 2, None, drop_null=True)) == [[3], [0, 2, 5]]


def test_rows_without_a_group_are_refused_where_none_should_be():
    with pytest.raises(ValueError, match="outside"):
        order_rows(np.array([0, -1], np.int32), 1, None)


def test_no_rows_are_no_groups():
    order, offsets = order_rows(np.empty(0, np.int32), 2, None, drop_null=True)

    assert groups(order, offsets) == [[], []]


def test_values_are_taken_from_any_places():
    assert take_ints(np.array([7, 8, 9])[::-1], np.array([2, 0, 2], np.uint32)).tolist() == [7, 9, 7]

"""A row written alone leaves the same records as a batch of one: the shorter way is a way, not another meaning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlstore as ml
from mlstore.engine.writing import alone
from mlstore.storage.keyspace import META, declared

ENTITY = ml.Entity("user", keys={"user_id": ml.int64})
PLAIN = ml.FeatureView("seen", entity=ENTITY, schema={"amount": ml.float64, "note": ml.string})
TOLD = ml.FeatureView("seen", entity=ENTITY, schema={"amount": ml.float64, "note": ml.string}, created_timestamp="known")
LATER = ml.FeatureView("seen", entity=ENTITY, schema={"amount": ml.float64, "note": ml.string}, available_after="1h")
EVENTS = ml.Table("seen", schema={"user_id": ml.int64, "amount": ml.float64, "note": ml.string})
SECOND = 1_000_000
START_US = 4_000_000_000 * SECOND  # later than any clock of a machine that runs this

ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.none() | st.floats(allow_nan=False), st.none() | st.text(max_size=3)),
    min_size=1,
    max_size=6,
)


def is_never_alone(*_: object) -> bool:
    return False


@contextmanager
def opened(definition: ml.FeatureView | ml.Table) -> Iterator[ml.Store]:
    ticks = iter(range(START_US, START_US + 1000 * SECOND, SECOND))
    with ml.open(":memory:") as store:
        store._session.clock_us = lambda: next(ticks)
        store.apply(ENTITY, definition)
        yield store


def as_dict(definition: ml.FeatureView | ml.Table, user: int, day: int, amount: float | None, note: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {"user_id": user, "amount": amount, "note": note}
    if isinstance(definition, ml.FeatureView):
        row["event_timestamp"] = f"2024-05-0{day + 1}"
    if definition is TOLD:
        row["known"] = f"2024-06-0{(user + day) % 3 + 1}"
    return row


def records(store: ml.Store) -> dict[str, dict[bytes, bytes]]:
    """Everything but what says which file it is, and when it was made."""
    with store._session.environment.reader() as reader:
        return {space.name: dict(reader.scan(space)) for space in declared() if space != META and space.name != "refs"}


@pytest.mark.parametrize("definition", [PLAIN, TOLD, LATER, EVENTS], ids=["plain", "created told", "available later", "a table"])
@given(rows=ROWS, fork=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_a_row_alone_leaves_the_records_of_a_batch_of_one(definition: ml.FeatureView | ml.Table, rows: list[Any], fork: int) -> None:
    found = []
    for way in (alone.is_alone, is_never_alone):
        with opened(definition) as store, mock.patch.object(alone, "is_alone", way):
            for number, row in enumerate(rows):
                line = store.branch("other") if number == fork else store
                line.write("seen", as_dict(definition, *row))
            store.verify()
            found.append(records(store))

    assert found[0] == found[1]


def test_one_dict_goes_alone_and_a_view_with_tiles_does_not() -> None:
    ways = list[bool]()
    original = alone.is_alone

    def watched(*args: Any) -> bool:
        ways.append(original(*args))
        return ways[-1]

    with opened(PLAIN) as store, mock.patch.object(alone, "is_alone", watched):
        store.online_features(["seen"], {"user_id": 1})  # so that the handle knows the view
        store.write("seen", as_dict(PLAIN, 1, 0, 1.0, None))
        store.write("seen", [as_dict(PLAIN, user, 0, 1.0, None) for user in range(2)])
        totals = ml.WindowView("totals", entity=ENTITY, source=PLAIN, aggregations=[ml.agg("amount", "sum", windows=["1d"])])
        store.apply(totals)
        store.write("seen", as_dict(PLAIN, 1, 1, 1.0, None))

    assert ways == [True, False, False]

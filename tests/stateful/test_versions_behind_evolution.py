"""A version stays readable, on every path, however the view evolves and whatever is written after it.

Rows of later schema revisions share tail and segments with the rows of the version. Readers of the version met them and gave up:
on a revision it did not know, or on a number too wide for the type it knew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow.compute as pc
import pytest

import mlstore as ml
from tests.support.worlds import shrink_limits

CARD = ml.Entity("card", keys={"card": ml.int64})

LABELS = {"card": [1, 2], "event_timestamp": ["2024-02-01", "2024-02-01"]}

WAYS_TO_READ: dict[str, Callable[[ml.Store], object]] = {
    "online, one key": lambda store: store.online_features(["spend"], {"card": 1}),
    "online, many keys": lambda store: store.online_features(["spend"], {"card": [1, 2]}).to_pydict(),
    "training set": lambda store: store.training_set(LABELS, ["spend"]).to_pydict(),
    "read": lambda store: store.read("spend").to_pydict(),
    "read as of": lambda store: store.read("spend", as_of="2024-02-01").to_pydict(),
    "read where": lambda store: store.read("spend", where=pc.field("amount") > 0).to_pydict(),
    "explain": lambda store: store.explain({"card": 1, "event_timestamp": "2024-02-01"}, "spend:amount").value,
}


def spend(nulls: str, **schema: ml.DType) -> ml.FeatureView:
    return ml.FeatureView("spend", entity=CARD, schema=schema, nulls=nulls)


@pytest.fixture(params=["row", "last_valid"])
def nulls(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["in the tail", "sealed", "bulk"])
def write_later(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[ml.Store, dict[str, list[object]]], None]:
    """Write rows in a way that leaves them in the tail, beside those of the version in one segment, or in segments of their own."""
    if request.param == "bulk":
        shrink_limits(monkeypatch)

    def write(store: ml.Store, columns: dict[str, list[object]]) -> None:
        times = 4 if request.param == "bulk" else 1
        store.write("spend", {name: values * times for name, values in columns.items()})
        if request.param == "sealed":
            store.optimize()

    return write


@pytest.fixture
def store(nulls: str) -> Iterator[ml.Store]:
    with ml.open(":memory:") as store:
        store.apply(CARD, spend(nulls, amount=ml.int16))
        store.write("spend", {"card": [1, 2], "event_timestamp": ["2024-01-01", "2024-01-01"], "amount": [5, None]})
        store.snapshot("v1")
        yield store


@pytest.mark.parametrize("ask", WAYS_TO_READ.values(), ids=WAYS_TO_READ)
def test_a_version_is_read_after_a_feature_was_added(
    store: ml.Store, nulls: str, write_later: Callable[[ml.Store, dict[str, list[object]]], None], ask: Callable[[ml.Store], object]
) -> None:
    before = ask(store.at("v1"))
    store.apply(spend(nulls, amount=ml.int16, note=ml.string))

    write_later(store, {"card": [1, 2], "event_timestamp": ["2024-01-01", "2024-01-02"], "amount": [7, 8], "note": ["a", None]})

    assert ask(store.at("v1")) == before


@pytest.mark.parametrize("ask", WAYS_TO_READ.values(), ids=WAYS_TO_READ)
def test_a_version_is_read_after_a_feature_was_widened(
    store: ml.Store, nulls: str, write_later: Callable[[ml.Store, dict[str, list[object]]], None], ask: Callable[[ml.Store], object]
) -> None:
    before = ask(store.at("v1"))
    store.apply(spend(nulls, amount=ml.int64))

    write_later(store, {"card": [1, 2], "event_timestamp": ["2024-01-01", "2024-01-02"], "amount": [2**40, 2**41]})

    assert ask(store.at("v1")) == before


@pytest.mark.parametrize("ask", WAYS_TO_READ.values(), ids=WAYS_TO_READ)
def test_a_version_that_knows_several_revisions_is_read_beside_rows_of_later_ones(
    store: ml.Store, nulls: str, ask: Callable[[ml.Store], object]
) -> None:
    """A row of a later revision was taken from behind the rows of those that the version knows."""
    store.apply(spend(nulls, amount=ml.int32))
    store.write("spend", {"card": [1], "event_timestamp": ["2024-01-02"], "amount": [6]})
    store.snapshot("v2")
    before = ask(store.at("v2"))
    store.apply(spend(nulls, amount=ml.int32, note=ml.string))

    store.write("spend", {"card": [2], "event_timestamp": ["2024-01-03"], "amount": [7], "note": ["a"]})

    assert ask(store.at("v2")) == before

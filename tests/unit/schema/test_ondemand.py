"""On-demand views as definitions: what is refused, what is kept, how they evolve."""

from __future__ import annotations

import doctest
import pickle
from dataclasses import replace
from typing import Any

import pytest

import mlstore as ml
from mlstore.schema import ondemand
from mlstore.schema.evolution import evolve
from mlstore.schema.record import from_record, to_record

SHARE = ml.col("amount") / ml.col("limit")
USE = ml.OnDemandView("use", inputs=["account:limit"], request={"amount": ml.float64}, features={"share": SHARE}, tags={"tier": "gold"})


@ml.on_demand(inputs=["account:limit"], request={"amount": ml.float64}, returns={"share": ml.float64}, over="numpy", owner="risk")
def share(columns: dict[str, Any]) -> dict[str, Any]:
    """How much of the limit
    is used.

    More of it.
    """
    return {"share": columns["amount"] / columns["limit"]}


@pytest.mark.parametrize("view", [USE, share], ids=["expressions", "function"])
def test_an_on_demand_view_is_a_value(view: ml.OnDemandView) -> None:
    assert from_record(to_record(view)) == view
    assert pickle.loads(pickle.dumps(view)) == view
    assert hash(from_record(to_record(view))) == hash(view)
    assert view != replace(view, owner="else")


def test_views_whose_expressions_differ_are_not_equal() -> None:
    same, other = ({"share": ml.col(one) / ml.col(two)} for one, two in (("amount", "limit"), ("limit", "amount")))

    assert replace(USE, features=same) == USE
    assert replace(USE, features=other) != USE


def test_the_decorator_names_and_describes_the_view_and_keeps_the_function_as_text() -> None:
    assert (share.name, share.description, share.owner) == ("share", "How much of the limit is used.", "risk")
    assert share.outputs == ("share",)
    assert share.code is not None
    assert share.code.name.endswith("test_ondemand:share")
    assert "return" in share.code.source
    assert share.code.source in str(to_record(share)["function"][1])


def test_a_view_can_be_called_for_trying_it_out() -> None:
    import numpy as np
    import pyarrow as pa

    assert share({"amount": np.array([1.0]), "limit": np.array([4.0])})["share"].tolist() == [0.25]
    assert USE({"amount": pa.array([1.0]), "limit": pa.array([4.0])})["share"].to_pylist() == [0.25]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": {"x": SHARE}}, "neither inputs nor request"),
        ({"inputs": ["a"]}, "no features"),
        ({"inputs": ["a"], "features": {"x": "amount / limit"}}, "feature 'x' is 'amount / limit'"),
        ({"inputs": ["a"], "features": {"1x": SHARE}}, "not a name"),
        ({"inputs": ["a"], "features": {"x": SHARE}, "returns": {"x": ml.float64}}, "belong to a function"),
        ({"inputs": ["a"], "features": {"x": SHARE}, "function": lambda c: c}, "both features and a function"),
        ({"inputs": ["a"], "function": len, "returns": {"x": ml.int64}}, "no plain function"),
        ({"inputs": ["a"], "function": lambda price, limit: price, "returns": {"x": ml.int64}}, "does not take one dict of columns"),
        ({"inputs": ["a"], "function": share, "returns": {}}, "returns is empty"),
        ({"inputs": ["a", "a"], "features": {"x": SHARE}}, "named twice"),
        ({"inputs": ["a?offset=1d"], "features": {"x": SHARE}}, "an input with an offset"),
        ({"inputs": ["a b"], "features": {"x": SHARE}}, "does not name a view"),
        ({"inputs": ["a"], "features": {"x": SHARE}, "over": "pandas"}, "over"),
        ({"request": {"amount": "float"}, "features": {"x": SHARE}}, "request column 'amount'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ml.DefinitionError, match=message):
        ml.OnDemandView("bad", **arguments)


def test_notes_change_in_place_and_what_is_computed_makes_a_new_version() -> None:
    assert evolve(USE, USE).action == "unchanged"
    assert evolve(USE, replace(USE, description="x", owner="y", tags={})).action == "in_place"
    changed = evolve(USE, replace(USE, features={"share": SHARE * 2}))
    assert changed.action == "new_version"
    assert changed.changes == ("share: (amount / limit) -> ((amount / limit) * 2)",)
    assert evolve(USE, replace(USE, request={"amount": ml.int64})).action == "new_version"


def test_another_hash_makes_a_new_version_and_another_text_does_not() -> None:
    assert share.code is not None

    moved = evolve(share, replace(share, function=replace(share.code, name="else:share")))
    changed = evolve(share, replace(share, function=replace(share.code, digest="0" * 32)))

    assert (moved.action, moved.changes) == ("in_place", ("function: its text or place changed, not what it does",))
    assert (changed.action, changed.changes) == ("new_version", (f"function: hash {share.code.digest[:12]} -> {'0' * 12}",))


@pytest.mark.parametrize(
    ("field", "stored", "error"),
    [
        ("features", [["x", ["shell", [], None]]], ml.FormatVersionError),
        ("features", [["x", ["add", [], None]]], ml.CorruptionError),
        ("features", 5, ml.CorruptionError),
        ("function", ["module:name"], ml.CorruptionError),
        ("returns", [["x", "float64"]], ml.CorruptionError),
        ("model", "pickle", ml.FormatVersionError),
    ],
)
def test_a_record_that_somebody_made_up_is_a_clear_error(field: str, stored: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        from_record(to_record(USE) | {field: stored})


def test_the_examples_run() -> None:
    failed, attempted = doctest.testmod(ondemand, extraglobs={"ml": ml})

    assert attempted > 1
    assert failed == 0

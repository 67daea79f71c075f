"""Lineage: what hangs together, near and far; and that definitions a training set was made with stay what they were."""

from __future__ import annotations

from typing import Any

import pytest

import mlstore as ml
from tests.support.data import instant
from tests.support.worlds import SECOND

USER = ml.Entity("user", keys={"user": ml.int64})
CITY = ml.Entity("city", keys={"city": ml.string})
ORDERS = ml.Table(
    "orders", schema={"user": ml.int64, "amount": ml.float64, "kind": ml.string, "items": ml.int64}, key="user", timestamp="at"
)
PROFILE = ml.FeatureView("profile", entity=USER, schema={"age": ml.int64, "score": ml.float64})
WEATHER = ml.FeatureView("weather", entity=CITY, schema={"temp": ml.float64})
SPEND = ml.WindowView(
    "spend",
    entity=USER,
    source=ORDERS,
    aggregations=[ml.agg("amount", "sum", windows="7d", by="kind"), ml.agg("items", "max", windows="7d", where=ml.col("amount") > 0)],
)


def service(name: str, *features: Any) -> ml.FeatureService:
    return ml.FeatureService(name, features=features)


@pytest.fixture
def shop(store: ml.Store) -> ml.Store:
    store.apply(
        USER, CITY, ORDERS, PROFILE, WEATHER, SPEND, service("risk", SPEND, "profile:age"), service("climate", "weather:temp", "weather")
    )
    return store


def told(lineage: ml.Lineage) -> set[str]:
    return set(str(lineage).splitlines())


def test_every_definition_is_told_with_what_it_is_made_from(shop: ml.Store) -> None:
    assert told(shop.catalog().lineage) == {
        "entity user -> view profile (keys: user)",
        "entity city -> view weather (keys: city)",
        "entity user -> window spend (keys: user)",
        "table orders -> window spend (events: amount, kind, items)",
        "window spend -> service risk (features)",
        "view profile -> service risk (features: age)",
        "view weather -> service climate (features)",
    }


def test_far_ends_are_reached_in_both_directions(shop: ml.Store) -> None:
    lineage = shop.catalog().lineage

    assert [str(node) for node in lineage.upstream("risk")] == ["window spend", "view profile", "entity user", "table orders"]
    assert [str(node) for node in lineage.downstream("table orders")] == ["window spend", "service risk"]
    assert lineage.upstream("orders") == ()


def test_the_lineage_of_some_definitions_leaves_out_what_has_nothing_to_do_with_them(shop: ml.Store) -> None:
    of_orders = shop.catalog("orders", kind="table").lineage

    assert [str(edge) for edge in of_orders.edges] == [
        "window spend -> service risk (features)",
        "table orders -> window spend (events: amount, kind, items)",
    ]
    assert not {"view weather", "service climate", "entity city"} & set(map(str, of_orders.nodes))
    assert shop.catalog("no such").lineage.edges == ()


def test_a_name_that_is_not_there_is_refused_with_the_nearest(shop: ml.Store) -> None:
    with pytest.raises(ml.UnknownNameError) as refusal:
        shop.catalog().lineage.upstream("rsk")

    assert "did you mean 'risk'?" in refusal.value.hint


def test_versions_are_told_apart(shop: ml.Store) -> None:
    shop.apply(ml.FeatureView("profile", entity=USER, schema={"age": ml.string}), service("old", "profile@1:score"))

    found = told(shop.catalog("profile").lineage)

    assert "view profile -> service old (features: score)" in found
    assert "view profile@2 -> service risk (features: age)" in found


def test_a_past_version_has_the_lineage_of_its_time(shop: ml.Store) -> None:
    shop.snapshot("before")
    before = shop.catalog().lineage
    shop.apply(service("risk", "weather"))

    assert shop.at("before").catalog().lineage == before
    assert "view weather -> service risk@2 (features)" in told(shop.catalog().lineage)
    assert "window spend -> service risk (features)" in told(shop.catalog().lineage)


def test_what_is_found_is_still_a_plain_list(shop: ml.Store) -> None:
    found = shop.catalog(kind="view")

    assert isinstance(found, list)
    assert [entry.name for entry in found] == ["profile", "weather"]
    assert found == list(found)


# ---------------------------------------------------------------- definitions never change


@pytest.fixture
def trained(shop: ml.Store) -> Any:
    shop.apply(service("model", "profile:age"))
    shop.write("profile", {"user": [1, 2], "event_timestamp": [instant(SECOND)] * 2, "age": [30, 40], "score": [0.5, 0.25]})
    return shop.training_set({"user": [1, 2], "event_timestamp": [instant(2 * SECOND)] * 2}, "model")


def test_a_training_set_is_made_again_as_it_was_after_its_service_and_view_have_changed(shop: ml.Store, trained: Any) -> None:
    shop.apply(ml.FeatureView("profile", entity=USER, schema={"age": ml.string, "score": ml.float64}), service("model", "profile:score"))
    shop.write("profile", {"user": [1], "event_timestamp": [instant(SECOND)], "age": ["31"], "score": [0.75]})

    anew = shop.reproduce(trained)

    assert anew.equals(trained, check_metadata=True)
    assert anew["age"].to_pylist() == [30, 40]
    labels = trained.select(["user", "event_timestamp"])
    assert shop.training_set(labels, "model").column_names[-1] == "score"


def test_every_version_of_a_service_stays_and_is_asked_for_by_its_number(shop: ml.Store, trained: Any) -> None:
    shop.apply(service("model", "profile:score"))
    labels = trained.select(["user", "event_timestamp"])

    assert [entry.label for entry in shop.catalog("model", kind="service")] == ["model", "model@2"]
    assert shop.training_set(labels, "model@1").equals(trained)
    assert shop.online_features("model@1", {"user": 1}) == {"user": 1, "age": 30}
    assert shop.online_features(["model@2"], {"user": 1}) == {"user": 1, "score": 0.5}
    assert shop.reader("model@1").online_features({"user": 1}) == {"user": 1, "age": 30}
    with pytest.raises(ml.UnknownNameError):
        shop.online_features("model@3", {"user": 1})


def test_a_registered_definition_is_never_written_over(shop: ml.Store) -> None:
    entries = {(entry.kind, entry.label, entry.revision): entry for entry in shop.catalog()}
    shop.snapshot("before")

    shop.apply(ml.FeatureView("weather", entity=CITY, schema={"temp": ml.float64, "wind": ml.float64}), service("risk", "weather:wind"))

    assert {(entry.kind, entry.label, entry.revision): entry for entry in shop.at("before").catalog()} == entries

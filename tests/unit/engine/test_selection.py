"""Selections: what a list of features means, under which names they come out, and when two names clash."""

from __future__ import annotations

from typing import Any

import pytest

import mlstore as ml
from mlstore.engine.asking.selection import Selected, select
from mlstore.engine.catalog import Catalog

CITY = ml.Entity("city", keys={"city": ml.string})
WEATHER = ml.FeatureView("weather", entity=CITY, schema={"temp": ml.float64, "wind": ml.int32})
DELAYS = ml.FeatureView("delays", entity=CITY, schema={"minutes": ml.int32, "temp": ml.float64})
NOTES = ml.Table("notes", schema={"text": ml.string})
SERVICE = ml.FeatureService("model", features=["delays:minutes", "weather:wind"])


@pytest.fixture
def catalog(store: ml.Store) -> Catalog:
    store.apply(CITY, WEATHER, DELAYS, NOTES, SERVICE)
    with store._session.reading() as context:
        return context.catalog


def chosen(selection: list[Selected]) -> list[tuple[str, list[str], list[str]]]:
    """View, features, output names of each part."""
    return [
        (part.relation.label, [part.relation.layout.features[number].name for number in part.numbers], list(part.outputs))
        for part in selection
    ]


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (["weather"], [("weather", ["temp", "wind"], ["temp", "wind"])]),
        ("weather", [("weather", ["temp", "wind"], ["temp", "wind"])]),
        (WEATHER, [("weather", ["temp", "wind"], ["temp", "wind"])]),
        (["weather:wind"], [("weather", ["wind"], ["wind"])]),
        (["weather:wind", "weather:temp"], [("weather", ["wind", "temp"], ["wind", "temp"])]),
        (["weather@1:wind"], [("weather", ["wind"], ["wind"])]),
        (["model"], [("delays", ["minutes"], ["minutes"]), ("weather", ["wind"], ["wind"])]),
        (SERVICE, [("delays", ["minutes"], ["minutes"]), ("weather", ["wind"], ["wind"])]),
        (["model", "weather:temp"], [("delays", ["minutes"], ["minutes"]), ("weather", ["wind", "temp"], ["wind", "temp"])]),
        (
            [WEATHER, "delays"],
            [
                ("weather", ["temp", "wind"], ["weather__temp", "wind"]),
                ("delays", ["minutes", "temp"], ["minutes", "delays__temp"]),
            ],
        ),
        (["weather:wind", "delays", "weather:temp"], [("weather", ["wind", "temp"], ["wind", "weather__temp"]),
                                                      ("delays", ["minutes", "temp"], ["minutes", "delays__temp"])]),
    ],
    ids=str,
)  # fmt: skip
def test_features_come_view_by_view_with_bare_names_where_they_are_clear(catalog: Catalog, features: Any, expected: Any) -> None:
    assert chosen(select(catalog, features, taken=("city",), full_names=False)) == expected


def test_full_names_are_given_when_asked_for(catalog: Catalog) -> None:
    selection = select(catalog, ["weather"], taken=(), full_names=True)

    assert selection[0].outputs == ("weather__temp", "weather__wind")


def test_a_name_that_the_labels_have_already_is_written_out(catalog: Catalog) -> None:
    selection = select(catalog, ["weather"], taken=("city", "wind"), full_names=False)

    assert selection[0].outputs == ("temp", "weather__wind")


def test_a_written_out_name_that_is_taken_too_is_a_clash(catalog: Catalog) -> None:
    with pytest.raises(ml.NameClashError, match="'weather__wind'"):
        select(catalog, ["weather"], taken=("wind", "weather__wind"), full_names=False)


def test_a_feature_that_looks_like_a_written_out_name_is_a_clash(store: ml.Store) -> None:
    store.apply(CITY, WEATHER, DELAYS, ml.FeatureView("odd", entity=CITY, schema={"weather__temp": ml.int8}))

    with store._session.reading() as context, pytest.raises(ml.NameClashError, match="'weather__temp'"):
        select(context.catalog, ["weather:temp", "delays:temp", "odd"], taken=(), full_names=False)


@pytest.mark.parametrize("features", [["weather", "weather:temp"], ["weather:temp", "weather:temp"], ["model", "delays"]], ids=str)
def test_a_feature_asked_for_twice_is_a_clash(catalog: Catalog, features: Any) -> None:
    with pytest.raises(ml.NameClashError, match="asked for twice"):
        select(catalog, features, taken=(), full_names=False)


@pytest.mark.parametrize(
    ("features", "error", "named"),
    [
        ([], ml.UsageError, "empty"),
        (["wether"], ml.UnknownNameError, "wether"),
        (["weather:tmp"], ml.UnknownNameError, "tmp"),
        (["weather@2"], ml.UnknownNameError, "no version 2"),
        (["notes"], ml.UnknownNameError, "is a table"),
        ([7], ml.UsageError, "7 is no feature"),
        ([CITY], ml.UsageError, "is no feature"),
    ],
    ids=str,
)
def test_what_names_no_feature_is_refused(catalog: Catalog, features: Any, error: Any, named: str) -> None:
    with pytest.raises(error, match=named) as caught:
        select(catalog, features, taken=(), full_names=False)

    assert caught.value.hint


def test_references_find_the_same_features_again(catalog: Catalog) -> None:
    selection = select(catalog, ["model", "weather:temp"], taken=(), full_names=False)

    references = [reference for part in selection for reference in part.references]

    assert references == ["delays@1:minutes", "weather@1:wind", "weather@1:temp"]
    assert chosen(select(catalog, references, taken=(), full_names=False)) == chosen(selection)


def test_status_columns_clash_with_label_columns_of_their_names(store: ml.Store) -> None:
    store.apply(CITY, WEATHER)
    labels = {"city": ["a"], "event_timestamp": ["2024-01-01"], "weather__status": ["x"]}

    with pytest.raises(ml.NameClashError, match="weather__status"):
        store.training_set(labels, ["weather"], status=True)
    assert store.training_set(labels, ["weather"]).num_rows == 1


@pytest.mark.parametrize("keys", [{"city": "a", "weather__status": "x"}, {"city": ["a"], "weather__status": ["x"]}], ids=["one", "many"])
def test_status_columns_clash_with_key_columns_of_their_names(store: ml.Store, keys: dict[str, Any]) -> None:
    store.apply(CITY, WEATHER)

    with pytest.raises(ml.NameClashError, match="weather__status"):
        store.online_features(["weather"], keys, status=True)

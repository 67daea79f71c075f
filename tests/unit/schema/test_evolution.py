"""Evolution: what is nothing, what is done in place, what is a new version."""

from __future__ import annotations

import pytest

from mlstore.errors import DefinitionError
from mlstore.schema import dtypes as t
from mlstore.schema.entity import Entity
from mlstore.schema.evolution import evolve
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView

AIRPORT = Entity("airport", keys={"origin": t.string, "gate": t.int32})


def view_with(**changes):
    return FeatureView("weather", **({"entity": AIRPORT, "schema": {"temp": t.float32, "wind": t.int32}} | changes))


def table_with(**changes):
    return Table("rows", **({"schema": {"id": t.int32, "n": t.int32}, "key": "id", "timestamp": "at"} | changes))


@pytest.mark.parametrize(
    "same", [view_with(), view_with(entity="airport"), view_with(schema={"wind": t.int32, "temp": t.float32}), view_with(tags={})]
)
def test_the_same_definition_changes_nothing(same):
    evolution = evolve(view_with(), same)

    assert (evolution.action, evolution.changes) == ("unchanged", ())
    assert list(evolution.definition.schema) == ["temp", "wind"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": {"temp": t.float64, "wind": t.int32}}, "temp: float32 -> float64"),
        ({"schema": {"temp": t.float32, "wind": t.int32, "gust": t.int8}}, "gust: added (int8)"),
        ({"ttl": "6h"}, "ttl: none -> 6h"),
        ({"retention": "6h"}, "retention: none -> 6h"),
        ({"description": "hourly"}, "description: changed"),
        ({"owner": "ops"}, "owner: changed"),
        ({"tags": {"tier": "gold"}}, "tags: changed"),
    ],
)
def test_what_old_rows_bear_is_done_in_place(changes, told):
    evolution = evolve(view_with(), view_with(**changes))

    assert (evolution.action, evolution.changes) == ("in_place", (told,))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": {"temp": t.float32}}, "wind: removed"),
        ({"schema": {"temp": t.float32, "wind": t.int16}}, "wind: int32 -> int16"),
        ({"schema": {"temp": t.string, "wind": t.int32}}, "temp: float32 -> string"),
        ({"entity": "gate"}, "entity: airport -> gate"),
        ({"entity": None}, "entity: airport -> none"),
        ({"timestamp": "at"}, "timestamp: event_timestamp -> at"),
        ({"created_timestamp": "known"}, "created_timestamp: none -> known"),
        ({"available_after": "1h"}, "available_after: none -> 1h"),
        ({"boundary": "strict"}, "boundary: inclusive -> strict"),
        ({"nulls": "last_valid"}, "nulls: row -> last_valid"),
        ({"time_unit": "ns"}, "time_unit: us -> ns"),
    ],
)
def test_what_would_change_old_answers_is_a_new_version(changes, told):
    new = view_with(**changes)

    evolution = evolve(view_with(), new)

    assert (evolution.action, evolution.changes, evolution.definition) == ("new_version", (told,), new)


def test_features_keep_their_numbers_and_new_ones_follow():
    new = view_with(schema={"gust": t.int8, "wind": t.int64, "age": t.int8, "temp": t.float32}, owner="ops")

    evolution = evolve(view_with(), new)

    assert evolution.action == "in_place"
    assert list(evolution.definition.schema) == ["temp", "wind", "gust", "age"]
    assert evolution.definition == new


def test_one_breaking_change_makes_a_new_version_and_all_changes_are_told():
    evolution = evolve(view_with(), view_with(schema={"temp": t.float64}, owner="ops"))

    assert evolution.action == "new_version"
    assert evolution.changes == ("wind: removed", "temp: float32 -> float64", "owner: changed")


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({}, "unchanged"),
        ({"schema": {"n": t.int64, "id": t.int32, "more": t.string}}, "in_place"),
        ({"retention": "1d"}, "in_place"),
        ({"schema": {"id": t.int64, "n": t.int32}}, "new_version"),
        ({"key": ()}, "new_version"),
        ({"key": ["id", "n"]}, "new_version"),
        ({"timestamp": None}, "new_version"),
        ({"created_timestamp": "known"}, "new_version"),
        ({"time_unit": "ns"}, "new_version"),
    ],
)
def test_a_table_evolves_by_the_same_rules_and_its_key_is_fixed(changes, action):
    assert evolve(table_with(), table_with(**changes)).action == action


def test_an_entity_changes_its_words_but_not_its_keys():
    told = Entity("airport", keys=AIRPORT.keys, owner="ops")

    assert evolve(AIRPORT, told).action == "in_place"
    for keys in ({"origin": t.string}, {"gate": t.int32, "origin": t.string}, {"origin": t.string, "gate": t.int64}):
        with pytest.raises(DefinitionError, match="another name"):
            evolve(AIRPORT, Entity("airport", keys=keys))


def test_other_features_make_another_version_of_a_service():
    old = FeatureService("model", features=["weather", "delays"])

    assert evolve(old, FeatureService("model", features=["weather"])).action == "new_version"
    assert evolve(old, FeatureService("model", features=["delays", "weather"])).action == "new_version"
    assert evolve(old, FeatureService("model", features=["weather", "delays"], owner="ops")).action == "in_place"
    assert evolve(old, FeatureService("model", features=["weather", "delays"])).action == "unchanged"


def test_one_definition_cannot_stand_for_another():
    with pytest.raises(DefinitionError):
        evolve(view_with(), Table("weather", schema={"a": t.int8}))
    with pytest.raises(DefinitionError):
        evolve(AIRPORT, Entity("gate", keys=AIRPORT.keys))

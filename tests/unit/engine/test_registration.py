"""Definitions: what apply would change, what it changes, and that data written before stays readable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mlstore as ml
from mlstore.engine.entries import CATALOG
from mlstore.engine.versions import take_numbers
from tests.support.data import instant
from tests.support.worlds import SECOND

AIRPORT = ml.Entity("airport", keys={"origin": ml.string}, description="where planes land", owner="ops")
COLUMNS = {"temp": ml.int32, "wind": ml.float32}


def weather(**changes: Any) -> ml.FeatureView:
    rules: dict[str, Any] = {"entity": AIRPORT, "schema": COLUMNS, "tags": {"tier": "gold"}, "owner": "ops", "description": "hourly METAR"}
    return ml.FeatureView("weather", **(rules | changes))


LABELS = ml.Table("labels", schema={"flight": ml.int64, "late": ml.bool_}, key="flight", tags={"tier": "silver", "team": "ml"})
MODEL = ml.FeatureService("model", features=["weather:temp"], owner="ml", description="delays")


@pytest.fixture
def airports(store: ml.Store) -> ml.Store:
    store.apply(AIRPORT, weather(), LABELS, MODEL)
    return store


def actions(plan: ml.Plan) -> dict[str, str]:
    return {change.name: change.action for change in plan.changes}


def report(store: ml.Store, second: int, **values: Any) -> ml.Commit:
    return store.write("weather", {"origin": "JFK", "event_timestamp": instant(second * SECOND), **values})


def test_a_plan_says_what_apply_does(store: ml.Store) -> None:
    planned = store.plan(MODEL, weather(), LABELS, AIRPORT)

    assert actions(planned) == dict.fromkeys(["airport", "labels", "weather", "model"], "create")
    assert store.apply(MODEL, weather(), LABELS, AIRPORT) == planned
    assert len(str(planned).splitlines()) == 4


def test_a_plan_changes_nothing(store: ml.Store) -> None:
    assert store.plan(AIRPORT, weather())

    assert store.catalog() == []
    assert store.history() == []


def test_applying_the_same_again_changes_nothing(airports: ml.Store) -> None:
    before = airports.catalog(), airports.history()

    plan = airports.apply(AIRPORT, weather(), LABELS, MODEL)

    assert not plan
    assert set(actions(plan).values()) == {"unchanged"}
    assert (airports.catalog(), airports.history()) == before


def test_apply_is_one_commit_that_says_what_it_did(airports: ml.Store) -> None:
    commit = airports.history()[0]

    assert len(airports.history()) == 1
    assert [(change.op, change.table) for change in commit.changes] == [
        ("apply create", "entity airport"),
        ("apply create", "table labels"),
        ("apply create", "view weather"),
        ("apply create", "service model"),
    ]


def test_apply_is_all_or_nothing(store: ml.Store) -> None:
    with pytest.raises(ml.UnknownNameError, match="city"):
        store.apply(AIRPORT, weather(), ml.FeatureView("trams", entity="city", schema={"late": ml.bool_}))

    assert store.catalog() == []
    assert store.history() == []


@pytest.mark.parametrize(
    ("definitions", "error", "named"),
    [
        ((), ml.DefinitionError, "at least one"),
        ((weather(), weather(ttl="1h")), ml.AlreadyExistsError, "'weather' is defined twice"),
        ((ml.Table("weather", schema={"a": ml.int8}),), ml.AlreadyExistsError, "'weather' is a view already"),
        ((ml.FeatureService("labels", features=["weather"]),), ml.AlreadyExistsError, "'labels' is a table already"),
        ((ml.FeatureView("other", entity="airport", schema={"origin": ml.string}),), ml.DefinitionError, "'origin' is a key"),
        ((ml.Entity("airport", keys={"origin": ml.int64}),), ml.DefinitionError, "keys"),
        ((ml.FeatureService("other", features=["labels"]),), ml.DefinitionError, "'labels' is no feature view"),
        ((ml.FeatureService("other", features=["weather:tmp"]),), ml.UnknownNameError, "no feature 'tmp'"),
        ((ml.FeatureService("other", features=["weather@2"]),), ml.UnknownNameError, "no version 2"),
        (("weather",), ml.DefinitionError, "is no definition"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_plan_and_apply_alike(airports: ml.Store, definitions: Any, error: Any, named: str) -> None:
    before = airports.catalog(), airports.history()

    for step in (airports.plan, airports.apply):
        with pytest.raises(error, match=named):
            step(*definitions)

    assert (airports.catalog(), airports.history()) == before


def test_the_same_definition_twice_in_one_apply_is_one(store: ml.Store) -> None:
    assert actions(store.apply(AIRPORT, weather(), weather())) == {"airport": "create", "weather": "create"}


def test_an_entity_and_a_view_may_share_a_name(store: ml.Store) -> None:
    plan = store.apply(AIRPORT, ml.FeatureView("airport", entity=AIRPORT, schema={"temp": ml.float64}))

    assert [change.action for change in plan.changes] == ["create", "create"]


# ---------------------------------------------------------------- evolution in place


def seal(store: ml.Store) -> None:
    store.optimize()


def chill(store: ml.Store) -> None:
    store.optimize(tier="cold")


def leave(store: ml.Store) -> None:
    """What was written stays in the tail."""


@pytest.mark.parametrize("settle", [leave, seal, chill], ids=lambda settle: settle.__name__)
def test_rows_written_before_an_evolution_are_read_in_the_new_types(airports: ml.Store, settle: Any) -> None:
    report(airports, 1, temp=-3, wind=0.5)
    settle(airports)

    plan = airports.apply(weather(schema={"pressure": ml.string, "temp": ml.int64, "wind": ml.float64}))

    assert plan.changes[0].action == "evolve"
    old = {"origin": "JFK", "temp": -3, "wind": 0.5, "pressure": None}
    assert airports.online_features(["weather"], {"origin": "JFK"}) == old
    assert airports.online_features(["weather"], {"origin": ["JFK"]}).to_pylist() == [old]
    rows = airports.read("weather").table()
    assert [str(rows.schema.field(name).type) for name in ("temp", "wind", "pressure")] == ["int64", "double", "string"]
    assert rows.select(list(old)).to_pylist() == [old]
    trained = airports.training_set({"origin": ["JFK"], "event_timestamp": [instant(2 * SECOND)]}, ["weather"])
    assert trained.select(list(old)).to_pylist() == [old]

    report(airports, 2, temp=2**40, wind=1e300, pressure="low")
    assert airports.read("weather")["temp"].to_pylist() == [-3, 2**40]
    airports.optimize()
    assert airports.read("weather")["temp"].to_pylist() == [-3, 2**40]
    assert airports.read("weather")["pressure"].to_pylist() == [None, "low"]
    airports.verify()


@pytest.mark.parametrize("settle", [leave, seal, chill], ids=lambda settle: settle.__name__)
def test_a_version_before_an_evolution_reads_as_it_did_then(airports: ml.Store, settle: Any) -> None:
    report(airports, 1, temp=-3, wind=0.5)
    airports.snapshot("before")
    airports.apply(weather(schema={**COLUMNS, "temp": ml.int64, "pressure": ml.string}))
    report(airports, 2, temp=2**40, wind=1.5, pressure="low")
    settle(airports)

    old = airports.at("before")

    expected = {"origin": "JFK", "temp": -3, "wind": 0.5}
    rows = old.read("weather").table()
    assert rows.select(list(expected)).to_pylist() == [expected]
    assert str(rows.schema.field("temp").type) == "int32"
    assert "pressure" not in rows.column_names
    assert old.online_features(["weather"], {"origin": "JFK"}) == expected
    trained = old.training_set({"origin": ["JFK"], "event_timestamp": [instant(9 * SECOND)]}, ["weather"])
    assert trained.select(list(expected)).to_pylist() == [expected]


def test_a_ttl_changes_in_place_and_counts_for_old_rows(airports: ml.Store) -> None:
    report(airports, 1, temp=1, wind=0.5)

    plan = airports.apply(weather(ttl="10s"))

    assert plan.changes[0].details == ("ttl: none -> 10s",)
    assert airports.online_features(["weather:temp"], {"origin": "JFK"}, now=instant(11 * SECOND))["temp"] == 1
    assert airports.online_features(["weather:temp"], {"origin": "JFK"}, now=instant(11 * SECOND + 1))["temp"] is None


def test_notes_change_in_place_and_the_revision_moves_on(airports: ml.Store) -> None:
    airports.apply(weather(description="every half hour"))

    entry = airports.catalog(kind="view")[0]
    assert (entry.version, entry.revision, entry.definition.description) == (1, 2, "every half hour")


# ---------------------------------------------------------------- new versions


@pytest.fixture
def two_versions(airports: ml.Store) -> ml.Store:
    report(airports, 1, temp=1, wind=0.5)
    airports.apply(weather(schema={"temp": ml.string}))
    return airports


def test_any_other_change_makes_a_new_version_that_starts_empty(two_versions: ml.Store) -> None:
    assert [entry.label for entry in two_versions.catalog(kind="view")] == ["weather", "weather@2"]
    assert two_versions.read("weather").num_rows == 0
    assert two_versions.online_features(["weather"], {"origin": "JFK"}) == {"origin": "JFK", "temp": None}


def test_the_old_version_stays_readable_and_writable_under_its_number(two_versions: ml.Store) -> None:
    two_versions.write("weather", {"origin": "JFK", "event_timestamp": instant(SECOND), "temp": "hot"})
    two_versions.write("weather@1", {"origin": "JFK", "event_timestamp": instant(2 * SECOND), "temp": 2, "wind": 1.5})

    assert two_versions.read("weather@1")["temp"].to_pylist() == [1, 2]
    assert two_versions.read("weather@2")["temp"].to_pylist() == ["hot"]
    assert two_versions.online_features(["weather@1:temp"], {"origin": "JFK"})["temp"] == 2
    both = two_versions.online_features(["weather@1:temp", "weather:temp"], {"origin": "JFK"})
    assert both == {"origin": "JFK", "weather__temp": 2, "weather@2__temp": "hot"}
    two_versions.verify()


def test_going_back_to_an_old_definition_is_a_third_version(two_versions: ml.Store) -> None:
    plan = two_versions.apply(weather())

    assert (plan.changes[0].action, plan.changes[0].name) == ("new_version", "weather@3")
    assert two_versions.read("weather").num_rows == 0


def test_a_version_that_does_not_exist_is_refused_with_those_that_do(two_versions: ml.Store) -> None:
    with pytest.raises(ml.UnknownNameError, match="no version 3") as caught:
        two_versions.read("weather@3")

    assert "weather, weather@2" in caught.value.hint


def test_a_past_version_of_the_store_knows_the_definitions_of_its_time(airports: ml.Store) -> None:
    airports.snapshot("before")
    airports.apply(weather(schema={"temp": ml.string}), ml.Table("notes", schema={"text": ml.string}))

    old = airports.at("before")

    assert [entry.label for entry in old.catalog()] == ["airport", "model", "labels", "weather"]
    with pytest.raises(ml.UnknownNameError, match="notes"):
        old.read("notes")


def test_definitions_are_found_again_after_the_store_was_closed(airports: ml.Store, store_path: Path) -> None:
    before = airports.catalog()
    airports.close()

    with ml.open(store_path) as again:
        assert again.catalog() == before
        assert not again.plan(AIRPORT, weather(), LABELS, MODEL)


# ---------------------------------------------------------------- search


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ({}, ["airport", "model", "labels", "weather"]),
        ({"search": "METAR"}, ["weather"]),
        ({"search": "metar"}, ["weather"]),
        ({"search": "LATE"}, ["labels"]),
        ({"search": "origin"}, ["airport"]),
        ({"search": "temp"}, ["model", "weather"]),
        ({"search": "silver"}, ["labels"]),
        ({"search": "no such"}, []),
        ({"tag": "tier"}, ["labels", "weather"]),
        ({"tag": "tier=gold"}, ["weather"]),
        ({"tag": "tier=bronze"}, []),
        ({"tag": "gold"}, []),
        ({"owner": "ops"}, ["airport", "weather"]),
        ({"owner": "op"}, []),
        ({"kind": "service"}, ["model"]),
        ({"owner": "ops", "kind": "view", "tag": "tier", "search": "wind"}, ["weather"]),
    ],
    ids=str,
)
def test_the_catalogue_is_searched_by_text_tag_owner_and_kind(airports: ml.Store, question: dict[str, str], found: list[str]) -> None:
    assert [entry.name for entry in airports.catalog(**question)] == found


def test_an_entry_tells_what_it_is_and_since_when(airports: ml.Store) -> None:
    entry = airports.catalog("metar")[0]

    assert (entry.kind, entry.name, entry.version, entry.definition) == ("view", "weather", 1, weather(entity="airport"))
    assert entry.created == airports.history()[-1].time


def test_a_misspelt_name_gets_the_nearest_one(airports: ml.Store) -> None:
    with pytest.raises(ml.UnknownNameError) as caught:
        airports.read("wether")

    assert "did you mean 'weather'?" in caught.value.hint


def test_a_revision_that_rows_have_no_room_for_is_damage(store: ml.Store) -> None:
    store.apply(ml.FeatureView("v", schema={"x": ml.int64}))
    with store._session.environment.writer() as writer:
        ((key, packed),) = list(writer.scan(CATALOG))
        writer.put(CATALOG, key[:-4] + (2**16).to_bytes(4, "big"), packed)
        writer.delete(CATALOG, key)
        take_numbers(writer, "catalog")

    with pytest.raises(ml.CorruptionError, match="revision 65536 of 'v'"):
        store.read("v")

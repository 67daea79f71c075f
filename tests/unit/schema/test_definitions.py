"""Entities, views, tables and services: what they keep, how they compare and show themselves, what they refuse."""

from __future__ import annotations

import dataclasses
import doctest
import pickle
from datetime import timedelta
from types import SimpleNamespace

import pytest

from mlstore.errors import DefinitionError, UsageError
from mlstore.schema import aggregation, dtypes, entity, service, table, view, window, window_view
from mlstore.schema import dtypes as t
from mlstore.schema.entity import Entity
from mlstore.schema.expression import col
from mlstore.schema.reference import Reference, parse_reference
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView

AIRPORT = Entity("airport", keys={"origin": t.string}, tags={"tier": "gold"})
WEATHER = FeatureView("weather", entity=AIRPORT, schema={"temp": t.float64, "embedding": t.vector(8)}, ttl="6h")
LABELS = Table("labels", schema={"flight": t.int64, "late": t.bool_}, key="flight", timestamp="label_time")
MODEL = FeatureService("model", features=[WEATHER, "delays@2:mean"])
LATE = WindowView(
    "late", entity=AIRPORT, source="departures", aggregations=[aggregation.agg("delay", "mean", windows="7d")], where=col("delay") > 15
)
ALL = [AIRPORT, WEATHER, LABELS, MODEL, LATE]


def view_with(**changes):
    return FeatureView("weather", **({"entity": AIRPORT, "schema": {"temp": t.float64}} | changes))


@pytest.mark.parametrize("module", [entity, view, table, service, window, aggregation, window_view], ids=lambda module: module.__name__)
def test_the_example_of_each_definition_runs(module):
    public = {name: getattr(dtypes, name) for name in ("int64", "float64", "string", "bool_")}
    kinds = {"Entity": Entity, "FeatureView": FeatureView, "WindowView": WindowView, "Table": Table, "FeatureService": FeatureService}
    windows = {name: getattr(window, name) for name in ("tumbling", "hopping", "session", "last_rows")}
    ml = SimpleNamespace(agg=aggregation.agg, **kinds, **windows, **public)

    failed, attempted = doctest.testmod(module, extraglobs={"ml": ml})

    assert attempted > 0
    assert failed == 0


@pytest.mark.parametrize("definition", ALL, ids=lambda definition: definition.name)
def test_a_definition_is_a_value(definition):
    copy = pickle.loads(pickle.dumps(definition))

    assert copy == definition
    assert hash(copy) == hash(definition)
    assert not hasattr(definition, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        definition.name = "other"


@pytest.mark.parametrize("definition", ALL, ids=lambda definition: definition.name)
def test_a_definition_shows_itself_as_one_would_write_it(definition):
    shown = repr(definition)

    assert shown.startswith(f"{type(definition).__name__}('{definition.name}', ")
    assert "description" not in shown


def test_what_was_given_can_change_afterwards_without_effect():
    schema = {"temp": t.float64}
    tags = {"tier": "gold"}
    made = view_with(schema=schema, tags=tags)

    schema["wind"] = t.float64
    tags.clear()

    assert dict(made.schema) == {"temp": t.float64}
    assert made.tags == {"tier": "gold"}


def test_the_order_of_the_schema_is_kept():
    made = view_with(schema={"z": t.int8, "a": t.int8, "m": t.int8})

    assert list(made.schema) == ["z", "a", "m"]


def test_durations_are_kept_as_canonical_text():
    made = view_with(ttl=timedelta(minutes=90), retention="2w", available_after="60m")

    assert (made.ttl, made.retention, made.available_after) == ("1h30m", "14d", "1h")
    assert (made.ttl_ns, made.retention_ns, made.available_after_ns) == (5_400 * 10**9, 14 * 86_400 * 10**9, 3_600 * 10**9)
    assert (WEATHER.retention_ns, WEATHER.available_after_ns) == (None, None)


def test_an_entity_may_be_given_by_itself_by_name_or_not_at_all():
    assert view_with().entity_name == "airport"
    assert view_with(entity="airport").entity_name == "airport"
    assert view_with(entity=None).entity_name is None


def test_the_key_of_a_table_is_one_column_several_or_none():
    schema = {"a": t.int64, "b": t.string}

    assert Table("rows", schema=schema).key == ()
    assert Table("rows", schema=schema, key="a").key == ("a",)
    assert Table("rows", schema=schema, key=["b", "a"]).key == ("b", "a")


def test_a_service_keeps_its_features_as_text():
    assert MODEL.features == ("weather", "delays@2:mean")
    assert FeatureService("one", features="weather:temp").features == ("weather:temp",)


@pytest.mark.parametrize("name", ["", "1st", "-a", "a b", "a.b", "a:b", "a@2", "é", "a" * 101, 7, None])
def test_a_bad_name_is_refused_with_the_rule(name):
    for make in (
        lambda: Entity(name, keys={"a": t.int64}),
        lambda: Entity("e", keys={name: t.int64}),
        lambda: FeatureView(name, entity=None, schema={"a": t.int64}),
        lambda: view_with(schema={name: t.int64}),
        lambda: view_with(timestamp=name),
        lambda: Table(name, schema={"a": t.int64}),
        lambda: FeatureService(name, features=["a"]),
        lambda: WindowView(name, entity=None, source="a", aggregations=[aggregation.agg("a", "sum", windows="7d")]),
    ):
        with pytest.raises(DefinitionError) as refusal:
            make()
        assert "at most 100 characters" in refusal.value.hint


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Entity("e", keys={}), "entity e: keys is empty"),
        (lambda: Entity("e", keys={"x": t.float64}), "key 'x' is float64"),
        (lambda: Entity("e", keys={"x": int}), "key 'x' has <class 'int'> for a type"),
        (lambda: Entity("e", keys=["x"]), "entity e: keys is a list"),
        (lambda: Entity("e", keys={"x": t.int8}, tags={"a": 1}), "tags are"),
        (lambda: Entity("e", keys={"x": t.int8}, owner=None), "owner is None"),
        (lambda: view_with(schema={}), "view weather: schema is empty"),
        (lambda: view_with(schema={"origin": t.string}), "'origin' is a key and a feature"),
        (lambda: view_with(timestamp="origin"), "'origin' is a key and a time column"),
        (lambda: view_with(timestamp="temp"), "'temp' is a time column and a feature"),
        (lambda: view_with(created_timestamp="temp"), "'temp' is a time column and a feature"),
        (lambda: view_with(created_timestamp="event_timestamp"), "'event_timestamp' is a time column and a time column"),
        (lambda: view_with(entity=7), "entity is 7"),
        (lambda: view_with(ttl=3600), "view weather: ttl: 3600 is not a duration"),
        (lambda: view_with(ttl="-1h"), "ttl"),
        (lambda: view_with(retention="0s"), "retention"),
        (lambda: view_with(boundary="exclusive"), "boundary='exclusive'"),
        (lambda: view_with(nulls="skip"), "nulls='skip'"),
        (lambda: view_with(time_unit="ms"), "time_unit='ms'"),
        (lambda: view_with(available_after="1h", created_timestamp="c"), "both created_timestamp and available_after"),
        (lambda: view_with(available_after="5ns"), "no whole number of us"),
        (lambda: Table("rows", schema={"a": t.int8}, key="b"), "key 'b' is no column"),
        (lambda: Table("rows", schema={"a": t.float64}, key="a"), "key 'a' is float64"),
        (lambda: Table("rows", schema={"a": t.int8}, key=["a", "a"]), "named twice"),
        (lambda: Table("rows", schema={"a": t.int8}, timestamp="a"), "'a' is a time column and a feature"),
        (lambda: Table("rows", schema={"a": t.int8}, created_timestamp="c"), "created_timestamp without timestamp"),
        (lambda: FeatureService("s", features=[]), "service s: no features"),
        (lambda: FeatureService("s", features=["a", "a"]), "'a' is named twice"),
        (lambda: FeatureService("s", features=["a::b"]), "'a::b' does not name a view or feature"),
        (lambda: FeatureService("s", features=[7]), "7 does not name a view or feature"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused(make, says):
    with pytest.raises(DefinitionError) as refusal:
        make()

    assert says in refusal.value.message
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("weather", Reference("weather")),
        ("weather:temp", Reference("weather", None, "temp")),
        ("weather@2", Reference("weather", 2)),
        ("weather@12:temp", Reference("weather", 12, "temp")),
    ],
)
def test_a_reference_names_view_version_and_feature(text, reference):
    assert parse_reference(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize("text", ["", ":", "weather:", "weather@", "weather@0", "weather@x", "weather:temp@2", "a b", None, 7])
def test_text_that_is_no_reference_is_refused(text):
    with pytest.raises(UsageError, match="does not name a view or feature"):
        parse_reference(text)

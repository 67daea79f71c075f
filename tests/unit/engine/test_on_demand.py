"""On-demand views in a store: registered with their inputs pinned, answered online and in training, and made anew."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.engine.catalog import Catalog
from mlstore.engine.entries import CatalogEntry

AIRPORT = ml.Entity("airport", keys={"origin": ml.string})
WEATHER = ml.FeatureView("weather", entity=AIRPORT, schema={"temp": ml.float64, "wind": ml.int32}, ttl="6h")
RATE = ml.FeatureView("rate", entity=None, schema={"usd": ml.float64}, time_unit="ns")
RATIOS = ml.OnDemandView(
    "ratios",
    inputs=["weather:temp", RATE],
    request={"amount": ml.float64},
    features={"heat": ml.col("temp") * ml.col("amount"), "dollars": ml.col("amount") / ml.col("usd")},
    description="what it costs",
    owner="ops",
)
NOON = "2024-01-01T12:00"


@ml.on_demand(inputs=["ratios:heat", "weather:wind"], request={"amount": ml.float64}, returns={"score": ml.float64}, over="numpy")
def risk(columns: dict[str, Any]) -> dict[str, Any]:
    """How risky it is."""
    return {"score": columns["heat"] + columns["wind"] - columns["amount"]}


@pytest.fixture
def flights(store: ml.Store) -> ml.Store:
    store.apply(AIRPORT, WEATHER, RATE, RATIOS, risk)
    store.write("weather", {
        "origin": ["JFK", "LGA"],
        "event_timestamp": ["2024-01-01T10:00", "2024-01-01T11:00"],
        "temp": [3.5, -2.0],
        "wind": [4, None],
    })  # fmt: skip
    store.write("rate", {"event_timestamp": ["2024-01-01"], "usd": [1.25]})
    return store


def labels(**columns: Any) -> dict[str, Any]:
    return {"origin": ["JFK", "LGA", "XXX"], "amount": [3.0, 4.0, 5.0], "event_timestamp": [NOON] * 3} | columns


# ---------------------------------------------------------------- registering


def test_an_empty_question_is_told_of_every_view_that_can_be_asked(flights: ml.Store) -> None:
    with pytest.raises(ml.UsageError, match="the list of features is empty") as caught:
        flights.online_features([], {"origin": "JFK"})

    assert caught.value.hint.endswith("there is rate, ratios, risk, weather")


def test_inputs_are_pinned_to_features_of_versions(flights: ml.Store) -> None:
    [ratios, view] = [entry.definition for entry in flights.catalog(kind="on_demand")]

    assert ratios.inputs == ("weather@1:temp", "rate@1:usd")
    assert view.inputs == ("ratios@1:heat", "weather@1:wind")


def test_applying_the_same_again_changes_nothing(flights: ml.Store) -> None:
    assert not flights.apply(RATIOS, risk)


def test_views_are_registered_after_those_they_take_whatever_their_order(store: ml.Store) -> None:
    first = ml.OnDemandView("z", inputs=["weather:temp"], features={"a": ml.col("temp") + 1})
    second = ml.OnDemandView("y", inputs=["z"], features={"b": ml.col("a") + 1})
    third = ml.OnDemandView("x", inputs=[second], features={"c": ml.col("b") + 1})

    plan = store.apply(third, second, first, WEATHER, AIRPORT)

    assert [change.name for change in plan.changes] == ["airport", "weather", "z", "y", "x"]


def test_views_in_a_circle_are_refused(store: ml.Store) -> None:
    one = ml.OnDemandView("one", inputs=["two"], features={"a": ml.col("b")})
    two = ml.OnDemandView("two", inputs=["one"], features={"b": ml.col("a")})

    with pytest.raises(ml.DefinitionError, match="in a circle: one -> two -> one"):
        store.apply(one, two)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"inputs": ["wether:temp"]}, ml.UnknownNameError, "on-demand view 'ratios'.*did you mean 'weather'"),
        ({"inputs": ["weather:tmp"]}, ml.UnknownNameError, "did you mean 'temp'"),
        ({"features": {"x": ml.col("tmp")}}, ml.UnknownNameError, "ratios: x: no column 'tmp' .there is temp, usd, amount"),
        ({"features": {"x": ml.col("temp") & True}}, ml.DefinitionError, "ratios: x: in .temp & True.: .*bools"),
        ({"request": {"weather__temp": ml.int64, "temp": ml.int64}}, ml.DefinitionError, "two columns are called 'weather__temp'"),
        ({"inputs": ["orders:total"]}, ml.DefinitionError, "'orders' is a table"),
    ],
)
def test_what_does_not_fit_its_inputs_is_refused(flights: ml.Store, changes: dict[str, Any], error: type[Exception], message: str) -> None:
    flights.apply(ml.Table("orders", schema={"total": ml.float64}))

    with pytest.raises(error, match=message):
        flights.apply(replace(RATIOS, **changes))

    assert len(flights.catalog("ratios", kind="on_demand")) == 2


def test_a_file_whose_views_go_in_a_circle_is_refused_when_they_are_asked_for() -> None:
    one = ml.OnDemandView("one", inputs=["two@1:b"], features={"a": ml.col("b")})
    two = ml.OnDemandView("two", inputs=["one@1:a"], features={"b": ml.col("a")})
    catalog = Catalog([CatalogEntry("on_demand", view.name, 1, 1, view, 0, 1, 0) for view in (one, two)])

    with pytest.raises(ml.DefinitionError, match=r"in a circle.*one -> two -> one"):
        catalog.relation("one")


def test_a_name_that_would_mean_two_columns_is_that_of_its_view_too(flights: ml.Store) -> None:
    warmer = ml.OnDemandView(
        "warmer", inputs=["weather:temp"], request={"temp": ml.float64}, features={"by": ml.col("weather__temp") - ml.col("temp")}
    )

    flights.apply(warmer)

    assert flights.online_features("warmer", {"origin": "JFK", "temp": 1.0}, now=NOON)["by"] == 2.5


def test_a_new_version_of_an_input_leaves_the_view_as_it_is_until_it_is_applied_again(flights: ml.Store) -> None:
    flights.apply(replace(WEATHER, schema={"temp": ml.float64}))
    flights.write("weather", {"origin": "JFK", "event_timestamp": NOON, "temp": 100.0})

    before = flights.online_features("ratios:heat", {"origin": "JFK", "amount": 3.0}, now=NOON)
    plan = flights.apply(RATIOS)
    after = flights.online_features("ratios:heat", {"origin": "JFK", "amount": 3.0}, now=NOON)

    assert (before["heat"], after["heat"]) == (10.5, 300.0)
    assert [(change.action, change.name) for change in plan.changes] == [("new_version", "ratios@2")]
    assert flights.online_features("ratios@1:heat", {"origin": "JFK", "amount": 3.0}, now=NOON)["heat"] == 10.5


def test_views_share_their_names_with_all_others(flights: ml.Store) -> None:
    with pytest.raises(ml.AlreadyExistsError, match="'ratios' is a on_demand already"):
        flights.apply(replace(WEATHER, name="ratios"))


def test_they_are_found_in_the_catalogue_and_have_a_lineage(flights: ml.Store) -> None:
    assert [entry.name for entry in flights.catalog("costs")] == ["ratios"]
    assert [entry.name for entry in flights.catalog("dollars")] == ["ratios"]
    assert [entry.name for entry in flights.catalog(owner="ops")] == ["ratios"]
    assert [str(node) for node in flights.catalog().lineage.upstream("risk")] == [
        "on_demand ratios",
        "view weather",
        "view rate",
        "entity airport",
    ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.read("ratios"),
        lambda store: store.write("ratios", {"heat": 1.0}),
        lambda store: store.delete("ratios", keys={"origin": "JFK"}),
        lambda store: store.stream("ratios"),
        lambda store: store.explain({"origin": "JFK", "event_timestamp": NOON}, "ratios:heat"),
        lambda store: store.online_range("ratios").table(),
        lambda store: store.online_features("ratios", {"origin": "JFK", "amount": 1.0}, last_n=2),
    ],
    ids=["read", "write", "delete", "stream", "explain", "range", "last_n"],
)
def test_what_needs_rows_is_refused_with_where_the_rows_are(flights: ml.Store, ask: Any) -> None:
    with pytest.raises(ml.UsageError, match="on-demand view"):
        ask(flights)


# ---------------------------------------------------------------- asking


def test_one_key_with_what_the_request_brings(flights: ml.Store) -> None:
    answer = flights.online_features(["ratios", "risk"], {"origin": "JFK", "amount": 3.0}, now=NOON)

    assert answer == {"origin": "JFK", "amount": 3.0, "heat": 10.5, "dollars": 2.4, "score": 11.5}


def test_many_keys_in_their_order(flights: ml.Store) -> None:
    table = flights.online_features(["risk"], {"origin": ["XXX", "JFK", "JFK"], "amount": [1.0, 3.0, 4.0]}, now=NOON)

    assert table.column_names == ["origin", "amount", "score"]
    assert table["score"].to_pylist() == [None, 11.5, 14.0]


def test_a_reader_answers_as_the_store_and_sees_a_new_version(flights: ml.Store) -> None:
    reader = flights.reader(["ratios:heat"])
    asked = {"origin": "JFK", "amount": 3.0}

    before = [reader.online_features(asked, now=NOON)["heat"] for _ in range(3)]
    flights.apply(replace(RATIOS, features={"heat": ml.col("temp") * 2}))

    assert before == [10.5] * 3
    assert reader.online_features(asked, now=NOON)["heat"] == 7.0
    assert pickle.loads(pickle.dumps(reader)).online_features(asked, now=NOON)["heat"] == 7.0


def test_asyncio_answers_alike(flights: ml.Store) -> None:
    one = asyncio.run(flights.aio.online_features("risk", {"origin": "JFK", "amount": 3.0}, now=NOON))
    many = asyncio.run(flights.aio.online_features("risk", {"origin": ["JFK"], "amount": [3.0]}, now=NOON))

    assert (one["score"], many["score"].to_pylist()) == (11.5, [11.5])


def test_inputs_stay_out_of_sight_unless_asked_for(flights: ml.Store) -> None:
    hidden = flights.training_set(labels(), ["ratios:heat"])
    shown = flights.training_set(labels(), ["weather:wind", "ratios:heat", "weather:temp"])

    assert hidden.column_names == ["origin", "amount", "event_timestamp", "heat"]
    assert shown.column_names == ["origin", "amount", "event_timestamp", "wind", "temp", "heat"]
    assert hidden["heat"].to_pylist() == shown["heat"].to_pylist() == [10.5, -8.0, None]


def test_only_what_the_features_asked_for_take_is_looked_up_and_needed(flights: ml.Store) -> None:
    halves = ml.OnDemandView(
        "halves", inputs=["weather:temp"], request={"amount": ml.float64}, features={"a": ml.col("amount") / 2, "t": ml.col("temp") / 2}
    )
    flights.apply(halves)

    assert flights.online_features("halves:a", {"amount": 3.0})["a"] == 1.5
    assert flights.online_features("halves:a", {"amount": [3.0, 4.0]})["a"].to_pylist() == [1.5, 2.0]
    assert flights.online_features("halves:t", {"origin": "JFK"}, now=NOON)["t"] == 1.75


def test_keys_renamed_in_a_reference_are_passed_on_to_the_inputs(flights: ml.Store) -> None:
    given = {"origin": ["LGA"], "dest": ["JFK"], "amount": [1.0], "price": [3.0], "event_timestamp": [NOON]}

    there = ml.ref("risk", keys={"origin": "dest", "amount": "price"}, prefix="dest_")
    table = flights.training_set(given, [ml.ref("ratios:heat", prefix="origin_"), there, "weather:temp"])

    assert {name: table[name].to_pylist() for name in table.column_names[5:]} == {
        "origin_heat": [-2.0],
        "dest_score": [11.5],
        "temp": [-2.0],
    }
    assert flights.online_features(there, {"dest": "JFK", "price": 3.0}, now=NOON)["dest_score"] == 11.5


def test_an_input_of_other_keys_is_looked_up_by_them(flights: ml.Store) -> None:
    flights.apply(
        ml.OnDemandView(
            "colder",
            inputs=["weather:temp", ml.ref("weather:temp", keys={"origin": "dest"}, prefix="dest_")],
            features={"by": ml.col("temp") - ml.col("dest_temp")},
        )
    )

    assert flights.online_features("colder", {"origin": "JFK", "dest": "LGA"}, now=NOON)["by"] == 5.5
    swapped = ml.ref("colder", keys={"origin": "dest", "dest": "origin"})
    assert flights.online_features(swapped, {"origin": "JFK", "dest": "LGA"}, now=NOON)["by"] == -5.5


def test_a_reference_that_renames_what_is_not_taken_is_refused(flights: ml.Store) -> None:
    with pytest.raises(ml.UsageError, match=r"risk takes no key or request column 'orign' \(did you mean 'origin'"):
        flights.training_set(labels(), [ml.ref("risk", keys={"orign": "dest"})])


def test_an_offset_and_a_ttl_are_passed_on_to_the_inputs(flights: ml.Store) -> None:
    late = labels(event_timestamp=["2024-01-02T12:00"] * 3)

    table = flights.training_set(
        late, ["ratios:heat", ml.ref("ratios:heat", offset="1d", prefix="before_"), ml.ref("ratios:heat", ttl="2d", prefix="old_")]
    )

    assert table["heat"].to_pylist() == [None, None, None]
    assert table["before_heat"].to_pylist() == table["old_heat"].to_pylist() == [10.5, -8.0, None]


def test_the_ttl_of_a_call_is_that_of_the_inputs(flights: ml.Store) -> None:
    table = flights.training_set(labels(), ["ratios:heat"], ttl="90m")

    assert table["heat"].to_pylist() == [None, -8.0, None]
    assert flights.reproduce(table).equals(table)


def test_names_that_clash_are_those_of_the_view_too(flights: ml.Store) -> None:
    table = flights.training_set(labels(heat=[1, 2, 3]), ["ratios"])

    assert table.column_names[4:] == ["ratios__heat", "dollars"]
    assert flights.training_set(labels(), ["ratios:heat"], full_names=True).column_names[3:] == ["ratios__heat"]


def test_a_status_tells_whether_anything_came_out_and_how_long_the_inputs_stand(flights: ml.Store) -> None:
    keys = {"origin": ["JFK", "XXX"], "amount": [3.0, 3.0]}

    table = flights.online_features(["ratios:heat", "risk"], keys, now=NOON, status=True)
    one = flights.online_features(["ratios:heat", "risk"], {"origin": "JFK", "amount": 3.0}, now=NOON, status=True)
    again = flights.online_features(["ratios:heat", "risk"], {"origin": "JFK", "amount": 3.0}, now=NOON, status=True)
    plain = flights.online_features(["weather:temp"], {"origin": "JFK"}, now=NOON, status=True)

    assert table["ratios__status"].to_pylist() == table["risk__status"].to_pylist() == ["PRESENT", "NULL_VALUE"]
    assert one == again == table.to_pylist()[0]
    assert one["risk__event_timestamp"] == plain["weather__event_timestamp"]
    assert one["risk__valid_to"] == plain["weather__valid_to"]


def test_the_status_of_what_is_shown_does_not_know_what_is_hidden(flights: ml.Store) -> None:
    answer = flights.online_features(["weather:wind", "ratios:heat"], {"origin": "LGA", "amount": 1.0}, now=NOON, status=True)

    assert (answer["weather__status"], answer["heat"]) == ("NULL_VALUE", -2.0)


def test_a_service_asks_for_on_demand_features_by_name(flights: ml.Store) -> None:
    flights.apply(ml.FeatureService("model", features=[risk, "ratios:heat", "weather:temp"]))

    assert flights.training_set(labels(), "model").column_names[3:] == ["score", "heat", "temp"]
    with pytest.raises(ml.UnknownNameError, match="view 'risk' has no feature 'scores'"):
        flights.apply(ml.FeatureService("other", features=["risk:scores"]))


def test_branches_and_versions_have_their_own_definitions(flights: ml.Store) -> None:
    flights.snapshot("v1")
    branch = flights.branch("try")
    branch.apply(replace(RATIOS, features={"heat": ml.col("temp") * 100}))
    branch.write("weather", {"origin": "JFK", "event_timestamp": NOON, "temp": 1.0, "wind": 0})
    asked = {"origin": "JFK", "amount": 3.0}

    assert branch.online_features("ratios:heat", asked, now=NOON)["heat"] == 100.0
    assert flights.online_features("ratios:heat", asked, now=NOON)["heat"] == 10.5
    assert branch.at("v1").online_features("risk", asked, now=NOON)["score"] == 11.5
    assert branch.training_set(labels(), ["ratios:heat"])["heat"].to_pylist()[0] == 100.0

    flights.merge("try")

    assert flights.online_features("ratios:heat", asked, now=NOON)["heat"] == 100.0


def test_what_a_transaction_wrote_is_what_it_computes_with(flights: ml.Store) -> None:
    asked = {"origin": "JFK", "amount": 3.0}

    with flights.transaction() as writing:
        writing.write("weather", {"origin": "JFK", "event_timestamp": NOON, "temp": 2.0, "wind": 1})
        inside = writing.online_features("ratios:heat", asked, now=NOON)["heat"]

    assert (inside, flights.online_features("ratios:heat", asked, now=NOON)["heat"]) == (6.0, 6.0)


def test_a_stream_of_labels_is_answered_batch_by_batch(flights: ml.Store) -> None:
    whole = pa.table(labels() | {"event_timestamp": pa.array([datetime(2024, 1, 1, 12, tzinfo=UTC)] * 3)})
    reader = pa.RecordBatchReader.from_batches(whole.schema, whole.to_batches(max_chunksize=2))

    streamed = flights.training_set(reader, ["risk", "ratios"]).read_all()

    assert streamed.equals(flights.training_set(whole, ["risk", "ratios"]))


def test_leaks_of_hidden_inputs_are_counted(flights: ml.Store) -> None:
    with pytest.raises(ml.LeakageError) as refused:
        flights.training_set(labels(), ["ratios:heat"], leakage="refuse")

    assert sum(refused.value.rows.values()) == 2


# ---------------------------------------------------------------- what a request brings


@pytest.mark.parametrize("keys", [{"origin": "JFK"}, {"origin": ["JFK"]}])
def test_a_request_that_lacks_a_column_is_told_which(flights: ml.Store, keys: dict[str, Any]) -> None:
    with pytest.raises(ml.SchemaMismatchError, match=r"ratios\.amount .*add 'amount' \(float64\) to the keys"):
        flights.online_features("ratios", keys)


def test_labels_that_lack_a_request_column_are_told_which(flights: ml.Store) -> None:
    with pytest.raises(ml.SchemaMismatchError, match=r"add 'amount' .* to the labels"):
        flights.training_set({"origin": ["JFK"], "event_timestamp": [NOON]}, ["ratios"])


@pytest.mark.parametrize("amount", ["3", True, [1.0]])
def test_what_does_not_fit_a_request_column_is_refused_for_one_and_for_many(flights: ml.Store, amount: Any) -> None:
    column = amount if isinstance(amount, list) else [amount]
    for keys in ({"origin": "JFK", "amount": amount}, {"origin": ["JFK"], "amount": [column[0]] if column != [1.0] else [column]}):
        with pytest.raises(ml.UsageError, match="amount"):
            flights.online_features("ratios", keys)


def test_whole_numbers_are_floats_where_floats_are_asked_for(flights: ml.Store) -> None:
    assert flights.online_features("ratios:heat", {"origin": "JFK", "amount": 3}, now=NOON)["heat"] == 10.5
    assert flights.online_features("ratios:heat", {"origin": "JFK", "amount": None}, now=NOON)["heat"] is None


def test_a_request_column_may_be_a_key(flights: ml.Store) -> None:
    flights.apply(ml.OnDemandView("names", request={"origin": ml.string}, features={"short": ml.col("origin").lower()}))

    assert flights.online_features(["names", "weather:temp"], {"origin": "JFK"}, now=NOON)["short"] == "jfk"


# ---------------------------------------------------------------- made anew


def test_a_training_set_is_made_anew_with_the_versions_it_was_made_with(flights: ml.Store) -> None:
    made = flights.training_set(labels(), ["risk", "ratios"])
    flights.apply(replace(RATIOS, features={"heat": ml.col("temp") * 0}))

    assert flights.reproduce(made).equals(made)
    assert b'"functions": [["risk@1", "' in made.schema.metadata[b"mlstore.features"]
    assert b"functions" not in flights.training_set(labels(), ["ratios"]).schema.metadata[b"mlstore.features"]


def test_what_is_missing_is_told_when_the_function_is_not_there(flights: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = flights.training_set(labels(), ["risk"])
    monkeypatch.setattr("mlstore.schema.functions._loaded", {})

    with pytest.raises(ml.ReproductionError, match=r"missing: .*risk"):
        flights.reproduce(made)


def test_a_vector_is_computed_with_as_a_matrix(flights: ml.Store) -> None:
    flights.apply(ml.FeatureView("taste", entity=None, schema={"v": ml.vector(2)}), longest)
    flights.write("taste", {"event_timestamp": ["2024-01-01"], "v": [[3.0, 4.0]]})

    assert flights.online_features("longest", {}) == {"twice": [6.0, 8.0], "most": 4.0}
    assert flights.training_set({"event_timestamp": [NOON]}, "longest")["twice"].to_pylist() == [[6.0, 8.0]]


@ml.on_demand(inputs=["taste:v"], returns={"twice": ml.vector(2), "most": ml.float32}, over="numpy")
def longest(columns: dict[str, Any]) -> dict[str, Any]:
    return {"twice": columns["v"] * 2, "most": np.max(columns["v"], axis=1)}

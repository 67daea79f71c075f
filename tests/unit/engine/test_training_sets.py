"""Training sets beyond the plain join: references, readers, provenance and leaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

import mlstore as ml
from tests.support.data import instant
from tests.support.worlds import SECOND

AIRPORT = ml.Entity("airport", keys={"origin": ml.string})
WEATHER = ml.FeatureView("weather", entity=AIRPORT, schema={"temp": ml.float64, "sky": ml.string}, ttl="6h")
ROWS = {
    "origin": ["JFK", "JFK", "LGA"],
    "event_timestamp": ["2024-05-01T00:00", "2024-05-02T00:00", "2024-05-02T00:00"],
    "temp": [1.0, 2.0, 3.0],
    "sky": ["clear", None, "rain"],
}
LABELS = pa.table(
    {
        "origin": ["JFK", "LGA", None],
        "dest": ["LGA", "JFK", "JFK"],
        "event_timestamp": pa.array(["2024-05-02T01:00", "2024-05-02T02:00", "2024-05-02T01:00"]).cast(pa.timestamp("us")),
    }
)


@pytest.fixture
def weather(store: ml.Store) -> ml.Store:
    store.apply(AIRPORT, WEATHER)
    store.write("weather", ROWS)
    return store


def reader_of(labels: pa.Table, size: int = 1) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(labels.schema, labels.to_batches(max_chunksize=size))


# -- references --------------------------------------------------------------------------------------------------------


def test_one_view_answers_twice_under_different_keys(weather: ml.Store) -> None:
    table = weather.training_set(LABELS, ["weather:temp", ml.ref("weather:temp", keys={"origin": "dest"}, prefix="dest_")])

    assert table.select(["temp", "dest_temp"]).to_pydict() == {"temp": [2.0, 3.0, None], "dest_temp": [3.0, 2.0, 2.0]}


def test_an_offset_asks_for_the_value_so_long_before(weather: ml.Store) -> None:
    table = weather.training_set(LABELS, ["weather:temp", ml.ref("weather:temp", offset="1d", prefix="yesterday_")], status=True)

    assert table["yesterday_temp"].to_pylist() == [1.0, None, None]
    assert [str(time) for time in table["yesterday_weather__valid_to"].to_pylist()][:1] == ["2024-05-02 06:00:00+00:00"]


def test_the_ttl_of_a_reference_beats_that_of_the_call_which_beats_the_views(weather: ml.Store) -> None:
    features = ["weather:temp", ml.ref("weather:temp", ttl="90m", prefix="near_")]

    table = weather.training_set(LABELS, features, ttl="30m", status=True)

    assert table["temp"].to_pylist() == [None, None, None]
    assert table["near_temp"].to_pylist() == [2.0, None, None]
    assert table["weather__status"].to_pylist()[0] == "OUTSIDE_TTL"


def test_references_work_from_text_and_from_a_service(weather: ml.Store) -> None:
    reference = ml.ref("weather:temp", keys={"origin": "dest"}, prefix="dest_", offset="1h", ttl="2d")
    weather.apply(ml.FeatureService("model", features=[reference]))

    by_object, by_text, by_service = (weather.training_set(LABELS, features) for features in ([reference], str(reference), "model"))

    assert by_object["dest_temp"].to_pylist() == [3.0, 2.0, 2.0]
    assert by_object.equals(by_text)
    assert by_object.equals(by_service)


def test_online_features_take_references_too(weather: ml.Store) -> None:
    reference = ml.ref("weather:temp", keys={"origin": "dest"}, prefix="dest_", ttl="2h")
    now = "2024-05-02T01:00"

    one = weather.online_features([reference], {"dest": "LGA"}, now=now)
    many = weather.online_features([reference], {"dest": ["LGA", "?"]}, now=now)

    assert one == {"dest": "LGA", "dest_temp": 3.0}
    assert many.to_pydict() == {"dest": ["LGA", "?"], "dest_temp": [3.0, None]}
    assert weather.online_features([reference], {"dest": "LGA"}, now="2024-05-02T02:01")["dest_temp"] is None


def test_a_cell_of_a_reference_is_explained(weather: ml.Store) -> None:
    label = {"dest": "JFK", "event_timestamp": "2024-05-02T01:00"}

    told = weather.explain(label, ml.ref("weather:temp", keys={"origin": "dest"}, offset="1d"))

    assert (told.value, told.status, told.key) == (1.0, "PRESENT", {"origin": "JFK"})


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("weather", ml.ref("weather")),
        ("weather@2:temp?prefix=a_", ml.ref("weather@2:temp", prefix="a_")),
        ("weather?key.origin=dest%20airport&key.x=%26", ml.ref("weather", keys={"x": "&", "origin": "dest airport"})),
        ("weather?offset=1d&ttl=1h30m", ml.ref("weather", ttl="90m", offset="24h")),
        ("weather?offset=2h", ml.ref("weather?offset=1h", offset="2h")),
    ],
)
def test_the_text_of_a_reference_says_all_of_it(text: str, reference: ml.Reference) -> None:
    assert str(reference) == text
    assert ml.ref(text) == reference


@pytest.mark.parametrize(
    ("features", "error", "told"),
    [
        ([ml.ref("weather", keys={"orgin": "dest"})], ml.UsageError, "weather has no key 'orgin'"),
        ([ml.ref("weather", keys={"origin": "dst"})], ml.SchemaMismatchError, "no column 'dst'.*its key 'origin'.*dest"),
        (["weather?lag=1d"], ml.UsageError, "no option 'lag'.*offset="),
        (["weather?offset"], ml.UsageError, "offset: '' is not a duration"),
        (["weather?offset=1d&offset=2d"], ml.UsageError, "twice"),
        (["weather?offset=-1d"], ml.UsageError, "offset.*duration"),
        (["weather?prefix=a b"], ml.UsageError, "prefix='a b'"),
        (["weather", ml.ref("weather", offset="1d")], ml.NameClashError, "weather__temp.*prefix="),
        (["weather", "weather:temp?prefix="], ml.NameClashError, "asked for twice"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_references_that_make_no_sense_are_refused(weather: ml.Store, features: list[object], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        weather.training_set(LABELS, features)


def test_an_offset_online_is_refused(weather: ml.Store) -> None:
    with pytest.raises(ml.UsageError, match=r"without an offset.*training_set"):
        weather.online_features([ml.ref("weather", offset="1d")], {"origin": "JFK"})


# -- readers -----------------------------------------------------------------------------------------------------------


def test_a_reader_is_answered_batch_by_batch(weather: ml.Store) -> None:
    taken: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(LABELS.to_batches(max_chunksize=1)):
            taken.append(number)
            yield batch

    answers = weather.training_set(pa.RecordBatchReader.from_batches(LABELS.schema, batches()), ["weather"])

    assert isinstance(answers, pa.RecordBatchReader)
    assert taken == []
    assert answers.read_next_batch().num_rows == 1
    assert len(taken) <= 2
    assert answers.read_all()["temp"].to_pylist() == [3.0, None]


def test_what_a_reader_is_answered_from_is_fixed_when_the_call_returns(weather: ml.Store) -> None:
    answers = weather.training_set(reader_of(LABELS), ["weather"])

    weather.delete("weather", keys={"origin": ["JFK"]})
    weather.optimize()

    assert answers.read_all()["temp"].to_pylist() == [2.0, 3.0, None]


def test_an_open_reader_holds_no_transaction(store: ml.Store) -> None:
    store.apply(AIRPORT, WEATHER)
    store.write("weather", ROWS)
    without = store.info()["environment"]["readers"]
    answers = store.training_set(reader_of(LABELS), ["weather"])

    readers = store.info()["environment"]["readers"]
    store.write("weather", ROWS)

    assert readers == without
    assert answers.read_all().num_rows == 3


def test_a_reader_with_no_rows_gives_none_in_the_right_types(weather: ml.Store) -> None:
    empty = LABELS.slice(0, 0)

    answers = weather.training_set(reader_of(empty), ["weather"], status=True).read_all()

    assert answers.num_rows == 0
    assert answers.schema.equals(weather.training_set(empty, ["weather"], status=True).schema)


def test_wrong_labels_of_a_reader_are_refused_at_the_call(weather: ml.Store) -> None:
    with pytest.raises(ml.SchemaMismatchError, match="no time column"):
        weather.training_set(reader_of(LABELS.drop_columns("event_timestamp")), ["weather"])
    with pytest.raises(ml.SchemaMismatchError, match="origin"):
        weather.training_set(reader_of(LABELS.drop_columns("origin")), ["weather"])


# -- provenance --------------------------------------------------------------------------------------------------------


def test_a_training_set_is_made_anew_bit_for_bit(weather: ml.Store) -> None:
    features = ["weather", ml.ref("weather", keys={"origin": "dest"}, prefix="dest_", offset="1h")]
    table = weather.training_set(LABELS, features, known_at="2030-01-01", ttl="8h", status=True, full_names=True)

    weather.write("weather", ROWS | {"temp": [9.0, 9.0, 9.0]})
    weather.apply(ml.FeatureView("weather", entity=AIRPORT, schema={"temp": ml.float64, "sky": ml.string, "wind": ml.int32}, ttl="1h"))
    anew = weather.reproduce(table)

    assert anew.equals(table)
    assert anew.schema.metadata == table.schema.metadata


def test_metadata_and_labels_are_enough(weather: ml.Store) -> None:
    table = weather.training_set(LABELS, ["weather"])
    kept = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}

    assert weather.reproduce(kept, labels=LABELS).equals(table)


def test_a_streamed_training_set_is_made_anew_too(weather: ml.Store) -> None:
    table = weather.training_set(reader_of(LABELS), ["weather"]).read_all()

    assert weather.reproduce(table).equals(table)


def test_the_pieces_and_chunks_of_labels_do_not_show_in_the_fingerprint(weather: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = weather.training_set(LABELS, ["weather"])
    monkeypatch.setattr("mlstore.engine.limits.LABEL_ROWS", 1)

    pieces = weather.training_set(pa.concat_tables([LABELS.slice(0, 1), LABELS.slice(1)]), ["weather"])

    assert pieces.schema.metadata == whole.schema.metadata


def test_what_is_missing_to_make_it_anew_is_said(weather: ml.Store) -> None:
    table = weather.training_set(LABELS, ["weather"])
    other = ml.open(":memory:")
    other.apply(AIRPORT, WEATHER)

    with pytest.raises(ml.UsageError, match="no training set of mlstore"):
        weather.reproduce(LABELS)
    with pytest.raises(ml.UsageError, match="labels="):
        weather.reproduce(table.schema)
    with pytest.raises(ml.ReproductionError, match=r"commit .* is not in"):
        other.reproduce(table)
    with pytest.raises(ml.ReproductionError, match="labels are not those"):
        weather.reproduce(table.schema, labels=LABELS.slice(0, 2))
    with pytest.raises(ml.UsageError, match=r"mlstore\.features cannot be read"):
        weather.reproduce({**table.schema.metadata, b"mlstore.features": b"{}"}, labels=LABELS)


def test_a_table_that_was_tampered_with_is_told_from_one_that_was_not(weather: ml.Store) -> None:
    table = weather.training_set(reader_of(LABELS), ["weather"]).read_all()
    at = table.column_names.index("temp")

    tampered = table.set_column(at, table.schema.field("temp"), pa.array([2.0, 3.0, 7.0]))

    with pytest.raises(ml.ReproductionError, match="temp come"):
        weather.reproduce(tampered)


def test_rows_that_are_gone_for_good_are_named(store: ml.Store, clock: Any, small_limits: None) -> None:
    store.apply(AIRPORT, ml.FeatureView("weather", entity=AIRPORT, schema={"temp": ml.float64}, retention="100s"))
    rows = {"origin": [f"A{number}" for number in range(60)], "event_timestamp": [instant(950 * SECOND)] * 60, "temp": [1.0] * 60}
    store.write("weather", rows)
    store.optimize()
    table = store.training_set({"origin": ["A7"], "event_timestamp": [instant(951 * SECOND)]}, ["weather"])

    clock.now += 10_000 * SECOND
    store.optimize()
    store.write("weather", {"origin": ["B"], "event_timestamp": [instant(11_000 * SECOND)], "temp": [2.0]})
    store.optimize()

    with pytest.raises(ml.ReproductionError, match=r"temp come.*snapshot"):
        store.reproduce(table)


# -- leaks -------------------------------------------------------------------------------------------------------------


def test_rows_that_were_told_the_future_are_counted(weather: ml.Store) -> None:
    with pytest.warns(ml.LeakageWarning, match="2 from weather"):
        table = weather.training_set(LABELS, ["weather"], leakage="report")

    assert json.loads(table.schema.metadata[b"mlstore.leakage"]) == {"weather": 2}


def test_a_training_set_that_leaks_is_refused_on_request(weather: ml.Store) -> None:
    with pytest.raises(ml.LeakageError, match="3 from dest_weather") as refused:
        weather.training_set(LABELS, [ml.ref("weather", keys={"origin": "dest"}, prefix="dest_")], leakage="refuse")

    assert refused.value.rows == {"dest_weather": 3}


def test_what_was_known_does_not_leak(weather: ml.Store) -> None:
    known = weather.training_set(LABELS, ["weather"], known_at="label", leakage="refuse")

    assert known["temp"].to_pylist() == [None, None, None]


def test_a_leak_through_a_reader_is_told_at_its_end(weather: ml.Store) -> None:
    answers = weather.training_set(reader_of(LABELS), ["weather"], leakage="refuse")

    with pytest.raises(ml.LeakageError, match="2 from weather"):
        answers.read_all()


def test_an_unknown_way_to_treat_leaks_is_refused(weather: ml.Store) -> None:
    with pytest.raises(ml.UsageError, match=r"leakage='no'.*refuse"):
        weather.training_set(LABELS, ["weather"], leakage="no")  # type: ignore[arg-type]

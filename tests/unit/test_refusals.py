"""What the store refuses: a clear error that names the thing, the place and the cure, and nothing written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

import mlstore as ml
from tests.support.worlds import shrink_limits

AIRPORT = ml.Entity("airport", keys={"origin": ml.string})
WEATHER = ml.FeatureView("weather", entity=AIRPORT, schema={"temp": ml.float64, "wind": ml.int32})
DELAYS = ml.FeatureView("delays", entity=AIRPORT, schema={"temp": ml.float64, "minutes": ml.int32}, created_timestamp="known_time")
NOTES = ml.Table("notes", schema={"id": ml.int64, "text": ml.string}, key="id")

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ml.Store]:
    with ml.open(tmp_path / "airports.mls", durability="normal") as store:
        store.apply(AIRPORT, WEATHER, DELAYS, NOTES)
        store.write("weather", weather_rows())
        store.write("notes", [{"id": 1, "text": "fog"}])
        yield store


def weather_rows(**changes: object) -> pa.Table:
    """Two rows that fit the view, with some columns changed; None leaves a column out."""
    columns: dict[str, object] = {
        "origin": ["JFK", "LGA"],
        "event_timestamp": pa.array([NOON, NOON], pa.timestamp("us", tz="UTC")),
        "temp": [20.5, 21.0],
        "wind": pa.array([3, None], pa.int32()),
    }
    return pa.table({name: column for name, column in (columns | changes).items() if column is not None})


def labels(**changes: object) -> pa.Table:
    columns: dict[str, object] = {"origin": ["JFK"], "event_timestamp": [NOON], "late": [True]}
    return pa.table({name: column for name, column in (columns | changes).items() if column is not None})


def contents(store: ml.Store) -> tuple[object, ...]:
    """Everything a refused call might have touched."""
    tables = [store.read(name).table().to_pylist() for name in ("weather", "delays", "notes")]
    return store.info()["tables"], [commit.id for commit in store.history()], tables, [str(entry) for entry in store.catalog()]


@contextmanager
def refuses(store: ml.Store, error: type[ml.MlstoreError], *, naming: Sequence[str], cure: str) -> Iterator[None]:
    """The block raises `error`, whose sentence holds every name and whose hint holds the cure; the store is as it was."""
    before = contents(store)
    with pytest.raises(error) as caught:
        yield
    assert contents(store) == before
    for name in naming:
        assert name in caught.value.message
    assert cure in caught.value.hint
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- unknown view or feature


def test_writing_to_an_unknown_view_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UnknownNameError, naming=["'wether'"], cure="weather"):
        store.write("wether", weather_rows())


def test_deleting_from_an_unknown_view_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UnknownNameError, naming=["'wether'"], cure="weather"):
        store.delete("wether", keys={"origin": "JFK"})


def test_reading_an_unknown_view_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UnknownNameError, naming=["'wether'"], cure="weather"):
        store.read("wether")


def test_reading_an_unknown_column_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UnknownNameError, naming=["weather", "'tmp'"], cure="temp"):
        store.read("weather", columns=["origin", "tmp"]).table()


@pytest.mark.parametrize(
    ("reference", "named", "cure"),
    [
        ("wether", "'wether'", "weather"),
        ("weather:tmp", "'tmp'", "temp"),
        ("weather@7:temp", "weather", "weather"),
        ("notes", "notes", "store.read()"),
    ],
)
def test_asking_for_an_unknown_view_or_feature_is_refused(store: ml.Store, reference: str, named: str, cure: str) -> None:
    with refuses(store, ml.UsageError, naming=[named], cure=cure):
        store.online_features([reference], {"origin": "JFK"})
    with refuses(store, ml.UsageError, naming=[named], cure=cure):
        store.training_set(labels(), [reference])


def test_explaining_an_unknown_feature_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UnknownNameError, naming=["'tmp'"], cure="temp"):
        store.explain({"origin": "JFK", "event_timestamp": NOON}, "weather:tmp")


def test_a_view_over_an_unknown_entity_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UnknownNameError, naming=["'tides'", "'harbour'"], cure="apply"):
        store.apply(ml.FeatureView("tides", entity="harbour", schema={"level": ml.float64}))


# ---------------------------------------------------------------- data that does not fit


@pytest.mark.parametrize("column", ["origin", "event_timestamp", "temp"])
def test_a_missing_column_is_refused(store: ml.Store, column: str) -> None:
    with refuses(store, ml.SchemaMismatchError, naming=["weather", f"'{column}'"], cure=column):
        store.write("weather", weather_rows(**{column: None}))


def test_a_missing_created_column_is_refused(store: ml.Store) -> None:
    rows = {"origin": ["JFK"], "event_timestamp": [NOON], "temp": [1.0], "minutes": [3]}

    with refuses(store, ml.SchemaMismatchError, naming=["delays", "'known_time'"], cure="known_time"):
        store.write("delays", rows)


def test_a_column_the_view_does_not_have_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.SchemaMismatchError, naming=["weather", "'humid'"], cure="humid"):
        store.write("weather", weather_rows(humid=[1.0, 2.0]))


def test_a_column_given_twice_is_refused(store: ml.Store) -> None:
    rows = weather_rows()
    twice = rows.append_column("temp", rows["temp"])

    with refuses(store, ml.SchemaMismatchError, naming=["weather", "'temp'"], cure="once"):
        store.write("weather", twice)


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("temp", ["warm", "cold"], "float64"),
        ("wind", [1.5, 2.0], "int32"),
        ("wind", [2**40, 1], "int32"),
        ("origin", [1, 2], "string"),
        ("temp", [[1.0], [2.0]], "float64"),
    ],
)
def test_a_column_of_the_wrong_type_is_refused(store: ml.Store, column: str, values: list[object], expected: str) -> None:
    with refuses(store, ml.UsageError, naming=["weather", column, expected], cure=""):
        store.write("weather", weather_rows(**{column: values}))


def test_an_unparsable_time_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UsageError, naming=["weather", "event_timestamp", "half past nine"], cure="2"):
        store.write("weather", weather_rows(event_timestamp=["2024-05-01", "half past nine"]))


def test_a_null_key_is_refused_with_its_row(store: ml.Store) -> None:
    with refuses(store, ml.InvalidDataError, naming=["weather", "origin", "row 1"], cure=""):
        store.write("weather", weather_rows(origin=["JFK", None]))


def test_a_null_event_time_is_refused_with_its_row(store: ml.Store) -> None:
    times = pa.array([NOON, None], pa.timestamp("us", tz="UTC"))

    with refuses(store, ml.InvalidDataError, naming=["weather", "event_timestamp", "row 1"], cure=""):
        store.write("weather", weather_rows(event_timestamp=times))


def test_a_time_that_overflows_is_refused_with_its_row(store: ml.Store) -> None:
    times = pa.array([0, 2**60], pa.timestamp("s"))

    with refuses(store, ml.InvalidDataError, naming=["weather", "event_timestamp", "row 1"], cure=""):
        store.write("weather", weather_rows(event_timestamp=times))


def test_a_time_that_would_lose_digits_is_refused_with_its_row(store: ml.Store) -> None:
    times = pa.array([0, 1], pa.timestamp("ns"))

    with refuses(store, ml.InvalidDataError, naming=["weather", "event_timestamp", "row 1"], cure="ns"):
        store.write("weather", weather_rows(event_timestamp=times))


def test_a_key_that_is_too_long_is_refused_with_its_row(store: ml.Store) -> None:
    with refuses(store, ml.InvalidDataError, naming=["weather", "origin", "row 1"], cure=""):
        store.write("weather", weather_rows(origin=["JFK", "x" * 1000]))


def test_a_stream_that_turns_bad_in_its_last_batch_writes_nothing(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_limits(monkeypatch)
    good, bad = weather_rows(), weather_rows(origin=["JFK", None])
    batches = [*(good.to_batches() * 50), *bad.cast(good.schema).to_batches()]

    with refuses(store, ml.InvalidDataError, naming=["weather", "origin"], cure=""):
        store.write("weather", pa.RecordBatchReader.from_batches(good.schema, batches))


def test_a_stream_that_breaks_writes_nothing(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_limits(monkeypatch)
    before = contents(store)

    def broken() -> Iterator[pa.RecordBatch]:
        for _ in range(50):
            yield from weather_rows().to_batches()
        raise ConnectionError("the sensor went away")

    with pytest.raises(ConnectionError, match="the sensor went away"):
        store.write("weather", pa.RecordBatchReader.from_batches(weather_rows().schema, broken()))

    assert contents(store) == before


def test_a_table_row_without_its_key_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UsageError, naming=["notes", "id"], cure=""):
        store.write("notes", [{"text": "no number"}])


def test_an_unknown_write_mode_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UsageError, naming=["'replace'"], cure="upsert"):
        store.write("weather", weather_rows(), mode="replace")


def test_data_that_is_no_table_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UsageError, naming=["weather", "int"], cure="pyarrow"):
        store.write("weather", 42)


# ---------------------------------------------------------------- questions that cannot be answered


def test_a_feature_asked_for_twice_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.NameClashError, naming=["'weather:temp'"], cure="once"):
        store.training_set(labels(), ["weather:temp", "weather:temp"])
    with refuses(store, ml.NameClashError, naming=["'weather:temp'"], cure="once"):
        store.online_features(["weather:temp", "weather:temp"], {"origin": "JFK"})


def test_a_label_column_with_the_name_of_an_output_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.NameClashError, naming=["weather__temp"], cure="rename"):
        store.training_set(labels(weather__temp=[1.0]), ["weather:temp"], full_names=True)


def test_a_label_frame_without_its_key_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.SchemaMismatchError, naming=["label", "'origin'"], cure="origin"):
        store.training_set(labels(origin=None), ["weather"])


def test_a_label_frame_without_its_time_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.SchemaMismatchError, naming=["label", "'asked_at'"], cure="timestamp="):
        store.training_set(labels(), ["weather"], timestamp="asked_at")


def test_a_label_key_of_the_wrong_type_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.SchemaMismatchError, naming=["origin", "string"], cure=""):
        store.training_set(labels(origin=[7]), ["weather"])


def test_an_online_question_without_its_key_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UsageError, naming=["weather", "'origin'"], cure="origin"):
        store.online_features(["weather"], {"airport": "JFK"})


def test_an_empty_feature_list_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UsageError, naming=["features is empty"], cure="at least one"):
        store.training_set(labels(), [])
    with refuses(store, ml.UsageError, naming=["features is empty"], cure="at least one"):
        store.online_features([], {"origin": "JFK"})


def test_a_knowledge_bound_that_is_no_time_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UsageError, naming=["known_at", "yesterday"], cure="label"):
        store.training_set(labels(), ["weather"], known_at="yesterday")


def test_deleting_everything_by_saying_nothing_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.UsageError, naming=["weather"], cure="keys"):
        store.delete("weather")


# ---------------------------------------------------------------- versions and read-only handles


@pytest.mark.parametrize("version", ["v9", "0123456789abcdef", datetime(1999, 1, 1, tzinfo=UTC)])
def test_an_unknown_version_is_refused(store: ml.Store, version: str | datetime) -> None:
    store.snapshot("v1")

    with refuses(store, ml.UnknownVersionError, naming=[str(version)[:4]], cure=""):
        store.at(version)


def test_a_snapshot_name_that_is_taken_is_refused(store: ml.Store) -> None:
    store.snapshot("v1")

    with refuses(store, ml.AlreadyExistsError, naming=["'v1'"], cure="another name"):
        store.snapshot("v1")


def write_something(store: ml.Store) -> None:
    store.write("weather", weather_rows())


def delete_something(store: ml.Store) -> None:
    store.delete("weather", keys={"origin": "JFK"})


def apply_something(store: ml.Store) -> None:
    store.apply(ml.Entity("harbour", keys={"harbour": ml.string}))


def snapshot_something(store: ml.Store) -> None:
    store.snapshot("v2")


CHANGES = [write_something, delete_something, apply_something, snapshot_something]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_through_a_version_is_refused(store: ml.Store, change: object) -> None:
    store.snapshot("v1")

    with refuses(store, ml.ReadOnlyError, naming=["v1"], cure="open"):
        change(store.at("v1"))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_through_a_read_only_handle_is_refused(store: ml.Store, change: object) -> None:
    with ml.open(store.path, read_only=True) as reader, refuses(store, ml.ReadOnlyError, naming=["airports.mls"], cure="read_only"):
        change(reader)


def test_a_closed_store_refuses_every_call(store: ml.Store, tmp_path: Path) -> None:
    other = ml.open(tmp_path / "other.mls")
    other.close()

    with pytest.raises(ml.ClosedError, match="closed"):
        other.read("weather")
    with pytest.raises(ml.ClosedError, match="closed"):
        other.write("weather", weather_rows())


# ---------------------------------------------------------------- definitions


def test_one_bad_definition_keeps_the_good_ones_out(store: ml.Store) -> None:
    harbour = ml.Entity("harbour", keys={"harbour": ml.string})
    tides = ml.FeatureView("tides", entity="habour", schema={"level": ml.float64})

    with refuses(store, ml.UnknownNameError, naming=["'tides'", "'habour'"], cure=""):
        store.apply(harbour, tides)


def test_a_name_of_another_kind_is_refused(store: ml.Store) -> None:
    with refuses(store, ml.AlreadyExistsError, naming=["'weather'", "view", "table"], cure="name"):
        store.apply(ml.Table("weather", schema={"id": ml.int64}))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"ttl": "6 parsecs"}, "6 parsecs"),
        ({"ttl": "-1h"}, "-1h"),
        ({"boundary": "open"}, "open"),
        ({"nulls": "zero"}, "zero"),
        ({"schema": {}}, "schema"),
        ({"schema": {"event_timestamp": ml.float64}}, "event_timestamp"),
        ({"schema": {"temp": "a number"}}, "temp"),
        ({"time_unit": "h"}, "time_unit"),
    ],
)
def test_a_view_that_makes_no_sense_is_refused(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ml.DefinitionError) as caught:
        ml.FeatureView("weather", **({"entity": AIRPORT, "schema": {"temp": ml.float64}} | arguments))

    assert "weather" in caught.value.message
    assert named in caught.value.message
    assert caught.value.hint

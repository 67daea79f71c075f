"""Ten mistakes a newcomer makes. Each gives one clear sentence: one line, naming the thing and the cure."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

import mlstore as ml

AIRPORT = ml.Entity("airport", keys={"origin": ml.string})
WEATHER = ml.FeatureView("weather", entity=AIRPORT, schema={"temp": ml.float64, "wind": ml.int64})

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def store() -> Iterator[ml.Store]:
    with ml.open(":memory:") as store:
        store.apply(AIRPORT, WEATHER)
        yield store


def frame(**changes: object) -> pd.DataFrame:
    columns: dict[str, object] = {"origin": ["JFK", "LGA"], "event_timestamp": [NOON, NOON], "temp": [20.5, 21.0], "wind": [3, 4]}
    return pd.DataFrame(columns | changes)


def assert_one_clear_sentence(error: ml.MlstoreError, *, naming: list[str], cure: str) -> None:
    sentence = str(error)
    assert "\n" not in sentence
    assert len(sentence) < 300
    for name in naming:
        assert name in error.message
    assert cure in error.hint


def test_a_wrong_column_name(store: ml.Store) -> None:
    with pytest.raises(ml.SchemaMismatchError) as caught:
        store.write("weather", frame().rename(columns={"temp": "tempp"}))

    assert_one_clear_sentence(caught.value, naming=["weather", "'temp'"], cure="tempp")
    assert store.read("weather").num_rows == 0


def test_naive_and_zoned_times_mixed(store: ml.Store) -> None:
    mixed = pd.Series([datetime(2024, 5, 1, 12), NOON], dtype=object)

    with pytest.raises(ml.UsageError) as caught:
        store.write("weather", frame(event_timestamp=mixed))

    assert_one_clear_sentence(caught.value, naming=["event_timestamp", "zone"], cure="UTC")
    assert store.read("weather").num_rows == 0


def test_naive_and_zoned_times_mixed_in_dicts(store: ml.Store) -> None:
    rows = [
        {"origin": "JFK", "event_timestamp": NOON, "temp": 1.0, "wind": 1},
        {"origin": "LGA", "event_timestamp": datetime(2024, 5, 1, 12), "temp": 1.0, "wind": 1},
    ]

    with pytest.raises(ml.UsageError) as caught:
        store.write("weather", rows)

    assert_one_clear_sentence(caught.value, naming=["event_timestamp", "zone"], cure="UTC")
    assert store.read("weather").num_rows == 0


def test_strings_for_ints(store: ml.Store) -> None:
    with pytest.raises(ml.SchemaMismatchError) as caught:
        store.write("weather", frame(wind=["3", "4"]))

    assert_one_clear_sentence(caught.value, naming=["weather", "wind", "int64", "string"], cure="cast")
    assert store.read("weather").num_rows == 0


def test_a_view_defined_twice(store: ml.Store) -> None:
    other = ml.FeatureView("tides", entity=AIRPORT, schema={"level": ml.float64})
    same_name = ml.FeatureView("tides", entity=AIRPORT, schema={"height": ml.float64})

    with pytest.raises(ml.UsageError) as caught:
        store.apply(other, same_name)

    assert_one_clear_sentence(caught.value, naming=["'tides'", "twice"], cure="name")
    assert store.catalog("tides") == []


def test_a_missing_key_column(store: ml.Store) -> None:
    with pytest.raises(ml.SchemaMismatchError) as caught:
        store.write("weather", frame().drop(columns="origin"))

    assert_one_clear_sentence(caught.value, naming=["weather", "'origin'"], cure="origin")
    assert store.read("weather").num_rows == 0


def test_the_pandas_index_forgotten(store: ml.Store) -> None:
    rows = frame().drop(columns="origin").set_index(pd.Index(["JFK", "LGA"]))

    with pytest.raises(ml.SchemaMismatchError) as caught:
        store.write("weather", rows)

    assert_one_clear_sentence(caught.value, naming=["weather", "'origin'", "index"], cure="reset_index()")
    assert store.read("weather").num_rows == 0


def test_a_pandas_index_with_a_name_is_a_column(store: ml.Store) -> None:
    store.write("weather", frame().set_index("origin"))

    assert store.read("weather")["origin"].to_pylist() == ["JFK", "LGA"]


@pytest.mark.parametrize("forgotten", ["origin", "event_timestamp"])
def test_the_pandas_index_of_labels_forgotten(store: ml.Store, forgotten: str) -> None:
    labels = frame()[["origin", "event_timestamp"]]
    labels = labels.set_index(forgotten).rename_axis(None)

    with pytest.raises(ml.SchemaMismatchError) as caught:
        store.training_set(labels, ["weather"])

    assert_one_clear_sentence(caught.value, naming=["labels", f"'{forgotten}'"], cure=forgotten if forgotten == "origin" else "timestamp=")


def test_an_object_column_of_mixed_types(store: ml.Store) -> None:
    mixed = pd.Series([1, "two"], dtype=object)

    with pytest.raises(ml.UsageError) as caught:
        store.write("weather", frame(wind=mixed))

    assert_one_clear_sentence(caught.value, naming=["weather", "wind"], cure="int64")
    assert store.read("weather").num_rows == 0


def test_a_path_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ml.StoreError) as caught:
        ml.open(tmp_path)

    assert_one_clear_sentence(caught.value, naming=[str(tmp_path), "folder"], cure="file")
    assert list(tmp_path.iterdir()) == []


def test_a_path_in_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "my.mls"

    with pytest.raises(ml.StoreError) as caught:
        ml.open(path)

    assert_one_clear_sentence(caught.value, naming=[str(path.parent)], cure="create")


@pytest.mark.parametrize("content", [b"origin,temp\nJFK,20.5\n", b"PAR1" + b"\0" * 100_000, b"SQLite format 3\0" + b"\1" * 8192])
def test_a_file_that_is_not_a_store(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weather.csv"
    path.write_bytes(content)

    with pytest.raises(ml.NotAStoreError) as caught:
        ml.open(path)

    assert_one_clear_sentence(caught.value, naming=["weather.csv", "something else"], cure="file")
    assert path.read_bytes() == content


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a disk without room: the kernel refuses the write in the same place."""
    script = textwrap.dedent("""
        import resource, sys
        import mlstore as ml

        with ml.open(sys.argv[1]) as store:
            store.apply(ml.FeatureView("load", entity=ml.Entity("host", keys={"host": ml.int64}), schema={"cpu": ml.float64}),
                        ml.Entity("host", keys={"host": ml.int64}))
            store.write("load", {"host": [1], "event_timestamp": ["2024-05-01"], "cpu": [0.5]})
            resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            rows = 1_000_000
            try:
                store.write("load", {"host": list(range(rows)), "event_timestamp": ["2024-05-02"] * rows, "cpu": [0.25] * rows})
            except ml.StoreFullError as full:
                print(full.message, "|", full.hint)
            print(store.read("load").num_rows)
    """)

    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "small.mls")], capture_output=True, text=True, timeout=120)

    assert done.stderr == ""
    sentence, rows = done.stdout.splitlines()
    message, hint = sentence.split(" | ")
    assert "small.mls" in message
    assert "room" in hint
    assert rows == "1"
    with ml.open(tmp_path / "small.mls") as store:
        assert store.online_features(["load"], {"host": 1}) == {"host": 1, "cpu": 0.5}

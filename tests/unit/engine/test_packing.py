"""Rows that are packed without Arrow are the same rows, and are refused alike."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import mlstore as ml

USER = ml.Entity("user", keys={"name": ml.string, "number": ml.int32})
VIEW = ml.FeatureView("view", entity=USER, schema={"a": ml.float32, "b": ml.string, "c": ml.vector(2)}, created_timestamp="known")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def view(store: ml.Store) -> ml.Store:
    store.apply(USER, VIEW)
    store.read("view").table()  # the catalogue has been seen, as the short way wants it
    return store


def row(number: int = 1, **values: Any) -> dict[str, Any]:
    plain = {"name": "n\0", "number": number, "event_timestamp": NOON, "known": None, "a": 0.1, "b": None, "c": [1.0, 2.0]}
    return plain | values


def test_a_row_is_the_same_whichever_way_it_takes(view: ml.Store):
    rows = [row(), row(2, known=NOON, b="text"), row(1, event_timestamp=datetime(2024, 5, 2, tzinfo=UTC), a=None, c=None)]

    short = view.write("view", rows)
    long = view.write("view", pa.Table.from_pylist(rows))

    assert short.changes[0].rows == long.changes[0].rows == 3
    written = view.read("view").table().to_pylist()
    assert written[0::2] == written[1::2]
    view.verify()


def test_one_dict_of_scalars_is_one_row_and_one_of_lists_is_columns(view: ml.Store):
    view.write("view", row())
    view.write("view", {name: [value] for name, value in row(2).items()})

    assert view.read("view", columns=["number", "c"]).table().to_pylist() == [
        {"number": 1, "c": [1.0, 2.0]},
        {"number": 2, "c": [1.0, 2.0]},
    ]


def test_a_dict_of_columns_of_numbers_is_not_taken_for_one_row_with_a_vector(store: ml.Store):
    store.apply(ml.Table("vectors", schema={"v": ml.vector(2)}))
    store.read("vectors").table()

    with pytest.raises(ml.SchemaMismatchError):
        store.write("vectors", {"v": [1.0, 2.0]})
    store.write("vectors", {"v": [[1.0, 2.0], [3.0, 4.0]]})

    assert store.read("vectors").num_rows == 2


@pytest.mark.parametrize("naive", [datetime(2024, 5, 1), "2024-05-01T12:00:00"])
def test_times_with_and_without_a_zone_in_one_write_are_refused(view: ml.Store, naive: Any):
    with pytest.raises(ml.SchemaMismatchError, match="zone"):
        view.write("view", [row(), row(2, event_timestamp=naive)])

    assert view.read("view").num_rows == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"a": 1e39}, "view.a, row 0"),
        ({"number": 2**31}, "view.number, row 0"),
        ({"name": None}, "view.name, row 0"),
        ({"event_timestamp": None}, "view.event_timestamp, row 0"),
        ({"c": [1.0]}, "view.c, row 0"),
        ({"b": 7}, "view.b: expected string"),
        ({"name": "x" * 500}, "at most 440"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_words_of_every_write(view: ml.Store, wrong: dict[str, Any], told: str):
    with pytest.raises((ml.SchemaMismatchError, ml.InvalidDataError), match=told):
        view.write("view", row(**wrong))

    assert view.read("view").num_rows == 0


def test_a_row_packed_for_what_the_view_was_is_packed_again(view: ml.Store, store_path: Path):
    with ml.open(store_path) as other:
        other.apply(USER, ml.FeatureView("view", entity=USER, schema=dict(VIEW.schema) | {"d": ml.int64}, created_timestamp="known"))

        with pytest.raises(ml.SchemaMismatchError, match="'d'"):
            view.write("view", row())
        view.write("view", row(d=4))

        assert other.read("view", columns=["d"]).table()["d"].to_pylist() == [4]


def test_an_upsert_of_rows_replaces_the_rows_of_their_key_and_time(view: ml.Store):
    view.write("view", [row(a=1.0), row(2, a=2.0)])
    view.write("view", [row(a=5.0), row(a=6.0)], mode="upsert")

    assert view.read("view", columns=["number", "a"]).table().to_pylist() == [{"number": 1, "a": 6.0}, {"number": 2, "a": 2.0}]
    assert view.online_features(["view:a"], {"name": "n\0", "number": 1})["a"] == 6.0
    view.verify()


def test_rows_without_a_clock_of_their_own_have_that_of_the_commit(store: ml.Store):
    store.apply(ml.Table("plain", schema={"id": ml.int64, "text": ml.string}, key="id"))
    store.read("plain").table()

    commit = store.write("plain", [{"id": 2, "text": "b"}, {"id": 1, "text": "a"}])
    again = store.write("plain", {"id": 1, "text": "c"}, mode="upsert")

    assert store.read("plain").table().to_pylist() == [{"id": 1, "text": "c"}, {"id": 2, "text": "b"}]
    assert store.at(commit.id).read("plain").table()["text"].to_pylist() == ["a", "b"]
    assert again.changes[0].rows == 1

"""Many keys asked of a prepared reader: lists of integers have a way of their own, which says what the others say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml

USER = ml.Entity("user", keys={"user_id": ml.int64})
NOON = "2024-05-01T00:30"


def spend(**changes: Any) -> ml.FeatureView:
    return ml.FeatureView("spend", **({"entity": USER, "schema": {"amount": ml.int32, "note": ml.string}} | changes))


@pytest.fixture
def shop(store: ml.Store) -> ml.Store:
    """Two views of one entity."""
    store.apply(USER, spend(), ml.FeatureView("visits", entity=USER, schema={"count": ml.int64}, ttl="1h"))
    store.write("spend", {"user_id": [7, -8], "event_timestamp": ["2024-05-01"] * 2, "amount": [3, None], "note": ["a", "é"]})
    store.write("visits", {"user_id": [7, 9], "event_timestamp": ["2024-05-01", "2024-04-01"], "count": [2, 5]})
    return store


def prepared(store: ml.Store, features: list[str], **options: Any) -> ml.OnlineReader:
    """A reader that has answered many keys before."""
    reader = store.reader(features, **options)
    reader.online_features({"user_id": [1]}, now=NOON)
    return reader


def test_a_list_of_integers_is_one_look_and_gives_the_table_of_an_array(shop: ml.Store, glances: list[int]) -> None:
    reader, keys = prepared(shop, ["spend", "visits"]), [7, 99, -8, 7, 9]

    listed = reader.online_features({"user_id": keys}, now=NOON)
    in_an_array = reader.online_features({"user_id": pa.array(keys)}, now=NOON)

    assert glances == [10]
    assert listed.equals(in_an_array)
    assert listed.to_pydict() == {
        "user_id": keys,
        "amount": [3, None, None, 3, None],
        "note": ["a", None, "é", "a", None],
        "count": [2, None, None, 2, None],
    }


def test_one_view_gives_its_columns_in_the_order_asked_for(shop: ml.Store, glances: list[int]) -> None:
    reader = prepared(shop, ["spend:note", "spend:amount"])

    table = reader.online_features({"user_id": [-8, 7]})

    assert glances == [2]
    assert table.column_names == ["user_id", "note", "amount"]
    assert table.schema.types == [pa.int64(), pa.string(), pa.int32()]
    assert table.to_pylist()[1] == {"user_id": 7, "note": "a", "amount": 3}


@pytest.mark.parametrize(
    "keys", [[], [None, 7], [2**63], [np.int64(7)], (7, -8), np.array([7, -8]), pa.chunked_array([[7], [-8]])], ids=repr
)
def test_other_keys_go_the_other_way_and_are_answered_as_ever(shop: ml.Store, glances: list[int], keys: Any) -> None:
    fresh, reader = shop.reader(["spend"]), prepared(shop, ["spend"])

    assert reader.online_features({"user_id": keys}).equals(fresh.online_features({"user_id": keys}))
    assert glances == []


def test_a_list_of_anything_else_is_refused(shop: ml.Store) -> None:
    reader = prepared(shop, ["spend"])

    with pytest.raises(ml.SchemaMismatchError, match="expected int64, got bool"):
        reader.online_features({"user_id": [True]})


def test_a_status_is_told_the_long_way(shop: ml.Store, glances: list[int]) -> None:
    reader = prepared(shop, ["visits"], status=True)

    table = reader.online_features({"user_id": [7, 9, 1]}, now=NOON)

    assert glances == []
    assert table["visits__status"].to_pylist() == ["PRESENT", "OUTSIDE_TTL", "NOT_FOUND"]


def test_keys_of_another_type_than_int64_go_the_other_way(store: ml.Store, glances: list[int]) -> None:
    small = ml.Entity("small", keys={"user_id": ml.int8})
    store.apply(small, ml.FeatureView("spend", entity=small, schema={"amount": ml.int32}))
    store.write("spend", {"user_id": 7, "event_timestamp": "2024-05-01", "amount": 3})
    reader = prepared(store, ["spend"])

    table = reader.online_features({"user_id": [7, 1000]})

    assert glances == []
    assert table.to_pydict() == {"user_id": [7, 1000], "amount": [3, None]}


def test_a_prepared_reader_sees_every_commit_and_every_definition(shop: ml.Store, glances: list[int]) -> None:
    reader = prepared(shop, ["spend"])

    shop.write("spend", {"user_id": 7, "event_timestamp": "2024-05-02", "amount": 4, "note": "b"})
    after_a_write = reader.online_features({"user_id": [7]})
    shop.apply(spend(schema={"amount": ml.int64, "note": ml.string, "tags": ml.list_(ml.string)}))
    shop.write("spend", {"user_id": 9, "event_timestamp": "2024-05-02", "amount": 2**40, "note": "c", "tags": ["x"]})
    after_a_change = [reader.online_features({"user_id": [7, 9]}) for _ in range(2)]

    assert after_a_write.to_pylist() == [{"user_id": 7, "amount": 4, "note": "b"}]
    assert after_a_change[0].equals(after_a_change[1])
    assert after_a_change[0].schema.types == [pa.int64(), pa.int64(), pa.string(), pa.list_(pa.string())]
    assert after_a_change[0].to_pylist() == [
        {"user_id": 7, "amount": 4, "note": "b", "tags": None},
        {"user_id": 9, "amount": 2**40, "note": "c", "tags": ["x"]},
    ]
    assert glances == [1, 2, 2]


def test_a_transaction_sees_what_it_wrote_and_others_do_not(shop: ml.Store) -> None:
    reader = prepared(shop, ["spend:amount"])

    with shop.transaction() as tx:
        tx.write("spend", {"user_id": 7, "event_timestamp": "2024-05-02", "amount": 4, "note": "b"})
        inside = [tx.online_features(["spend:amount"], {"user_id": [7]})["amount"].to_pylist() for _ in range(2)]
        outside = reader.online_features({"user_id": [7]})["amount"].to_pylist()

    assert inside == [[4], [4]]
    assert outside == [3]


def test_a_branch_is_asked_the_long_way(shop: ml.Store, glances: list[int]) -> None:
    shop.branch("trial")
    trial = shop.checkout("trial")
    trial.write("spend", {"user_id": 9, "event_timestamp": "2024-05-02", "amount": 9, "note": "t"})

    table = prepared(trial, ["spend:amount"]).online_features({"user_id": [7, 9]})

    assert glances == []
    assert table["amount"].to_pylist() == [3, 9]


def test_a_batch_is_one_read_and_one_batch(shop: ml.Store) -> None:
    reader = prepared(shop, ["visits"])

    reader.online_features({"user_id": [7, 9, 1]}, now=NOON)
    reader.online_features({"user_id": 7}, now=NOON)
    reader.online_features(pa.table({"user_id": [9]}), now=NOON)

    found = shop.freshness(now=NOON)
    visits = {view.view: view for view in found.views}["visits"]
    assert (found.reads, found.batch_reads) == (4, 3)
    assert (visits.outside_ttl, visits.not_found) == (2, 2)

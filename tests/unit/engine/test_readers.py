"""Prepared readers: what they notice, what they refuse, and that a call is one look at one commit."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import mlstore as ml

USER = ml.Entity("user", keys={"user_id": ml.int64})
ROUTE = ml.Entity("route", keys={"carrier": ml.string, "stop": ml.int32})


def spend(**changes: Any) -> ml.FeatureView:
    return ml.FeatureView("spend", **({"entity": USER, "schema": {"amount": ml.int32, "note": ml.string}} | changes))


@pytest.fixture
def shop(store: ml.Store) -> ml.Store:
    """Two views of one entity, one of another, one of none."""
    store.apply(
        USER,
        ROUTE,
        spend(),
        ml.FeatureView("visits", entity=USER, schema={"count": ml.int64}, ttl="1h"),
        ml.FeatureView("delays", entity=ROUTE, schema={"minutes": ml.float64}),
        ml.FeatureView("weather", schema={"temp": ml.float64}),
        ml.FeatureService("model", features=["spend:amount", "visits"]),
    )
    at = {"event_timestamp": "2024-05-01"}
    store.write("spend", {"user_id": 7, **at, "amount": 3, "note": "a"})
    store.write("visits", {"user_id": 7, **at, "count": 2})
    store.write("delays", {"carrier": "AA", "stop": 1, **at, "minutes": 4.5})
    store.write("weather", {**at, "temp": 20.5})
    return store


NOON = "2024-05-01T00:30"


def test_a_reader_answers_one_key_of_several_entities_with_a_single_look(shop: ml.Store, glances: list[int]) -> None:
    reader = shop.reader(["spend", "visits", "delays", "weather"])
    keys = {"user_id": 7, "carrier": "AA", "stop": 1}

    found = [reader.online_features(keys, now=NOON) for _ in range(3)]

    expected = {**keys, "amount": 3, "note": "a", "count": 2, "minutes": 4.5, "temp": 20.5}
    assert found == [expected] * 3
    assert list(found[-1]) == list(expected)
    assert glances == [4, 4]


def test_the_store_answers_through_a_reader_of_its_own(shop: ml.Store, glances: list[int]) -> None:
    found = [shop.online_features(["visits"], {"user_id": 7}, now=now) for now in (NOON, NOON, "2024-05-02")]

    assert found == [{"user_id": 7, "count": 2}, {"user_id": 7, "count": 2}, {"user_id": 7, "count": None}]
    assert glances == [1, 1]


@pytest.mark.parametrize("features", ["model", ["spend:amount", "visits"], [ml.ref("spend:amount"), "visits"]])
def test_a_reader_takes_features_in_every_form(shop: ml.Store, features: Any) -> None:
    reader = shop.reader(features, full_names=True)

    found = reader.online_features({"user_id": 7}, now=NOON)

    assert found == {"user_id": 7, "spend__amount": 3, "visits__count": 2}


def test_a_reader_takes_keys_from_other_columns(shop: ml.Store) -> None:
    reader = shop.reader([ml.ref("spend:amount", keys={"user_id": "friend"}, prefix="friend_"), "spend:amount"])

    found = [reader.online_features({"user_id": 8, "friend": 7}) for _ in range(2)]

    assert found == [{"user_id": 8, "friend": 7, "friend_amount": 3, "amount": None}] * 2


def test_a_status_is_told_the_same_the_first_time_and_later(shop: ml.Store) -> None:
    reader = shop.reader(["spend:note", "visits"], status=True)

    answers = [reader.online_features({"user_id": user}, now=now) for user in (7, 8) for now in (NOON, "2024-06-01") for _ in range(2)]

    assert answers[::2] == answers[1::2]
    assert [(answer["spend__status"], answer["visits__status"]) for answer in answers[::2]] == [
        ("PRESENT", "PRESENT"),
        ("PRESENT", "OUTSIDE_TTL"),
        ("NOT_FOUND", "NOT_FOUND"),
        ("NOT_FOUND", "NOT_FOUND"),
    ]


def test_a_reader_sees_every_commit(shop: ml.Store) -> None:
    reader = shop.reader(["spend:amount"])

    for amount in range(5):
        shop.write("spend", {"user_id": 7, "event_timestamp": "2024-06-01", "amount": amount, "note": None})
        assert reader.online_features({"user_id": 7}) == {"user_id": 7, "amount": amount}
    shop.delete("spend", keys={"user_id": [7]})
    assert reader.online_features({"user_id": 7}) == {"user_id": 7, "amount": None}


def test_a_reader_notices_features_that_were_added_and_widened_under_it(shop: ml.Store) -> None:
    reader, one = shop.reader(["spend"]), {"user_id": 7}
    before = [reader.online_features(one) for _ in range(2)]

    shop.apply(spend(schema={"amount": ml.float64, "note": ml.string, "vip": ml.bool_}))

    evolved = reader.online_features(one)
    assert before == [{"user_id": 7, "amount": 3, "note": "a"}] * 2
    assert evolved == {"user_id": 7, "amount": 3.0, "note": "a", "vip": None}
    assert isinstance(evolved["amount"], float)
    assert reader.online_features(one) == evolved
    assert reader.online_features({"user_id": [7]}).to_pylist() == [evolved]
    shop.write("spend", {"user_id": 7, "event_timestamp": "2024-06-01", "amount": 0.5, "note": None, "vip": True})
    assert reader.online_features(one) == {"user_id": 7, "amount": 0.5, "note": None, "vip": True}


def test_a_reader_notices_a_new_ttl_and_a_new_version_of_a_view(shop: ml.Store) -> None:
    reader, one = shop.reader(["spend"]), {"user_id": 7}
    reader.online_features(one)

    shop.apply(spend(ttl="1s"))
    assert reader.online_features(one)["amount"] is None
    shop.apply(spend(schema={"amount": ml.string}))

    assert reader.online_features(one) == {"user_id": 7, "amount": None}
    shop.write("spend", {"user_id": 7, "event_timestamp": "2024-05-01", "amount": "three"})
    assert reader.online_features(one) == {"user_id": 7, "amount": "three"}


def test_a_reader_of_another_handle_notices_what_this_one_defines(shop: ml.Store) -> None:
    with ml.open(shop.path, read_only=True) as other:
        reader = other.reader(["spend"])
        reader.online_features({"user_id": 7})

        shop.apply(spend(schema={"amount": ml.int32, "note": ml.string, "vip": ml.bool_}))

        assert "vip" in reader.online_features({"user_id": 7})


@pytest.mark.parametrize(
    ("features", "error"),
    [(["nothing"], ml.UnknownNameError), ([], ml.UsageError), ([3], ml.UsageError), (["spend:no"], ml.UnknownNameError)],
)
def test_a_selection_that_means_nothing_is_refused_at_once(shop: ml.Store, features: Any, error: type[ml.MlstoreError]) -> None:
    with pytest.raises(error):
        shop.reader(features)


@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        ({}, ml.SchemaMismatchError, "user_id"),
        ({"user": 7}, ml.SchemaMismatchError, "user_id"),
        ({"user_id": "7"}, ml.SchemaMismatchError, "'7'"),
        ({"user_id": 7.0}, ml.SchemaMismatchError, "7.0"),
        ({"user_id": True}, ml.SchemaMismatchError, "True"),
        ({"user_id": 2**63}, ml.InvalidDataError, "range"),
    ],
)
def test_a_bad_key_is_refused_by_a_prepared_reader_too(
    shop: ml.Store, keys: Any, error: type[Exception], words: str, is_warm: bool
) -> None:
    reader = shop.reader(["spend"])
    if is_warm:
        reader.online_features({"user_id": 7})

    with pytest.raises(error, match=words):
        reader.online_features(keys)


def test_a_null_key_is_not_found(shop: ml.Store) -> None:
    reader = shop.reader(["spend"], status=True)
    reader.online_features({"user_id": 7})

    assert reader.online_features({"user_id": None})["spend__status"] == "NOT_FOUND"
    assert reader.online_features({"user_id": [7, None]})["spend__status"].to_pylist() == ["PRESENT", "NOT_FOUND"]


def test_duplicates_and_unknown_keys_keep_their_places(shop: ml.Store) -> None:
    found = shop.reader(["spend:amount"]).online_features({"user_id": [9, 7, None, 7, 8]})

    assert found.to_pylist() == [{"user_id": user, "amount": 3 if user == 7 else None} for user in (9, 7, None, 7, 8)]


def test_a_reader_of_a_closed_store_says_so(shop: ml.Store) -> None:
    reader = shop.reader(["spend"])
    reader.online_features({"user_id": 7})
    shop.close()

    with pytest.raises(ml.ClosedError):
        reader.online_features({"user_id": 7})


def test_a_reader_comes_back_from_a_pickle(shop: ml.Store) -> None:
    reader = pickle.loads(pickle.dumps(shop.reader("model", full_names=True, status=False)))

    assert reader.features == ("model",)
    assert reader.online_features({"user_id": 7}, now=NOON) == {"user_id": 7, "spend__amount": 3, "visits__count": 2}


@pytest.mark.parametrize("last_n", [0, -1, True, 1.5, "3", 2**40])
def test_a_number_of_rows_that_makes_no_sense_is_refused(shop: ml.Store, last_n: Any) -> None:
    with pytest.raises(ml.UsageError, match="last_n"):
        shop.online_features(["spend"], {"user_id": 7}, last_n=last_n)


def test_newest_rows_of_nested_features_and_of_a_global_view(store: ml.Store) -> None:
    store.apply(ml.FeatureView("all", schema={"tags": ml.list_(ml.string), "v": ml.vector(2)}))
    for day, tags in enumerate((["a"], None, ["b", "c"]), start=1):
        store.write("all", {"event_timestamp": f"2024-05-0{day}", "tags": tags, "v": [day, 0.5]})

    found = store.online_features("all", {}, last_n=2)

    assert found == {"tags": [None, ["b", "c"]], "v": [[2.0, 0.5], [3.0, 0.5]]}


@pytest.mark.parametrize("bound", [{"stop": 1}, {"carrier": None}, {"carrier": "AA", "stop": 1, "more": 2}, {"carrier": 3}])
def test_a_bound_that_is_no_beginning_of_a_key_is_refused(shop: ml.Store, bound: Any) -> None:
    with pytest.raises(ml.UsageError):
        shop.online_range("delays", prefix=bound)


def test_a_range_over_views_of_different_entities_is_refused(shop: ml.Store) -> None:
    with pytest.raises(ml.UsageError, match="different keys"):
        shop.online_range(["delays", "spend"])


def test_a_range_over_views_of_one_entity_has_every_key_that_one_of_them_knows(shop: ml.Store) -> None:
    shop.write("visits", {"user_id": -1, "event_timestamp": "2024-05-01", "count": 9})

    found = shop.online_range(["spend:amount", "visits"], now=NOON)

    assert found.to_pylist() == [{"user_id": -1, "amount": None, "count": 9}, {"user_id": 7, "amount": 3, "count": 2}]


def test_newest_rows_of_one_event_time_are_in_the_order_in_which_they_became_known(store: ml.Store) -> None:
    store.apply(ml.FeatureView("all", schema={"x": ml.int64}, created_timestamp="known"))
    for x, known in ((1, "2024-05-03"), (2, "2024-05-02"), (3, "2024-05-02"), (4, "2024-05-04")):
        store.write("all", {"event_timestamp": "2024-05-01", "known": known, "x": x})

    found = [store.online_features("all", {}, last_n=last_n)["x"] for last_n in (2, 9)]

    assert found == [[1, 4], [2, 3, 1, 4]]

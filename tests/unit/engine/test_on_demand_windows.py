"""On-demand views over window views: the window is looked up as if asked for, and nobody sees it."""

from __future__ import annotations

from typing import Any

import pytest

import mlstore as ml

USER = ml.Entity("user", keys={"user_id": ml.int64})
ORDERS = ml.Table("orders", schema={"user_id": ml.int64, "id": ml.int64, "amount": ml.float64}, key=["user_id", "id"], timestamp="at")
SPEND = ml.WindowView("spend", entity=USER, source=ORDERS, aggregations=[ml.agg("amount", ["sum", "mean"], windows=["1h", "1d"])])
LIMITS = ml.FeatureView("limits", entity=USER, schema={"most": ml.float64})
NOON = "2024-01-01T12:00"


@ml.on_demand(inputs=["spend:amount_mean_1d", "burst:rest"], request={"amount": ml.float64}, returns={"ratio": ml.float64}, over="numpy")
def ratio(columns: dict[str, Any]) -> dict[str, Any]:
    return {"ratio": columns["amount"] / columns["amount_mean_1d"] + columns["rest"]}


@pytest.fixture
def shop(store: ml.Store) -> ml.Store:
    burst = ml.OnDemandView(
        "burst",
        inputs=["spend:amount_sum_1h", LIMITS],
        request={"amount": ml.float64},
        features={"rest": ml.col("most") - ml.col("amount_sum_1h").fill_null(0.0) - ml.col("amount")},
    )
    store.apply(USER, ORDERS, SPEND, LIMITS, burst, ratio)
    hours = ["2024-01-01T09:00", "2024-01-01T11:30", "2024-01-01T11:45"]
    store.write("orders", {"user_id": [1, 1, 2], "id": [1, 2, 3], "at": hours, "amount": [10.0, 20.0, 5.0]})
    store.write("limits", {"user_id": [1, 2, 3], "event_timestamp": ["2024-01-01"] * 3, "most": [100.0, 50.0, 10.0]})
    return store


def test_a_window_is_an_input_like_any_other(shop: ml.Store) -> None:
    one = shop.online_features(["burst", "ratio"], {"user_id": 1, "amount": 30.0}, now=NOON)

    assert one == {"user_id": 1, "amount": 30.0, "rest": 50.0, "ratio": 52.0}


def test_one_request_a_batch_and_a_training_set_agree(shop: ml.Store) -> None:
    asked = {"user_id": [1, 2, 3, 4], "amount": [30.0, 1.0, 2.0, 3.0]}

    ones = [shop.online_features(["ratio", "burst"], {"user_id": u, "amount": a}, now=NOON) for u, a in zip(*asked.values(), strict=True)]
    batch = shop.online_features(["ratio", "burst"], asked, now=NOON)
    trained = shop.training_set(asked | {"event_timestamp": [NOON] * 4}, ["ratio", "burst"])

    assert batch.to_pylist() == ones
    assert trained.drop_columns(["event_timestamp"]).equals(batch)
    assert batch["rest"].to_pylist() == [50.0, 44.0, 8.0, None]
    assert batch["ratio"].to_pylist() == [52.0, 44.2, None, None]


def test_an_event_counts_in_the_next_answer(shop: ml.Store) -> None:
    reader = shop.reader(["burst"])
    before = reader.online_features({"user_id": 2, "amount": 1.0}, now=NOON)["rest"]

    shop.write("orders", {"user_id": 2, "id": 4, "at": "2024-01-01T11:59", "amount": 7.0})

    assert (before, reader.online_features({"user_id": 2, "amount": 1.0}, now=NOON)["rest"]) == (44.0, 37.0)


def test_a_ttl_is_that_of_inputs_which_have_one(shop: ml.Store) -> None:
    table = shop.training_set(
        {"user_id": [1], "amount": [30.0], "event_timestamp": [NOON]}, [ml.ref("burst", ttl="1h"), ml.ref("ratio", prefix="r_")]
    )

    assert table["rest"].to_pylist() == [None]
    assert table["r_ratio"].to_pylist() == [52.0]


def test_a_training_set_with_windows_and_a_ttl_is_made_anew(shop: ml.Store) -> None:
    labels = {"user_id": [1], "amount": [30.0], "event_timestamp": [NOON]}

    table = shop.training_set(labels, ["ratio", "spend", "limits"], ttl="2d")

    assert table["most"].to_pylist() == [100.0]
    assert shop.reproduce(table).equals(table)


def test_a_status_knows_the_windows(shop: ml.Store) -> None:
    told = shop.online_features(["burst"], {"user_id": 1, "amount": 30.0}, now=NOON, status=True)
    table = shop.online_features(["burst"], {"user_id": [1], "amount": [30.0]}, now=NOON, status=True)

    assert told["burst__status"] == "PRESENT"
    assert table.to_pylist() == [told]


def test_skew_is_looked_for_with_what_the_requests_brought(shop: ml.Store) -> None:
    reads = {"user_id": [1, 2, 3], "amount": [30.0, 1.0, 2.0], "event_timestamp": [NOON, "2024-01-01T11:40", NOON]}

    report = shop.verify_skew(["ratio", "burst", "limits"], sample=reads)

    assert report
    assert (report.reads, report.values) == (3, 9)
    assert report.features == ("ratio@1:ratio", "burst@1:rest", "limits@1:most")
    with pytest.raises(ml.SchemaMismatchError, match=r"burst\.amount is to come with the sample"):
        shop.verify_skew(["burst"], sample=10)


def test_a_function_that_looks_at_the_batch_is_found_by_its_skew(shop: ml.Store) -> None:
    shop.apply(share_of_batch)
    reads = {"amount": [30.0, 1.0], "event_timestamp": [NOON, "2024-01-01T11:40"]}

    report = shop.verify_skew("share_of_batch", sample=reads)

    assert report.differing == 2


@ml.on_demand(request={"amount": ml.float64}, returns={"share": ml.float64}, over="numpy")
def share_of_batch(columns: dict[str, Any]) -> dict[str, Any]:
    return {"share": columns["amount"] / columns["amount"].sum()}

"""Parquet datasets: a version of a store as a folder, and folders as rows of a store."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import mlstore as ml
from mlstore.integrations import parquet

USER = ml.Entity("user", keys={"user_id": ml.int64})
TYPES = {
    "amount": ml.float64,
    "count": ml.uint64,
    "price": ml.decimal(10, 2),
    "seen": ml.timestamp("ns"),
    "tags": ml.list_(ml.string),
    "place": ml.struct({"lat": ml.float32}),
    "point": ml.vector(3),
}
SPEND = ml.FeatureView("spend", entity=USER, schema=TYPES, ttl="30d", tags={"team": "risk"})
TOLD = ml.FeatureView("told", entity=USER, schema={"x": ml.int8}, created_timestamp="known")
ORDERS = ml.Table("orders", schema={"user_id": ml.int64, "item": ml.string, "cost": ml.float64}, key=["user_id", "item"], timestamp="at")
SPENT = ml.WindowView("spent", entity=USER, source=ORDERS, aggregations=[ml.agg("cost", "sum", windows="7d", where=ml.col("cost") > 1)])
SHARE = ml.OnDemandView("share", inputs=["spend:amount"], request={"x": ml.float64}, features={"share": ml.col("amount") / ml.col("x")})
MODEL = ml.FeatureService("model", features=["spend", "spent", "share"])

ROWS: dict[str, list[Any]] = {
    "user_id": [1, 2],
    "event_timestamp": ["2026-01-01", "2026-01-02"],
    "amount": [4.0, None],
    "count": [2**64 - 1, None],
    "price": [Decimal("1.25"), None],
    "seen": [1_700_000_000_000_000_001, None],
    "tags": [["a", "b"], None],
    "place": [{"lat": 1.5}, None],
    "point": [[1.0, 2.0, 3.0], None],
}


def spend_rows() -> pa.Table:
    return pa.table(ROWS | {"seen": pa.array(ROWS["seen"], pa.timestamp("ns", "UTC")), "count": pa.array(ROWS["count"], pa.uint64())})


@pytest.fixture
def shop(store: ml.Store) -> ml.Store:
    store.apply(USER, SPEND, TOLD, ORDERS, SPENT, SHARE, MODEL)
    store.write("spend", spend_rows())
    store.write("told", {"user_id": 1, "event_timestamp": "2026-01-01", "known": "2026-01-05", "x": 3})
    store.write("orders", {"user_id": [1, 1], "item": ["pen", "cap"], "at": ["2026-01-01", "2026-01-02"], "cost": [2.5, 0.5]})
    store.snapshot("v1")
    store.write("orders", {"user_id": [2], "item": ["cup"], "at": ["2026-01-03"], "cost": [7.0]})
    return store


@pytest.fixture
def other() -> ml.Store:
    return ml.open(":memory:")


def rows_of(store: ml.Store, name: str) -> pa.Table:
    rows = store.read(name).table()
    return rows.drop_columns("created") if "created" in rows.column_names else rows


def test_a_store_goes_out_and_comes_in_again_definitions_and_all(shop: ml.Store, other: ml.Store, tmp_path: Path) -> None:
    written = parquet.export(shop, tmp_path / "out")

    assert parquet.load(other, tmp_path / "out") == written == {"orders": 3, "spend": 2, "told": 1}
    assert [entry.definition for entry in other.catalog()] == [entry.definition for entry in shop.catalog()]
    assert all(rows_of(other, name).equals(rows_of(shop, name)) for name in written)
    asked = {"user_id": [1, 2], "x": [2.0, 2.0]}
    assert other.online_features("model", asked, now="2026-01-03T01:00") == shop.online_features("model", asked, now="2026-01-03T01:00")


def test_what_was_known_when_comes_back_where_the_view_declares_it(shop: ml.Store, other: ml.Store, tmp_path: Path) -> None:
    parquet.export(shop, tmp_path / "out")

    parquet.load(other, tmp_path / "out")

    assert other.read("told")["known"].equals(shop.read("told")["known"])


def test_an_old_version_goes_out_as_it_was(shop: ml.Store, tmp_path: Path) -> None:
    written = parquet.export(shop.at("v1"), tmp_path / "out", tables=["orders"])

    assert written == {"orders": 2}
    assert pq.read_table(tmp_path / "out" / "orders")["item"].to_pylist() == ["cap", "pen"]
    assert json.loads((tmp_path / "out" / "mlstore.json").read_text())["commit"] == shop.info()["snapshots"]["v1"]


def test_any_dataset_can_be_loaded_into_a_table(other: ml.Store, tmp_path: Path) -> None:
    other.apply(ORDERS)
    rows = pa.table({"user_id": [1, 2], "item": ["a", "b"], "at": ["2026-01-01", "2026-01-02"], "cost": [1.0, 2.0], "extra": [0, 0]})
    ds.write_dataset(rows, tmp_path / "lake", format="parquet", partitioning=["user_id"], partitioning_flavor="hive")

    written = parquet.load(other, tmp_path / "lake", into="orders", message="from the lake")

    assert written == {"orders": 2}
    assert other.read("orders")["item"].to_pylist() == ["a", "b"]
    assert other.history()[0].message == "from the lake"


def test_a_folder_appears_whole_or_not_at_all(shop: ml.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet.json, "dumps", lambda *_, **__: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        parquet.export(shop, tmp_path / "out")

    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_what_makes_no_sense_is_refused_and_nothing_is_changed(shop: ml.Store, other: ml.Store, tmp_path: Path) -> None:
    parquet.export(shop, tmp_path / "out")
    (tmp_path / "plain").mkdir()
    (tmp_path / "words.txt").write_text("words")
    before = shop.info()["version"]

    with pytest.raises(ml.AlreadyExistsError, match="not empty"):
        parquet.export(shop, tmp_path / "out")
    with pytest.raises(ml.AlreadyExistsError, match="holds rows already"):
        parquet.load(shop, tmp_path / "out")
    with pytest.raises(ml.NotAStoreError, match=r"mlstore\.json"):
        parquet.load(other, tmp_path / "plain")
    with pytest.raises(ml.StoreError, match="does not exist"):
        parquet.load(other, tmp_path / "nowhere")
    with pytest.raises(ml.UnknownNameError):
        parquet.export(shop, tmp_path / "new", tables=["ordres"])
    with pytest.raises(ml.InvalidDataError, match="no Parquet dataset"):
        parquet.load(shop, tmp_path / "words.txt", into="orders")

    assert shop.info()["version"] == before
    assert other.catalog() == []
    assert not (tmp_path / "new").exists()

"""Delta Lake: versions of a table go out once and in order, and versions of a Delta table come in as commits."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.integrations import delta
from tests.unit.integrations.test_parquet import SPEND, USER, rows_of, spend_rows

ORDERS = ml.Table("orders", schema={"order": ml.int64, "cost": ml.float64}, key="order", timestamp="at")


def orders(*numbers: int, cost: float = 1.0) -> dict[str, list[object]]:
    return {"order": list(numbers), "cost": [cost] * len(numbers), "at": ["2026-01-01"] * len(numbers)}


@pytest.fixture
def shop(store: ml.Store) -> ml.Store:
    store.apply(ORDERS)
    return store


@pytest.fixture
def other() -> ml.Store:
    store = ml.open(":memory:")
    store.apply(ORDERS)
    return store


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def numbers_of(lake: Path, version: int | None = None) -> list[int]:
    return sorted(deltalake.DeltaTable(lake, version=version).to_pyarrow_table()["order"].to_pylist())


def operations(lake: Path) -> list[str]:
    return [record["operationParameters"]["mode"] for record in reversed(deltalake.DeltaTable(lake).history())]


def test_each_snapshot_is_a_delta_version_and_the_newest_commit_the_last(shop: ml.Store, lake: Path) -> None:
    shop.write("orders", orders(1, 2))
    shop.snapshot("v1")
    shop.write("orders", orders(3))
    shop.write("orders", orders(4))
    shop.snapshot("v2")
    shop.delete("orders", keys={"order": 1})

    assert delta.export(shop, "orders", lake) == 3

    assert [numbers_of(lake, version) for version in range(3)] == [[1, 2], [1, 2, 3, 4], [2, 3, 4]]
    assert operations(lake) == ["Overwrite", "Append", "Overwrite"]
    told = [(record["mlstore.version"], record["mlstore.commit"]) for record in reversed(deltalake.DeltaTable(lake).history())]
    snapshots = shop.info()["snapshots"]
    assert told == [("v1", snapshots["v1"]), ("v2", snapshots["v2"]), ("", shop.info()["version"])]


def test_versions_that_are_named_go_out_in_the_order_they_were_made(shop: ml.Store, lake: Path) -> None:
    for number in (1, 2):
        shop.write("orders", orders(number))
        shop.snapshot(f"v{number}")

    assert delta.export(shop, "orders", lake, versions=["v2", "v1"]) == 2

    assert [numbers_of(lake, version) for version in range(2)] == [[1], [1, 2]]


def test_what_was_exported_is_not_exported_again(shop: ml.Store, lake: Path) -> None:
    shop.write("orders", orders(1))
    first = delta.export(shop, "orders", lake)
    again = delta.export(shop, "orders", lake)
    shop.write("orders", orders(2))
    then = delta.export(shop, "orders", lake)

    assert (first, again, then) == (1, 0, 1)
    assert operations(lake) == ["Overwrite", "Append"]
    assert numbers_of(lake) == [1, 2]


def test_a_version_that_was_let_go_is_followed_by_the_whole_table(shop: ml.Store, lake: Path) -> None:
    shop.write("orders", orders(1))
    delta.export(shop, "orders", lake)
    shop.write("orders", orders(1, cost=2.0), mode="upsert")
    shop.retain(last=1)
    shop.write("orders", orders(2))

    delta.export(shop, "orders", lake)

    assert operations(lake)[-1] == "Overwrite"
    assert numbers_of(lake) == [1, 2]


def test_types_that_delta_lacks_come_back_as_they_were(store: ml.Store, lake: Path) -> None:
    store.apply(USER, SPEND)
    rows = spend_rows()
    whole = rows.set_column(
        rows.schema.get_field_index("seen"), "seen", pa.array([1_700_000_000_000_001_000, None], pa.timestamp("ns", "UTC"))
    )
    store.write("spend", whole)
    delta.export(store, "spend", lake)
    back = ml.open(":memory:")
    back.apply(USER, SPEND)

    delta.load(back, lake, into="spend")

    assert rows_of(back, "spend").equals(rows_of(store, "spend"))


def test_a_time_that_delta_cannot_hold_is_refused(store: ml.Store, lake: Path) -> None:
    store.apply(USER, SPEND)
    store.write("spend", spend_rows())

    with pytest.raises(ml.InvalidDataError, match="Delta cannot hold"):
        delta.export(store, "spend", lake)

    assert not deltalake.DeltaTable.is_deltatable(str(lake))


def test_the_newest_version_comes_in_as_one_commit(other: ml.Store, lake: Path) -> None:
    times = pa.array([0, 0], pa.timestamp("us", "UTC"))
    deltalake.write_deltalake(
        lake, pa.table({"order": [1, 2], "at": times, "cost": [1.0, 2.0], "note": ["x", "y"]}), partition_by=["order"]
    )

    (commit,) = delta.load(other, lake, into="orders")

    assert other.read("orders").to_pydict()["cost"] == [1.0, 2.0]
    assert commit.message == "Delta version 0"


def test_every_version_comes_in_as_a_commit(shop: ml.Store, other: ml.Store, lake: Path) -> None:
    shop.write("orders", orders(1, 2))
    shop.snapshot("v1")
    shop.write("orders", orders(3))
    delta.export(shop, "orders", lake)
    deltalake.DeltaTable(lake).optimize.compact()
    shop.delete("orders", keys={"order": 2})
    delta.export(shop, "orders", lake)

    commits = delta.load(other, lake, into="orders", versions="all")

    seen = [sorted(other.at(commit).read("orders")["order"].to_pylist()) for commit in commits]
    assert seen == [[1, 2], [1, 2, 3], [1, 3]]
    assert [commit.message for commit in commits] == ["Delta version 0", "Delta version 1", "Delta version 3"]


def test_versions_whose_files_are_gone_are_passed_over(shop: ml.Store, other: ml.Store, lake: Path) -> None:
    shop.write("orders", orders(1, 2))
    delta.export(shop, "orders", lake)
    shop.delete("orders", keys={"order": 2})
    delta.export(shop, "orders", lake)
    deltalake.DeltaTable(lake).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)

    commits = delta.load(other, lake, into="orders", versions="all")

    assert len(commits) == 1
    assert other.read("orders")["order"].to_pylist() == [1]


def test_what_makes_no_sense_is_refused(shop: ml.Store, other: ml.Store, lake: Path, tmp_path: Path) -> None:
    deltalake.write_deltalake(lake, pa.table({"order": [1]}))
    shop.write("orders", orders(1))
    before = shop.info()["version"]

    with pytest.raises(ml.UsageError, match="does not come from"):
        delta.export(shop, "orders", lake)
    with pytest.raises(ml.UnknownNameError):
        delta.export(shop, "ordres", tmp_path / "new")
    with pytest.raises(ml.NotAStoreError):
        delta.load(shop, tmp_path / "new", into="orders")
    with pytest.raises(ml.UsageError, match="holds rows already"):
        delta.load(shop, lake, into="orders", versions="all")
    with pytest.raises(ml.SchemaMismatchError):
        delta.load(other, lake, into="orders")

    assert shop.info()["version"] == before

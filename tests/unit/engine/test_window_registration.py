"""Window views in the catalogue: what they are pinned to, how they evolve, and that nothing takes them for something with rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mlstore as ml
from mlstore.engine.catalog import Relation
from tests.support.data import instant
from tests.support.worlds import SECOND

USER = ml.Entity("user", keys={"user": ml.int64})
COLUMNS = {"user": ml.int64, "order": ml.int64, "amount": ml.float64, "items": ml.int32, "kind": ml.string}
TOTAL = ml.agg("amount", ["count", "sum"], windows=["1h", "7d"])


def orders(**changes: Any) -> ml.Table:
    rules: dict[str, Any] = {"schema": COLUMNS, "key": ("user", "order"), "timestamp": "at"}
    return ml.Table("orders", **(rules | changes))


def spend(*aggregations: ml.Aggregation, **changes: Any) -> ml.WindowView:
    rules: dict[str, Any] = {"entity": USER, "source": orders(), "aggregations": aggregations or [TOTAL]}
    return ml.WindowView("spend", **(rules | changes))


MODEL = ml.FeatureService("model", features=["spend:amount_sum_7d", "spend:amount_count_1h"])


@pytest.fixture
def shop(store: ml.Store) -> ml.Store:
    store.apply(USER, orders(), spend(), MODEL)
    return store


def relation(store: ml.Store, name: str) -> Relation:
    with store._session.reading() as context:
        return context.catalog.relation(name)


def actions(plan: ml.Plan) -> dict[str, str]:
    return {change.name: change.action for change in plan.changes}


# ---------------------------------------------------------------- registering


def test_a_window_view_is_planned_after_its_source_and_before_its_services(store: ml.Store) -> None:
    planned = store.plan(MODEL, spend(), orders(), USER)

    assert [(change.kind, change.name, change.action) for change in planned.changes] == [
        ("entity", "user", "create"),
        ("table", "orders", "create"),
        ("window", "spend", "create"),
        ("service", "model", "create"),
    ]
    assert store.apply(MODEL, spend(), orders(), USER) == planned


def test_applying_the_same_again_changes_nothing(shop: ml.Store) -> None:
    before = shop.catalog(), shop.history()

    for given in (spend(), spend(source="orders"), spend(source="orders@1"), spend(entity="user"), spend(tiles=["5m", "1h", "1d"])):
        assert not shop.apply(USER, orders(), given, MODEL)

    assert (shop.catalog(), shop.history()) == before


def test_a_registered_view_is_found_again_as_it_was_declared(shop: ml.Store, store_path: Path) -> None:
    declared = spend(TOTAL, ml.agg("items", "max", windows="lifetime", where=ml.col("kind") == "buy"), where=ml.col("amount") > 0)
    shop.apply(declared)
    shop.close()

    with ml.open(store_path) as again:
        entry = again.catalog("spend", kind="window")[-1]
        assert (entry.kind, entry.label, entry.definition.source_name) == ("window", "spend@2", "orders@1")
        assert entry.definition == spend(*declared.aggregations, where=declared.where, entity="user", source="orders@1")
        assert not again.plan(declared)


def test_a_relation_of_a_window_view_tells_what_it_is_made_of(shop: ml.Store) -> None:
    made = relation(shop, "spend")

    assert made.window is not None
    assert made.window.source.label == "orders"
    assert [(output.name, output.function) for output in made.window.outputs][:2] == [
        ("amount_count_1h", "count"),
        ("amount_count_7d", "count"),
    ]
    assert made.window.levels_ns == made.window.view.levels_ns
    assert made.layout.column_names == ("user", "amount_count_1h", "amount_count_7d", "amount_sum_1h", "amount_sum_7d")
    assert made.number("amount_sum_7d") == 3
    assert made.table not in (0, relation(shop, "orders").table)
    assert relation(shop, "orders").window is None


def test_a_window_view_over_a_feature_view_or_over_all_events(shop: ml.Store) -> None:
    visits = ml.FeatureView("visits", entity=USER, schema={"pages": ml.int16})
    shop.apply(
        visits,
        ml.WindowView("browsing", entity=USER, source=visits, aggregations=[ml.agg("pages", "sum", windows="1d")]),
        ml.WindowView("turnover", entity=None, source="orders", aggregations=[TOTAL]),
    )

    assert relation(shop, "browsing").layout.column_names == ("user", "pages_sum_1d")
    assert relation(shop, "turnover").layout.keys == ()


@pytest.mark.parametrize(
    ("definitions", "error", "says"),
    [
        ([spend(source="refunds")], ml.UnknownNameError, "reads 'refunds', which is no table or feature view"),
        ([spend(source="spend")], ml.UnknownNameError, "reads 'spend', which is no table or feature view"),
        ([spend(source="model")], ml.UnknownNameError, "reads 'model', which is no table or feature view"),
        ([spend(source="orders@2")], ml.UnknownNameError, "no version 2 of 'orders'"),
        ([spend(entity="city")], ml.UnknownNameError, "needs entity 'city', which is not registered"),
        ([ml.Entity("basket", keys={"order": ml.int64}), spend(entity="basket")], ml.DefinitionError, "do not begin with those"),
        ([spend(ml.agg("price", "sum", windows="7d"))], ml.UnknownNameError, "no column 'price'"),
        ([spend(ml.agg("kind", "sum", windows="7d"))], ml.DefinitionError, "sum of kind, which is string"),
        ([ml.Table("log", schema=COLUMNS, key="user"), spend(source="log")], ml.DefinitionError, "log has no event time"),
        ([ml.FeatureView("spend", entity=USER, schema={"a": ml.int8})], ml.AlreadyExistsError, "'spend' is a window already"),
        ([ml.FeatureService("other", features=["spend:amount_sum_8d"])], ml.UnknownNameError, "no feature 'amount_sum_8d'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_nothing_is_registered(shop: ml.Store, definitions: Any, error: Any, says: str) -> None:
    before = shop.catalog(), shop.history()

    for step in (shop.plan, shop.apply):
        with pytest.raises(error, match=says) as refusal:
            step(*definitions)
        assert refusal.value.hint

    assert (shop.catalog(), shop.history()) == before


# ---------------------------------------------------------------- evolution


def test_new_outputs_come_in_place_and_other_tiles_make_a_new_version(shop: ml.Store) -> None:
    wider = spend(TOTAL, ml.agg("items", "max", windows="2d"))

    assert actions(shop.apply(wider)) == {"spend": "evolve"}
    assert relation(shop, "spend").layout.features[-1].name == "items_max_2d"
    assert actions(shop.apply(spend(TOTAL, ml.agg("items", "max", windows="1m")))) == {"spend@2": "new_version"}
    assert relation(shop, "spend@1").layout.features[-1].name == "items_max_2d"
    assert relation(shop, "spend@1").table != relation(shop, "spend@2").table


def test_a_new_version_of_the_source_leaves_the_view_where_it_was_until_it_is_applied_again(shop: ml.Store) -> None:
    renewed = orders(schema=COLUMNS | {"amount": ml.string, "paid": ml.float64})
    assert actions(shop.apply(renewed)) == {"orders@2": "new_version"}

    inputs = relation(shop, "spend").window
    assert inputs is not None
    assert inputs.source.entry.version == 1

    moved = shop.apply(spend(ml.agg("paid", "sum", windows="7d"), source="orders"))
    assert actions(moved) == {"spend@2": "new_version"}
    assert "source: orders@1 -> orders@2" in moved.changes[0].details
    assert not shop.plan(spend(ml.agg("paid", "sum", windows="7d"), source="orders@2"))


def test_source_and_view_may_change_in_one_apply(shop: ml.Store) -> None:
    plan = shop.apply(orders(schema=COLUMNS | {"paid": ml.float64}), spend(TOTAL, ml.agg("paid", "max", windows="7d")))

    assert actions(plan) == {"orders": "evolve", "spend": "evolve"}
    assert relation(shop, "spend").layout.features[-1].dtype == ml.float64


def test_types_follow_a_source_that_widens_in_place(shop: ml.Store) -> None:
    shop.apply(spend(TOTAL, ml.agg("items", "max", windows="7d")))

    shop.apply(orders(schema=COLUMNS | {"items": ml.int64}))

    assert relation(shop, "spend").layout.features[-1].dtype == ml.int64


def test_a_source_cannot_change_in_place_to_what_its_readers_cannot_read(shop: ml.Store) -> None:
    shop.apply(spend(TOTAL, ml.agg("amount", "sum", windows="7d", by="items")))

    with pytest.raises(ml.DefinitionError, match="orders@1 cannot change so while spend reads it") as refusal:
        shop.apply(orders(schema=COLUMNS | {"items": ml.float64}))

    assert "items" in refusal.value.message
    assert relation(shop, "orders").layout.features[1].dtype == ml.int32


def test_a_source_keeps_its_rows_for_as_long_as_windows_look_back(shop: ml.Store) -> None:
    shop.apply(orders(retention="8d"), spend(TOTAL, ml.agg("items", "max", windows=["7d", "lifetime"])))

    with pytest.raises(ml.DefinitionError, match="7d reaches 7d back, and orders keeps its rows for 6d") as refusal:
        shop.apply(orders(retention="6d"))
    with pytest.raises(ml.DefinitionError, match="spend: 7d reaches 9d back, and orders keeps its rows for 8d"):
        shop.apply(spend(TOTAL, ml.agg("items", "max", windows=["7d", "lifetime"]), offset="2d"))

    assert "retention" in refusal.value.hint
    assert relation(shop, "orders").layout.retention_ns == 8 * 86_400 * 10**9


def test_a_past_version_of_the_store_has_the_view_as_it_was(shop: ml.Store) -> None:
    shop.snapshot("before")
    shop.apply(spend(TOTAL, ml.agg("items", "max", windows="2d")), orders(schema=COLUMNS | {"items": ml.int64}))

    old = shop.at("before")

    assert relation(old, "spend").layout.column_names[-1] == "amount_sum_7d"
    assert old.catalog(kind="window")[0].revision == 1


def test_a_branch_has_window_views_of_its_own_and_merging_brings_them(shop: ml.Store) -> None:
    trial = shop.branch("trial")
    trial.apply(spend(TOTAL, ml.agg("items", "max", windows="2d")), ml.WindowView("kinds", entity=USER, source=orders(), aggregations=[
        ml.agg("kind", "distinct", windows="7d", where=ml.col("items") > 1)]))  # fmt: skip
    shop.apply(spend(owner="ops"))

    assert relation(shop, "spend").layout.column_names[-1] == "amount_sum_7d"
    shop.merge("trial")

    assert relation(shop, "spend").layout.column_names[-1] == "items_max_2d"
    assert shop.catalog("spend", kind="window")[0].definition.owner == "ops"
    assert relation(shop, "kinds").layout.column_names == ("user", "kind_distinct_7d")
    shop.verify()


def test_outputs_added_on_both_sides_are_kept(shop: ml.Store) -> None:
    shop.apply(spend(where=ml.col("items") > 1))
    trial = shop.branch("trial")
    trial.apply(spend(TOTAL, ml.agg("items", ["max", "mean"], windows="2d"), where=ml.col("items") > 1, owner="ops"))
    shop.apply(spend(TOTAL, ml.agg("items", ["min", "max"], windows="2d"), where=ml.col("items") > 1))

    shop.merge("trial")

    assert relation(shop, "spend").layout.column_names[-3:] == ("items_min_2d", "items_max_2d", "items_mean_2d")
    assert shop.catalog("spend", kind="window")[-1].definition.owner == "ops"


def test_one_name_for_two_outputs_is_a_conflict(shop: ml.Store) -> None:
    trial = shop.branch("trial")
    trial.apply(spend(TOTAL, ml.agg("items", "max", windows="2d", name="peak")))
    shop.apply(spend(TOTAL, ml.agg("items", "max", windows="3d", name="peak")))

    with pytest.raises(ml.MergeConflictError, match="aggregations"):
        shop.merge("trial")


def test_a_merge_is_refused_that_would_leave_a_view_unable_to_read_its_source(shop: ml.Store) -> None:
    trial = shop.branch("trial")
    trial.apply(spend(TOTAL, ml.agg("amount", "sum", windows="7d", by="items")))
    shop.apply(orders(schema=COLUMNS | {"items": ml.float64}))
    before = shop.catalog(), shop.history()

    with pytest.raises(ml.DefinitionError, match="orders@1 cannot change so while spend reads it"):
        shop.merge("trial")

    assert (shop.catalog(), shop.history()) == before


# ---------------------------------------------------------------- no rows

REFUSED = {
    "write": lambda store: store.write("spend", {"user": [1], "amount_sum_7d": [1.0]}),
    "upsert": lambda store: store.write("spend", {"user": [1]}, mode="upsert"),
    "stream": lambda store: store.stream("spend"),
    "read": lambda store: store.read("spend"),
    "delete": lambda store: store.delete("spend", keys={"user": 1}),
    "optimize": lambda store: store.optimize(table="spend"),
    "diff": lambda store: store.diff("main", "main", table="spend"),
    "history of a key": lambda store: store.history(table="spend", key={"user": 1}),
}


@pytest.mark.parametrize("doing", REFUSED)
def test_what_is_done_with_rows_is_refused_and_points_to_the_source(shop: ml.Store, doing: str) -> None:
    before = shop.history()

    with pytest.raises(ml.UsageError, match="'spend' is a window view") as refusal:
        REFUSED[doing](shop)

    assert "'orders'" in refusal.value.hint
    assert shop.history() == before


def test_the_care_of_a_store_passes_window_views_over(shop: ml.Store, tmp_path: Path) -> None:
    shop.write(
        "orders", {"user": [1, 2], "order": [1, 2], "at": [instant(SECOND)] * 2, "amount": [1.0, 2.0], "items": [1, 1], "kind": ["a", "b"]}
    )
    shop.snapshot("v1")
    shop.delete("orders", keys={"user": 1, "order": 1})

    shop.optimize()
    shop.forget(orders(), keys={"user": 2, "order": 2})
    shop.seal("v1")
    shop.backup(tmp_path / "copy.mls")

    assert [table["name"] for table in shop.info()["tables"]] == ["orders"]
    assert shop.freshness().views == ()
    assert set(shop.diff("v1", "main")) <= {"orders"}
    assert shop.verify().problems == ()
    with ml.open(tmp_path / "copy.mls") as copy:
        assert copy.catalog(kind="window") == shop.catalog(kind="window")


def test_changed_definitions_are_told_by_diff_and_by_the_history_of_the_view(shop: ml.Store) -> None:
    shop.snapshot("v1")
    shop.apply(spend(TOTAL, ml.agg("items", "max", windows="2d")))

    assert shop.diff("v1", "main").definitions == ("~ window spend: items_max_2d: added",)
    assert [commit.message for commit in shop.history(table="spend")] == ["evolve window spend", shop.history()[-1].message]


def test_the_catalogue_finds_a_window_view_by_kind_output_and_tag(shop: ml.Store) -> None:
    shop.apply(spend(tags={"tier": "gold"}, owner="risk"))

    assert [entry.name for entry in shop.catalog(kind="window")] == ["spend"]
    assert [entry.name for entry in shop.catalog("amount_count_7d")] == ["spend"]
    assert [entry.name for entry in shop.catalog(tag="tier=gold", owner="risk")] == ["spend"]


@pytest.mark.parametrize("door", ["rows", "plan"])
def test_no_row_can_be_packed_or_unpacked_as_one_of_a_window_view(shop: ml.Store, door: str) -> None:
    with pytest.raises(ml.UsageError, match="'spend' is a window view"):
        getattr(relation(shop, "spend"), door)

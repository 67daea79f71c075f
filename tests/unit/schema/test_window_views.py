"""Window views: their outputs, tiles and columns, how they fit a source, and what they refuse."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mlstore.errors import DefinitionError, UnknownNameError
from mlstore.schema import dtypes as t
from mlstore.schema.aggregation import agg
from mlstore.schema.durations import SECOND_NS
from mlstore.schema.entity import Entity
from mlstore.schema.evolution import evolve
from mlstore.schema.expression import col
from mlstore.schema.layout import Field, table_layout, view_layout
from mlstore.schema.outputs import resolve_outputs, window_layout
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.schema.window import hopping, last_rows, session, tumbling
from mlstore.schema.window_view import WindowView

USER = Entity("user", keys={"user": t.int64})
COLUMNS = {"user": t.int64, "order": t.string, "amount": t.float64, "items": t.int16, "kind": t.string, "ratio": t.float32}
ORDERS = Table("orders", schema=COLUMNS, key=("user", "order"), timestamp="at")
SUM = agg("amount", "sum", windows="7d")


def spend(*aggregations, **changes):
    return WindowView("spend", **({"entity": USER, "source": ORDERS, "aggregations": aggregations or [SUM]} | changes))


def resolved(view, source=ORDERS):
    return resolve_outputs(view, table_layout(source))


KEYS = (Field("user", t.int64),)


def laid_out(view, source=ORDERS, keys=KEYS):
    return window_layout(view, keys, table_layout(source))


# ---------------------------------------------------------------- tiles


@pytest.mark.parametrize(
    ("windows", "tiles"),
    [
        (["1h", "24h", "7d", "30d"], ("5m", "1h", "1d")),
        (["1h"], ("5m",)),
        (["10m", "1h"], ("1m",)),
        (["10m", "7h"], ("1m", "1h")),
        (["2s"], ()),
        (["5s"], ("1s",)),
        (["5s", "30d"], ("1s", "10s", "5m", "1h", "1d")),
        (["30d"], ("1d",)),
        (["lifetime"], ("1d",)),
        (["1h", "lifetime"], ("5m", "1h", "1d")),
        ([tumbling("1d")], ("1h",)),
        ([hopping("7d", hop="1s")], ("1h", "1d")),
        ([session("1s"), last_rows(3)], ()),
        ([session("1s"), last_rows(3), "1h"], ("5m",)),
    ],
    ids=str,
)
def test_tiles_follow_from_the_windows(windows, tiles):
    view = spend(agg("amount", "sum", windows=windows))

    assert view.tiles == tiles
    assert all(coarser % finer == 0 for finer, coarser in zip(view.levels_ns, view.levels_ns[1:], strict=False))


def test_tiles_can_be_chosen_and_are_kept_finest_first():
    view = spend(tiles=[timedelta(minutes=1), "60m"])

    assert view.tiles == ("1m", "1h")
    assert view.levels_ns == (60 * SECOND_NS, 3600 * SECOND_NS)
    assert spend(tiles=()).levels_ns == ()


@pytest.mark.parametrize("tiles", [["1h", "1m"], ["1m", "1m"], ["2m", "5m"], ["0s"], ["x"], "1h", 5])
def test_tiles_that_are_not_made_of_each_other_are_refused(tiles):
    with pytest.raises(DefinitionError, match="tile"):
        spend(tiles=tiles)


# ---------------------------------------------------------------- the declaration


def test_a_view_tells_its_outputs_its_source_and_what_it_reads():
    view = spend(
        agg("amount", ["count", "sum"], windows=["1h", "7d"], where=col("items") > 1),
        agg(None, "count", windows="1h", by="order"),
        where=col("kind") == "buy",
        offset="60m",
        boundary="strict",
    )

    assert view.output_names == ("amount_count_1h", "amount_count_7d", "amount_sum_1h", "amount_sum_7d", "count_order_1h")
    assert (view.entity_name, view.source_name, view.columns) == ("user", "orders", ("amount", "order", "items", "kind"))
    assert (view.offset, view.offset_ns, view.is_strict) == ("1h", 3600 * SECOND_NS, True)
    assert spend(offset="0s") == spend()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"entity": 7}, "entity is 7"),
        ({"entity": "a b"}, "not a name"),
        ({"source": 7}, "source is 7"),
        ({"source": USER}, "source is Entity"),
        ({"source": "orders:amount"}, "not a name"),
        ({"source": "orders@0"}, "source is 'orders@0'"),
        ({"source": "orders@"}, "source is 'orders@'"),
        ({"aggregations": []}, "no aggregations"),
        ({"aggregations": ["sum"]}, "'sum' is no aggregation"),
        ({"aggregations": [SUM, SUM]}, "two outputs are called 'amount_sum_7d'"),
        ({"boundary": "open"}, "boundary='open'"),
        ({"offset": "-1h"}, "offset"),
        ({"where": "kind"}, "is no expression"),
        ({"owner": 7}, "owner"),
    ],
    ids=str,
)
def test_a_view_that_makes_no_sense_is_refused(changes, says):
    with pytest.raises(DefinitionError) as refusal:
        spend(**changes)

    assert says in refusal.value.message
    assert refusal.value.hint


def test_one_aggregation_needs_no_list():
    assert spend(aggregations=SUM) == spend(SUM)


# ---------------------------------------------------------------- resolved against a source


def test_each_output_carries_what_its_function_takes_and_nothing_else():
    sums, middle, edges = resolved(
        spend(agg("amount", ["sum", "quantile"], q=0.5, windows="7d"), agg("items", "histogram", bins=[0, 1], windows="7d"))
    )

    assert (sums.name, sums.dtype, sums.q, sums.edges) == ("amount_sum_7d", t.float64, None, ())
    assert (middle.function, middle.q, middle.column, middle.window.label) == ("quantile", 0.5, "amount", "7d")
    assert (edges.edges, edges.dtype, edges.n, edges.k, edges.half_life_ns) == ((0.0, 1.0), t.list_(t.int64), None, None, None)


def test_outputs_have_the_types_of_their_columns_and_a_map_by_category():
    outputs = resolved(
        spend(
            agg("items", ["sum", "max", "last_n"], n=3, windows="7d"),
            agg("items", "sum", windows="7d", by="kind"),
            agg(None, ["count", "rate"], windows="7d"),
            agg("order", "distinct", windows="7d"),
        )
    )

    found = {output.name: str(output.dtype) for output in outputs}
    assert found == {
        "items_sum_7d": "int64",
        "items_max_7d": "int16",
        "items_last_3_7d": "list<int16>",
        "items_sum_kind_7d": "map<string, int64>",
        "count_7d": "int64",
        "rate_7d": "float64",
        "order_distinct_7d": "int64",
    }


def test_the_conditions_of_view_and_aggregation_both_hold():
    view = spend(agg("amount", "sum", windows="7d", where=col("items") > 1), agg("items", "sum", windows="7d"), where=col("kind") == "buy")

    narrow, wide = resolved(view)

    assert narrow.where.equals((col("kind") == "buy") & (col("items") > 1))
    assert wide.where.equals(col("kind") == "buy")


def test_an_output_compares_by_what_it_is():
    view = spend(agg("amount", "sum", windows="7d", where=col("items") > 1))

    assert resolved(view) == resolved(view)
    assert resolved(view) != resolved(spend(agg("amount", "sum", windows="7d", where=col("items") > 2)))


@pytest.mark.parametrize(
    ("view", "error", "says"),
    [
        (spend(agg("price", "sum", windows="7d")), UnknownNameError, "no column 'price'"),
        (spend(agg("at", "last", windows="7d")), UnknownNameError, "no column 'at'"),
        (spend(agg("kind", "sum", windows="7d")), DefinitionError, "sum of kind, which is string"),
        (spend(agg("amount", "sum", windows="7d", by="shop")), UnknownNameError, "no column 'shop'"),
        (spend(agg("amount", "sum", windows="7d", by="ratio")), DefinitionError, "by='ratio' is float32"),
        (spend(where=col("shop") == 1), UnknownNameError, "no column 'shop'"),
        (spend(where=col("kind") > 1), DefinitionError, "kind"),
        (spend(where=col("amount")), DefinitionError, "where=amount is float64, not bool"),
        (spend(agg("amount", "sum", windows="7d", where=col("amount"))), DefinitionError, "is float64, not bool"),
        (spend(agg("amount", "sum", windows="500ns")), DefinitionError, "'500ns' is no whole number of us"),
        (spend(agg("amount", "sum", windows=hopping("7d", hop="1ns"))), DefinitionError, "is no whole number of us"),
        (spend(offset="1ns"), DefinitionError, "offset is no whole number of us"),
        (spend(tiles=["1ns"]), DefinitionError, "tiles is no whole number of us"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_does_not_fit_the_source_is_refused(view, error, says):
    with pytest.raises(error) as refusal:
        resolved(view)

    assert "window view spend" in refusal.value.message
    assert says in refusal.value.message
    assert refusal.value.hint


def test_a_source_that_counts_nanoseconds_takes_any_length():
    fine = Table("orders", schema=COLUMNS, key=("user", "order"), timestamp="at", time_unit="ns")

    assert [output.name for output in resolved(spend(agg("amount", "sum", windows="500ns")), fine)] == ["amount_sum_500ns"]


# ---------------------------------------------------------------- layout


def test_the_layout_has_the_keys_of_the_entity_and_the_outputs_and_no_time():
    layout = laid_out(spend(agg("items", ["count", "max"], windows="7d"), boundary="strict"))

    assert layout.column_names == ("user", "items_count_7d", "items_max_7d")
    assert [field.dtype for field in layout.features] == [t.int64, t.int16]
    assert (layout.timestamp, layout.ttl_ns, layout.is_online, layout.is_strict, layout.time_unit) == (None, None, True, True, "us")


def test_a_feature_view_is_a_source_and_so_are_all_events_together():
    view = FeatureView("weather", entity=USER, schema={"amount": t.float64})

    assert window_layout(spend(source=view), KEYS, view_layout(view, USER)).column_names == ("user", "amount_sum_7d")
    assert laid_out(spend(entity=None), keys=()).column_names == ("amount_sum_7d",)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"timestamp": None}, "no event time"),
        ({"key": ()}, "the keys of its source orders are none"),
        ({"key": ("order", "user")}, "are order string, user int64, and do not begin with those of its entity: user int64"),
        ({"key": "user", "schema": COLUMNS | {"user": t.int32}}, "are user int32"),
    ],
    ids=str,
)
def test_a_source_whose_rows_lie_otherwise_is_refused(source, says):
    orders = Table("orders", **({"schema": COLUMNS, "key": ("user", "order"), "timestamp": "at"} | source))

    with pytest.raises(DefinitionError, match=says) as refusal:
        laid_out(spend(), orders)

    assert "orders" in refusal.value.hint


def test_an_output_cannot_have_the_name_of_a_key():
    with pytest.raises(DefinitionError, match="'user' is a key and an output"):
        laid_out(spend(agg("amount", "sum", windows="7d", name="user")))


# ---------------------------------------------------------------- evolution


def action(old, new):
    return evolve(old, new).action


BOTH = agg("amount", ["count", "sum"], windows=["1h", "7d"])


def test_notes_and_new_outputs_change_in_place_while_the_tiles_stay():
    wider = spend(agg("amount", ["count", "sum", "max"], windows=["1h", "7d"]), agg("items", "sum", windows="2d"))

    assert action(spend(BOTH), spend(BOTH, owner="ops", description="d", tags={"a": "b"})) == "in_place"
    assert evolve(spend(BOTH), wider).changes == ("amount_max_1h: added", "amount_max_7d: added", "items_sum_2d: added")
    assert action(spend(BOTH), wider) == "in_place"


def test_the_same_outputs_asked_for_in_other_words_are_no_change():
    split = [agg("amount", "sum", windows=["7d", "1h"]), agg("amount", "count", windows=["1h", "7d"])]

    assert action(spend(BOTH), spend(*split)) == "unchanged"


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (spend(agg("amount", "sum", windows=["1h", "7d"])), "amount_count_1h: removed"),
        (spend(agg("amount", ["count", "sum"], windows=["1h", "7d", "1m"])), "tiles: 5m, 1h, 1d -> 1s, 10s, 5m, 1h, 1d"),
        (spend(BOTH, tiles=["1h"]), "tiles: 5m, 1h, 1d -> 1h"),
        (spend(BOTH, source="refunds"), "source: orders -> refunds"),
        (spend(BOTH, boundary="strict"), "boundary: inclusive -> strict"),
        (spend(BOTH, offset="1h"), "offset: none -> 1h"),
        (spend(BOTH, where=col("kind") == "buy"), "where: none -> (kind == 'buy')"),
        (spend(agg("amount", ["count", "sum"], windows=["1h", "7d"], where=col("items") > 1)), "where=(items > 1)"),
        (spend(BOTH, entity="customer"), "entity: user -> customer"),
    ],
    ids=lambda value: repr(value)[-60:],
)
def test_any_other_change_makes_a_new_version(new, says):
    evolution = evolve(spend(BOTH), new)

    assert evolution.action == "new_version"
    assert any(says in change for change in evolution.changes)


def test_another_condition_of_the_same_shape_is_a_change():
    assert action(spend(where=col("items") > 1), spend(where=col("items") > 1)) == "unchanged"
    assert action(spend(where=col("items") > 1), spend(where=col("items") > 2)) == "new_version"

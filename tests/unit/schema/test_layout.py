"""Layouts: the parts and rules of views and tables, as the engine reads them."""

from __future__ import annotations

import pytest

from mlstore.errors import DefinitionError
from mlstore.schema import dtypes as t
from mlstore.schema.entity import Entity
from mlstore.schema.layout import Field, table_layout, view_layout
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView

ROUTE = Entity("route", keys={"carrier": t.string, "origin": t.string})


def test_the_layout_of_a_view_has_its_columns_by_part_and_its_rules():
    view = FeatureView(
        "delays",
        entity="route",
        schema={"mean": t.float64, "n": t.int32},
        created_timestamp="known",
        ttl="1s",
        retention="2s",
        boundary="strict",
        nulls="last_valid",
        time_unit="ns",
    )

    layout = view_layout(view, ROUTE)

    assert layout.keys == (Field("carrier", t.string), Field("origin", t.string))
    assert layout.features == (Field("mean", t.float64), Field("n", t.int32))
    assert layout.column_names == ("carrier", "origin", "event_timestamp", "known", "mean", "n")
    assert (layout.time_unit, layout.ttl_ns, layout.retention_ns, layout.available_after_ns) == ("ns", 10**9, 2 * 10**9, None)
    assert (layout.is_strict, layout.last_valid, layout.is_online) == (True, True, True)


def test_the_layout_of_a_global_view_has_no_keys():
    layout = view_layout(FeatureView("rates", entity=None, schema={"usd": t.float64}, available_after="1s"), None)

    assert layout.keys == ()
    assert layout.available_after_ns == 10**9
    assert (layout.is_strict, layout.last_valid) == (False, False)


def test_the_layout_of_a_table_has_its_key_apart():
    table = Table("labels", schema={"late": t.bool_, "id": t.int64, "day": t.date}, key=["id", "day"], timestamp="at", retention="1s")

    layout = table_layout(table)

    assert layout.keys == (Field("id", t.int64), Field("day", t.date))
    assert layout.features == (Field("late", t.bool_),)
    assert (layout.timestamp, layout.retention_ns, layout.ttl_ns, layout.is_online) == ("at", 10**9, None, False)


def test_a_table_may_be_all_key_and_timeless():
    layout = table_layout(Table("seen", schema={"id": t.int64}, key="id"))

    assert layout.features == ()
    assert layout.timestamp is None
    assert layout.column_names == ("id",)


def test_a_feature_named_like_a_key_of_the_entity_is_refused_when_the_two_meet():
    view = FeatureView("delays", entity="route", schema={"origin": t.string})

    with pytest.raises(DefinitionError, match="view delays: 'origin' is a key and a feature"):
        view_layout(view, ROUTE)


def test_a_view_is_laid_out_with_its_own_entity_only():
    view = FeatureView("delays", entity="airport", schema={"mean": t.float64})

    for entity in (ROUTE, None):
        with pytest.raises(DefinitionError, match="its entity is 'airport'"):
            view_layout(view, entity)

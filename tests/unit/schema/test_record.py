"""Definitions as plain values: packed, unpacked, the same."""

from __future__ import annotations

import msgpack
import pytest

from mlstore.errors import CorruptionError, FormatVersionError
from mlstore.schema import dtypes as t
from mlstore.schema.aggregation import agg
from mlstore.schema.entity import Entity
from mlstore.schema.expression import col
from mlstore.schema.record import KINDS, from_record, to_record
from mlstore.schema.service import FeatureService
from mlstore.schema.table import Table
from mlstore.schema.view import FeatureView
from mlstore.schema.window import hopping, last_rows, session, tumbling
from mlstore.schema.window_view import WindowView

EVERY_FIELD = [
    Entity("route", keys={"b": t.string, "a": t.int64}, description="d", owner="o", tags={"x": "y"}),
    FeatureView(
        "weather",
        entity="airport",
        schema={"z": t.struct({"a b": t.decimal(5, 2)}), "a": t.vector(3)},
        timestamp="at",
        created_timestamp="known",
        ttl="6h",
        retention="90d",
        boundary="strict",
        nulls="last_valid",
        time_unit="ns",
        description="d",
        owner="o",
        tags={"x": "y"},
    ),
    FeatureView("delays", entity=None, schema={"mean": t.float64}, available_after="1h"),
    Table("rows", schema={"b": t.int64, "a": t.string}, key=["a", "b"], timestamp="at", created_timestamp="known", retention="1d"),
    WindowView(
        "spend",
        entity="user",
        source="orders@2",
        aggregations=[
            agg("amount", ["sum", "quantile"], windows=["24h", "lifetime", session("30m"), hopping("7d", hop="1d")], q=[0.5, 0.999]),
            agg("merchant", "last", n=3, distinct=True, windows=[tumbling("1d"), last_rows(10)], series=["0s", "1d"], by="kind"),
            agg("amount", "histogram", bins=[float("-inf"), 0, 0.1, float("inf")], windows="7d", where=col("kind").isin(["a", "b"])),
            agg(None, "count", windows="7d", name="buys_{window}"),
            agg("amount", "decayed_sum", half_life="1d", windows="30d"),
            agg("merchant", "top_k", k=5, windows="30d"),
        ],
        where=(col("amount") > 0.5) & ~col("kind").is_null(),
        boundary="strict",
        offset="1h",
        tiles=["1m", "1h"],
        description="d",
        owner="o",
        tags={"x": "y"},
    ),
    FeatureService("model", features=["weather:z", "delays"], owner="o"),
]


@pytest.mark.parametrize("definition", EVERY_FIELD, ids=lambda definition: definition.name)
def test_a_record_gives_back_the_definition_in_its_order(definition):
    packed = msgpack.packb(to_record(definition))

    found = from_record(msgpack.unpackb(packed))

    assert found == definition
    for name in ("keys", "schema"):
        assert list(getattr(found, name, ())) == list(getattr(definition, name, ()))


def test_a_record_names_the_entity_of_a_view():
    entity = Entity("airport", keys={"origin": t.string})
    view = FeatureView("weather", entity=entity, schema={"temp": t.float64})

    assert to_record(view)["entity"] == "airport"


def test_a_field_that_an_older_record_lacks_has_its_default():
    record = to_record(EVERY_FIELD[2])
    del record["nulls"], record["tags"]

    assert from_record(record) == EVERY_FIELD[2]


@pytest.mark.parametrize("change", [{"kind": "prophecy"}, {"colour": "red"}])
def test_a_record_of_a_newer_program_is_refused(change):
    with pytest.raises(FormatVersionError, match="upgrade"):
        from_record(to_record(EVERY_FIELD[2]) | change)


def test_a_record_with_a_newer_kind_of_aggregation_is_refused():
    record = to_record(EVERY_FIELD[4])
    record["aggregations"][0]["colour"] = "red"

    with pytest.raises(FormatVersionError, match="upgrade"):
        from_record(record)


JUNK = [None, 7, -1, 2.5, True, "", "x", b"\xff", [], [[]], [7], {}, {"kind": []}]


def spoilt(record, junk):
    """The record with junk in the place of each of its parts."""
    parts = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for place, part in parts:
        for changed in [junk, *spoilt(part, junk)]:
            copy = record.copy()
            copy[place] = changed
            yield copy


@pytest.mark.parametrize("junk", JUNK, ids=repr)
@pytest.mark.parametrize("definition", EVERY_FIELD, ids=lambda definition: definition.name)
def test_a_record_that_makes_no_sense_is_told_from_one_that_does(definition, junk):
    for record in spoilt(to_record(definition), junk):
        try:
            found = from_record(record)
        except (CorruptionError, FormatVersionError):
            continue
        assert type(found) in KINDS.values()


def test_a_record_names_the_source_of_a_window_view():
    orders = Table("orders", schema={"user": t.int64, "amount": t.float64}, key="user", timestamp="at")
    view = WindowView("spend", entity="user", source=orders, aggregations=[agg("amount", "sum", windows="7d")])

    assert to_record(view)["source"] == "orders"


def test_a_record_that_lacks_what_it_needs_is_corrupt():
    record = to_record(EVERY_FIELD[2])
    del record["schema"]

    with pytest.raises(CorruptionError):
        from_record(record)

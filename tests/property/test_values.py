"""Packing Python values: whatever the kernel takes, it packs as the long way through Arrow does, and plain values it does take."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlstore as ml
from mlstore.format.rows import RowPlan, compile_plan
from mlstore.format.values import ValueForm, compile_form
from mlstore.schema import dtypes as dt
from mlstore.schema.instants import instant_ns
from mlstore.schema.layout import Layout, table_layout, view_layout
from tests.support.naive_values import entry_through_arrow

ZONES = st.sampled_from([None, UTC, timezone(timedelta(hours=-5, minutes=-30)), ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")])
MOMENTS = st.datetimes(timezones=ZONES) | st.datetimes(datetime(1969, 1, 1), datetime(2030, 1, 1), timezones=ZONES).map(
    lambda moment: moment.replace(microsecond=0)
)
# Times as people write them, and nearly so.
SEPARATORS, ENDS = st.sampled_from(["T", " ", "t", ""]), st.sampled_from(["", "Z", "+02:00", "-05:30", "+24:00", "+02", "+0200", " ", "z"])
FRACTIONS = st.sampled_from(["", ".5", ".000001", ".123456", ".1234567", "."])
ISO = st.builds(
    lambda moment, separator, fraction, end: f"{moment:%Y-%m-%d}{separator}{moment:%H:%M:%S}{fraction}{end}",
    st.datetimes(datetime(1000, 1, 1)),
    SEPARATORS,
    FRACTIONS,
    ENDS,
)
WRONG_DAYS = ["2024-02-30", "2023-02-29", "1900-02-29", "0000-01-01", "2024-13-01"]
NEARLY = st.sampled_from([*WRONG_DAYS, "2000-02-29", "2024-1-01", "2024-05-01T24:00:00"])
TIMES = MOMENTS | st.dates() | st.dates().map(str) | ISO | NEARLY | st.text("0123456789-:T .Z+", max_size=26)
WHOLE = st.integers(-300, 300) | st.integers(-(2**64), 2**64) | st.sampled_from([2**24, 2**24 + 1, 2**53, 2**53 + 1, 2**63, 2**64 - 1])
REAL = (
    st.floats()
    | st.sampled_from([3.4e38, 3.5e38, -1e39])
    | st.floats(width=32)
    | st.floats(-1e3, 1e3).map(np.float64)
    | st.floats(width=32).map(np.float32)
)
NUMBERS = WHOLE | st.integers(-128, 127).map(np.int8) | st.integers(0, 2**64 - 1).map(np.uint64)
TEXT = st.text(max_size=5) | st.text("a\0ÿ", max_size=4) | st.just("\ud800")


def vectors(item: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    sizes = st.sampled_from([2, 2, 2, 3])
    arrays = st.tuples(sizes, st.sampled_from(["f4", "f8", ">f4", "i8"])).map(lambda drawn: np.arange(drawn[0]).astype(drawn[1]))
    return sizes.flatmap(lambda size: st.lists(item, min_size=size, max_size=size)) | st.tuples(item, item) | arrays


VALUES: dict[dt.DType, st.SearchStrategy[Any]] = {
    dt.bool_: st.booleans() | st.booleans().map(np.bool_),
    **dict.fromkeys((dt.int8, dt.int16, dt.int32, dt.int64, dt.uint8, dt.uint16, dt.uint32, dt.uint64), NUMBERS),
    **dict.fromkeys((dt.float32, dt.float64), REAL | NUMBERS),
    dt.string: TEXT,
    dt.binary: st.binary(max_size=5),
    dt.date: st.dates() | st.datetimes(),
    **dict.fromkeys(map(dt.timestamp, ("s", "ms", "us", "ns")), TIMES),
    dt.vector(2): vectors(REAL | NUMBERS),
    dt.vector(2, dt.float64): vectors(REAL | NUMBERS),
}
KEYS = [dtype for dtype in VALUES if dtype.is_key]
WRONG_TIMES = [np.datetime64("NaT"), np.timedelta64(1, "s"), "2024-05-01Z"]
STRANGE = st.sampled_from([None, *WRONG_TIMES, "x", b"x", 1.5, math.nan, True, 10**40, Decimal(1), [1.0], {}])


@dataclass(frozen=True)
class Case:
    layout: Layout
    plan: RowPlan
    row: dict[str, Any]

    @property
    def form(self) -> ValueForm:
        form = compile_form(self.layout, self.plan)
        assert form is not None
        return form


def plan_of(layout: Layout) -> RowPlan:
    return compile_plan(3, [(field.name, field.dtype) for field in layout.features])


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    keys = {f"key{place}": dtype for place, dtype in enumerate(draw(st.lists(st.sampled_from(KEYS), max_size=3)))}
    features = {f"f{place}": dtype for place, dtype in enumerate(draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=5)))}
    unit, created = draw(st.sampled_from(["us", "ns"])), draw(st.sampled_from([None, "known"]))
    if keys and draw(st.booleans()):
        entity = ml.Entity("entity", keys=keys)
        delay = draw(st.sampled_from([None, "1h", "100000d"])) if created is None else None
        view = ml.FeatureView("rows", entity=entity, schema=features, created_timestamp=created, available_after=delay, time_unit=unit)
        return view_layout(view, entity)
    timestamp = draw(st.sampled_from([None, "event_timestamp"]))
    created = None if timestamp is None else created
    names = {"timestamp": timestamp, "created_timestamp": created}
    return table_layout(ml.Table("rows", schema=keys | features, key=list(keys), time_unit=unit, **names))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    layout = draw(layouts())
    clocks = dict.fromkeys((layout.timestamp, layout.created_timestamp), dt.timestamp("us"))
    types = {field.name: field.dtype for field in (*layout.keys, *layout.features)} | {
        name: dtype for name, dtype in clocks.items() if name
    }
    strange = draw(st.integers(0, 9)) == 0
    row = {name: draw(VALUES[dtype] | STRANGE if strange else VALUES[dtype]) for name, dtype in types.items()}
    return Case(layout, plan_of(layout), row)


@given(cases())
def test_what_is_packed_is_what_the_long_way_packs(case: Case):
    entry = case.form.pack(case.row)

    assert entry is None or entry == entry_through_arrow(case.layout, case.plan, case.row)


NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
PLAIN: Mapping[str, Any] = {
    "bool": True,
    "float": -1.5,
    "double": 1,
    "string": "ä\0",
    "binary": b"\0\1",
    "date": date(1960, 2, 29),
}


@pytest.mark.parametrize("dtype", VALUES, ids=str)
@given(data=st.data())
def test_a_value_of_a_type_is_packed_as_the_long_way_packs_it(dtype: dt.DType, data: st.DataObject):
    is_key = dtype.is_key and data.draw(st.booleans())
    layout = table_layout(ml.Table("rows", schema={"f": dtype, "g": dt.int8}, key=["f"] if is_key else []))
    row = {"f": data.draw(VALUES[dtype] | STRANGE), "g": None}

    entry = Case(layout, plan_of(layout), row).form.pack(row)

    assert entry is None or entry == entry_through_arrow(layout, plan_of(layout), row)


@given(ISO | NEARLY | st.dates().map(str))
def test_a_time_is_read_from_text_as_it_is_everywhere_else(text: str):
    layout = table_layout(ml.Table("rows", schema={"f": dt.int64}, timestamp="at"))

    entry = Case(layout, plan_of(layout), {}).form.pack({"f": 1, "at": text})

    if entry is not None:
        assert struct.unpack_from("<q", entry, 2 + 8 + 2)[0] * 1_000 == instant_ns(text)


@pytest.mark.parametrize("text", ["2024-05-01", "2024-05-01 12:00:00", "2024-05-01T12:00:00.5Z", "1969-12-31T23:59:59.999999-05:30"])
def test_times_as_people_write_them_are_packed(text: str):
    layout = table_layout(ml.Table("rows", schema={"f": dt.int64}, timestamp="at"))

    assert Case(layout, plan_of(layout), {}).form.pack({"f": 1, "at": text}) is not None


def plain_value(dtype: dt.DType) -> Any:
    if dtype.parts:
        return [0.5, 2]
    if dtype.spec.startswith("timestamp"):
        return NOON
    return next((value for name, value in PLAIN.items() if str(dtype.arrow).startswith(name)), 7)


@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_a_plain_value_of_every_type_is_packed(dtype: dt.DType):
    layout = table_layout(ml.Table("rows", schema={"f": dtype, "g": dtype}, timestamp="at"))
    row = {"f": plain_value(dtype), "g": None, "at": datetime(2024, 5, 1, tzinfo=UTC)}

    entry = Case(layout, plan_of(layout), row).form.pack(row)

    assert entry is not None
    assert entry == entry_through_arrow(layout, plan_of(layout), row)


@pytest.mark.parametrize("dtype", KEYS, ids=str)
def test_a_plain_key_of_every_type_is_packed(dtype: dt.DType):
    layout = table_layout(ml.Table("rows", schema={"key": dtype, "f": dt.int64}, key=["key"], timestamp="at"))
    row = {"key": plain_value(dtype), "f": 1, "at": datetime(2024, 5, 1)}

    entry = Case(layout, plan_of(layout), row).form.pack(row)

    assert entry is not None
    assert entry == entry_through_arrow(layout, plan_of(layout), row)


@pytest.mark.parametrize("dtype", [dt.decimal(9, 2), dt.list_(dt.int64), dt.struct({"a": dt.int64}), dt.map_(dt.string, dt.int64)], ids=str)
def test_a_type_that_has_to_go_through_arrow_has_no_form(dtype: dt.DType):
    layout = table_layout(ml.Table("rows", schema={"f": dtype}, timestamp="at"))

    assert compile_form(layout, plan_of(layout)) is None


@pytest.mark.parametrize(
    "row", [{}, {"f": 1}, {"f": 1, "at": datetime(2024, 5, 1), "more": 1}, {"f": 1, "At": datetime(2024, 5, 1)}, [1], None]
)
def test_other_columns_are_not_taken(row: Any):
    layout = table_layout(ml.Table("rows", schema={"f": dt.int64}, timestamp="at"))

    assert Case(layout, plan_of(layout), {}).form.pack(row) is None

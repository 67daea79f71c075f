"""The shared conformance cases, and how a store answers one of them.

A case becomes one entity and one view in a store in memory; its labels become a training set. What the store cannot say
(null keys that match, times that are plain numbers, keys of nested types) raises NotImplementedError.
"""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import mlstore as ml

FOLDER = Path(__file__).parents[2].parent / "shared" / "conformance"

UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}

SIMPLE_TYPES = {
    pa.bool_(): ml.bool_,
    pa.int8(): ml.int8,
    pa.int16(): ml.int16,
    pa.int32(): ml.int32,
    pa.int64(): ml.int64,
    pa.uint8(): ml.uint8,
    pa.uint16(): ml.uint16,
    pa.uint32(): ml.uint32,
    pa.uint64(): ml.uint64,
    pa.float32(): ml.float32,
    pa.float64(): ml.float64,
    pa.string(): ml.string,
    pa.binary(): ml.binary,
    pa.date32(): ml.date,
}


def load_check() -> ModuleType:
    """The reader and comparer that comes with the cases."""
    spec = importlib.util.spec_from_file_location("conformance_check", FOLDER / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asof_cases() -> list[Any]:
    return [case for case in load_check().load(FOLDER) if case.op == "asof"]


def backward_cases() -> list[Any]:
    return [case for case in asof_cases() if case.params["direction"] == "backward"]


def answer_from_store(case: Any, *, writes: int = 1) -> pa.Table:
    """Load the features of the case in so many writes, and ask for its labels."""
    refuse_unsupported(case)
    view = view_of(case)
    features = feature_rows(case)
    rows_per_write = max(1, -(-features.num_rows // writes))
    with ml.open(":memory:") as store:
        store.apply(*([view] if view.entity is None else [view.entity, view]))
        for start in range(0, max(1, features.num_rows), rows_per_write):
            store.write("facts", features.slice(start, rows_per_write))
        table = store.training_set(label_rows(case), ["facts"], timestamp=case.label_time, known_at=knowledge_of(case), full_names=True)
    return pa.table({name: as_declared(table[f"facts__{name}"], case.feature.schema.field(name).type) for name in case.values})


def refuse_unsupported(case: Any) -> None:
    if case.params["null_keys"] == "equal":
        raise NotImplementedError("null keys are refused in data, so they cannot match")
    times = [case.label.schema.field(case.label_time).type, case.feature.schema.field(case.feature_time).type]
    if not all(pa.types.is_timestamp(time) or pa.types.is_date(time) for time in times):
        raise NotImplementedError(f"times of types {times}: only instants are times")
    for name in case.feature_keys:
        kind = case.feature.schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_floating(kind):
            raise NotImplementedError(f"a key of type {kind}")


def view_of(case: Any) -> ml.FeatureView:
    schema = case.feature.schema
    keys = {name: dtype_of(schema.field(name).type) for name in case.feature_keys}
    return ml.FeatureView(
        "facts",
        entity=ml.Entity("thing", keys=keys) if keys else None,
        schema={name: dtype_of(schema.field(name).type) for name in case.values},
        timestamp=case.feature_time,
        created_timestamp=case.created,
        ttl=longest_age(case),
        boundary="inclusive" if case.params["inclusive"] else "strict",
        nulls=case.params["nulls"],
        time_unit=time_unit(case),
    )


def dtype_of(kind: pa.DataType) -> ml.DType:
    if kind in SIMPLE_TYPES:
        return SIMPLE_TYPES[kind]
    if pa.types.is_dictionary(kind):
        return dtype_of(kind.value_type)
    if pa.types.is_timestamp(kind):
        return ml.timestamp(kind.unit)
    if pa.types.is_decimal(kind):
        return ml.decimal(kind.precision, kind.scale)
    if pa.types.is_fixed_size_list(kind):
        return ml.vector(kind.list_size, dtype_of(kind.value_type))
    if pa.types.is_list(kind):
        return ml.list_(dtype_of(kind.value_type))
    raise NotImplementedError(f"a value of type {kind}")


def time_unit(case: Any) -> str:
    """Nanoseconds as soon as one time of either side has digits below the microsecond."""
    columns = [case.label[case.label_time], case.feature[case.feature_time]] + ([case.feature[case.created]] if case.created else [])
    return "ns" if any(has_fine_digits(column) for column in columns) else "us"


def has_fine_digits(times: pa.ChunkedArray) -> bool:
    if not pa.types.is_timestamp(times.type) or times.type.unit != "ns":
        return False
    return any(value is not None and value % 1000 for value in times.cast(pa.int64()).to_pylist())


def longest_age(case: Any) -> str | None:
    """The tolerance as a ttl, which includes its end: an open tolerance is one tick shorter."""
    tolerance = case.params["tolerance"]
    if tolerance is None:
        return None
    unit = time_unit(case)
    ticks = (tolerance["value"] - (0 if tolerance["inclusive"] else 1)) // UNIT_NS[unit]
    return f"{ticks}{unit}"


def knowledge_of(case: Any) -> str | datetime | None:
    known_at = case.params["known_at"]
    if isinstance(known_at, dict):
        assert known_at["time"] % 1000 == 0, "a bound that datetime cannot hold"
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=known_at["time"] // 1000)
    return "label" if known_at else None


def feature_rows(case: Any) -> pa.Table:
    """The columns of the view; rows with a null key or time are left out, as the rules of the cases permit."""
    columns = [*case.feature_keys, case.feature_time, *([case.created] if case.created else []), *case.values]
    rows = case.feature.select(columns)
    for name in [*case.feature_keys, case.feature_time]:
        rows = rows.filter(pc.is_valid(rows[name]))
    return as_instants(rows, [case.feature_time])


def label_rows(case: Any) -> pa.Table:
    """The labels with the key names of the entity; their other columns stay, unless a key takes their name."""
    renamed = dict(zip(case.label_keys, case.feature_keys, strict=True))
    kept = [name for name in case.label.column_names if name in renamed or name == case.label_time or name not in case.feature_keys]
    return as_instants(case.label.select(kept).rename_columns([renamed.get(name, name) for name in kept]), [case.label_time])


def as_instants(table: pa.Table, names: list[str]) -> pa.Table:
    """Dates as midnight UTC; everything else as it is."""
    for name in names:
        if pa.types.is_date(table.schema.field(name).type):
            table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.timestamp("s")))
    return table


def as_declared(column: pa.ChunkedArray, declared: pa.DataType) -> pa.ChunkedArray:
    """A naive timestamp means UTC and comes back as UTC: take the zone off again where the case has none."""
    if pa.types.is_timestamp(declared) and declared.tz is None:
        return column.cast(pa.timestamp(declared.unit))
    return column

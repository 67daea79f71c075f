"""Every shared window case, answered by a store: windows over a view of facts, as a training set, and online at each label's time."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

import mlstore as ml
from tests.conformance import cases

if not cases.FOLDER.exists():
    pytest.skip("the shared conformance cases are not here", allow_module_level=True)

check = cases.load_check()
WINDOW_CASES = [case for case in check.load(cases.FOLDER) if case.op == "window"]
FUNCTIONS = {"count_rows": "count", "count_distinct": "distinct"}
MOST_ONLINE = 30  # labels of a case that are asked online, one by one


@pytest.fixture(params=["one write", "many small segments"])
def writes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many writes load the events. The second way forces tail, sealing and merging onto every case."""
    if request.param == "one write":
        return 1
    for name, size in {
        "TAIL_ROWS": 32,
        "DIRECT_ROWS": 128,
        "SEGMENT_ROWS": 256,
        "FANOUT": 3,
        "WINDOW_STRETCH": 4,
        "WINDOW_EVENTS": 64,
    }.items():
        monkeypatch.setattr(f"mlstore.engine.limits.{name}", size)
    return 20


@pytest.mark.parametrize("case", WINDOW_CASES, ids=lambda case: case.id)
def test_a_store_answers_the_case_and_online_says_the_same(case: Any, writes: int) -> None:
    with store_of(case, writes) as store:
        labels = cases.label_rows(case)
        known_at = "label" if case.params["known_at"] else None
        table = store.training_set(labels, ["windows"], timestamp=case.label_time, known_at=known_at, full_names=True)

        assert check.compare(case, as_in(case, table)) is None
        if known_at is None:
            assert_same_online(case, store, table)


def store_of(case: Any, writes: int) -> ml.Store:
    facts = facts_of(case)
    rows = cases.feature_rows(case)
    if not case.values:
        rows = rows.append_column("nothing", pa.nulls(rows.num_rows, pa.int64()))
    store = ml.open(":memory:")
    windows = windows_of(case, facts)
    store.apply(*([] if facts.entity is None else [facts.entity]), facts, windows)
    step = max(1, -(-rows.num_rows // writes))
    for start in range(0, max(1, rows.num_rows), step):
        store.write("facts", rows.slice(start, step))
    return store


def facts_of(case: Any) -> ml.FeatureView:
    schema = case.feature.schema
    keys = {name: cases.dtype_of(schema.field(name).type) for name in case.feature_keys}
    return ml.FeatureView(
        "facts",
        entity=ml.Entity("thing", keys=keys) if keys else None,
        schema={name: cases.dtype_of(schema.field(name).type) for name in case.values} or {"nothing": ml.int64},
        timestamp=case.feature_time,
        created_timestamp=case.created,
        time_unit="ns" if is_fine(case) else "us",
    )


def is_fine(case: Any) -> bool:
    times = [case.label[case.label_time], case.feature[case.feature_time], *([case.feature[case.created]] if case.created else [])]
    return any(cases.has_fine_digits(time) for time in times)


def windows_of(case: Any, facts: ml.FeatureView) -> ml.WindowView:
    """An end that is closed, or open, against what the view's boundary makes of it moves by one tick."""
    tick_ns = 1 if facts.time_unit == "ns" else 1000
    closed = case.params["closed"]
    longer = {"both": tick_ns, "none": -tick_ns}.get(closed, 0)
    aggregations = [
        ml.agg(
            spec["column"],
            FUNCTIONS.get(spec["fn"], spec["fn"]),
            windows="lifetime" if spec["window"] is None else f"{spec['window']['value'] + longer}ns",
            name=spec["name"],
            **({"n": spec["n"]} if spec["fn"] == "last_n" else {}),
        )
        for spec in case.params["aggregates"]
    ]
    boundary = "strict" if closed in ("left", "none") else "inclusive"
    return ml.WindowView("windows", entity=facts.entity, source=facts, aggregations=aggregations, boundary=boundary)


def as_in(case: Any, table: pa.Table) -> pa.Table:
    columns = {}
    for spec in case.params["aggregates"]:
        column = table[f"windows__{spec['name']}"]
        declared = case.feature.schema.field(spec["column"]).type if spec["column"] else None
        columns[spec["name"]] = (
            column if declared is None or not pa.types.is_timestamp(column.type) else cases.as_declared(column, declared)
        )
    return pa.table(columns)


def assert_same_online(case: Any, store: ml.Store, table: pa.Table) -> None:
    outputs = [f"windows__{spec['name']}" for spec in case.params["aggregates"]]
    times = table[case.label_time].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_pylist()
    for row, time in list(enumerate(times))[:MOST_ONLINE]:
        if time is None:
            continue
        keys = table.slice(row, 1).select(case.feature_keys)
        keys = keys if case.feature_keys else pa.table({"row": [row]})
        now = f"{pa.scalar(time, pa.timestamp('ns'))!s}+00:00"
        online = store.online_features(["windows"], keys, now=now, full_names=True)
        expected = table.slice(row, 1).select(outputs)
        assert online.select(outputs).to_pylist().__repr__() == expected.to_pylist().__repr__(), (row, now)

"""The shared window cases, answered by the one function from events and moments to aggregates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.engine.windows.aggregates import aggregate
from mlstore.engine.windows.plan import Moments, compile_plan
from mlstore.schema.layout import view_layout
from mlstore.schema.window import Window
from tests.conformance.cases import FOLDER, UNIT_NS, dtype_of, has_fine_digits, load_check
from tests.support.windows import Rows

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the shared cases are not here")

CASES = [case for case in load_check().load(FOLDER) if case.op == "window"] if FOLDER.exists() else []
FUNCTIONS = {"count_rows": "count", "count_distinct": "distinct"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_shared_window_case_comes_out_as_expected(case):
    answer = answer_case(case)

    assert load_check().compare(case, answer) is None


def answer_case(case: Any) -> pa.Table:
    """Events and moments sorted by hand, and what they aggregate to, in the order of the labels."""
    tick_ns = 1 if any_fine(case) else 1000
    columns = [case.feature[name] for name in case.values]
    codes = group_codes(case)
    event_code, moment_code = codes[: case.feature.num_rows], codes[case.feature.num_rows :]
    event_time, moment_time = ticks(case.feature[case.feature_time], tick_ns), ticks(case.label[case.label_time], tick_ns)
    created = ticks(case.feature[case.created], tick_ns) if case.created else np.zeros(len(event_time), np.int64)
    kept = np.flatnonzero((event_code >= 0) & (event_time != -(2**63)))
    order = kept[np.lexsort((kept, created[kept], event_time[kept], event_code[kept]))]
    asked_time = np.where(moment_code < 0, -(2**63), moment_time)
    asked = np.lexsort((asked_time, np.maximum(moment_code, 0)))
    groups = max(codes.max(initial=0) + 1, 1)
    events = Rows(
        np.searchsorted(event_code[order], np.arange(groups + 1)),
        event_time[order],
        created[order],
        {name: one(column).take(pa.array(order)) for name, column in zip(case.values, columns, strict=True)},
    )
    moments = Moments(
        np.searchsorted(np.maximum(moment_code, 0)[asked], np.arange(groups + 1)),
        asked_time[asked],
        moment_time[asked] if case.params["known_at"] else np.empty(0, np.int64),
    )
    answers = aggregate(plan_of(case, tick_ns), events, moments)
    back = np.empty(len(asked), np.int64)
    back[asked] = np.arange(len(asked))
    found = zip(case.params["aggregates"], answers, strict=True)
    return pa.table({spec["name"]: as_in(case, spec, answer.take(pa.array(back))) for spec, answer in found})


def as_in(case: Any, spec: dict[str, Any], answer: pa.Array) -> pa.Array:
    """Times without a zone, where the column has none: inside all are UTC."""
    kind = case.feature.schema.field(spec["column"]).type if spec["column"] else None
    return answer.cast(kind) if kind is not None and pa.types.is_timestamp(answer.type) else answer


def plan_of(case: Any, tick_ns: int) -> Any:
    """Open and closed ends are whole ticks: a window that takes in its lower end as well is one tick longer."""
    ends = {"right": (0, 0), "left": (0, 1), "both": (1, 0), "none": (-1, 1)}
    longer, shift = ends[case.params["closed"]]
    aggregations = []
    for spec in case.params["aggregates"]:
        window = (
            Window("lifetime", shift_ns=shift * tick_ns)
            if spec["window"] is None
            else Window("time", "w", length_ns=spec["window"]["value"] + longer * tick_ns, shift_ns=shift * tick_ns)
        )
        function = FUNCTIONS.get(spec["fn"], spec["fn"])
        options = {"n": spec["n"]} if function == "last_n" else {}
        aggregations.append(ml.agg(spec["column"], [function], windows=[window], name=spec["name"], **options))
    schema = {name: dtype_of(case.feature.schema.field(name).type) for name in case.values}
    entity = ml.Entity("thing", keys={"key_of_thing": ml.int64})
    source = ml.FeatureView("facts", entity=entity, schema=schema or {"none": ml.int64}, time_unit="ns" if tick_ns == 1 else "us")
    view = ml.WindowView("windows", entity=entity, source=source, aggregations=aggregations, tiles=["1s", "1m", "1h"])
    return compile_plan(view, view_layout(source, entity))


def group_codes(case: Any) -> np.ndarray:
    """One number for equal keys of features, then labels; -1 where a key is null."""
    rows = []
    for table, names in ((case.feature, case.feature_keys), (case.label, case.label_keys)):
        keys = [table[name].to_pylist() for name in names]
        rows += [tuple(key[row] for key in keys) for row in range(table.num_rows)]
    numbers: dict[tuple[Any, ...], int] = {}
    return np.array([-1 if None in row else numbers.setdefault(row, len(numbers)) for row in rows], np.int64)


def any_fine(case: Any) -> bool:
    """Whether microseconds cannot hold what the case says."""
    lengths = [spec["window"]["value"] for spec in case.params["aggregates"] if spec["window"] is not None]
    times = [case.label[case.label_time], case.feature[case.feature_time], *([case.feature[case.created]] if case.created else [])]
    return any(length % 1000 for length in lengths) or any(has_fine_digits(time) for time in times)


def ticks(times: pa.ChunkedArray, tick_ns: int) -> np.ndarray:
    factor, divisor = (
        (UNIT_NS[times.type.unit] // tick_ns, 1) if UNIT_NS[times.type.unit] >= tick_ns else (1, tick_ns // UNIT_NS[times.type.unit])
    )
    return np.array([-(2**63) if time is None else time * factor // divisor for time in times.cast(pa.int64()).to_pylist()], np.int64)


def one(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.dictionary_decode() if pa.types.is_dictionary(column.type) else combined

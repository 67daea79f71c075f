"""The workload of windows: every engine gives the answer of plain Python."""

from __future__ import annotations

import pyarrow as pa
import pytest

from benchmarks.events import AMOUNT, LENGTHS_US, OUTPUTS, Events
from benchmarks.history import KEY, TIME
from benchmarks.meter import Meter
from benchmarks.workload import load_engine
from benchmarks.workloads.windows import Windows, checksum, compare

EVENTS, LABELS = Events(3000), 200


def answer(events: Events, labels: pa.Table) -> pa.Table:
    """The windows in plain Python."""
    rows = events.table()
    facts = list(zip(rows[KEY].to_pylist(), rows[TIME].cast(pa.int64()).to_pylist(), rows[AMOUNT].to_pylist(), strict=True))
    columns: dict[str, list[float | None]] = {output: [] for output in OUTPUTS}
    for key, time in zip(labels[KEY].to_pylist(), labels[TIME].cast(pa.int64()).to_pylist(), strict=True):
        for window, length in LENGTHS_US.items():
            held = [amount for of, at, amount in facts if of == key and time - length < at <= time]
            columns[f"amount_count_{window}"].append(len(held))
            columns[f"amount_sum_{window}"].append(sum(held) if held else None)
            columns[f"amount_mean_{window}"].append(sum(held) / len(held) if held else None)
            columns[f"amount_max_{window}"].append(max(held, default=None))
    return pa.table(dict(zip(labels.column_names, labels.columns, strict=True)) | columns)


@pytest.mark.parametrize("name", ["mlstore", "floor", "polars", "duckdb", "pandas"])
@pytest.mark.filterwarnings("ignore")
def test_every_engine_gives_the_answer_of_plain_python(name, tmp_path):
    engine = load_engine(name, tmp_path)
    labels = EVENTS.labels(LABELS)
    store = tmp_path / "store"
    store.mkdir()

    engine.build_events(EVENTS, store)
    engine.open_events(store)
    found = engine.aggregate(labels)
    engine.close()

    assert checksum(found, LABELS) == checksum(answer(EVENTS, labels), LABELS)


def test_a_run_tells_times_sizes_and_answers(tmp_path):
    workload, meter = Windows(labels=(50, 100)), Meter()
    workload.prepare(tmp_path, rows=2000)
    engine = load_engine("floor", tmp_path / "none")
    workload.build(engine, tmp_path)

    workload.run(engine, tmp_path, meter)

    assert {"50 labels, from closed files", "100 labels, from open files"} <= set(meter.steps)
    assert meter.checksums["50 labels, from closed files"] == meter.checksums["50 labels, from open files"]


def test_the_remarks_name_the_fastest_rival():
    told = compare("from open files", {"mlstore": 1.0, "floor": 0.5, "polars": 20.0, "duckdb": 60.0})

    assert told == [
        "from open files: mlstore takes 2x the time of the floor",
        "from open files: polars, the fastest rival, takes 20x the time of mlstore",
    ]

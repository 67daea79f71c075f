"""The versions workload: its rows, its comparison, what it asks of engines, and that they agree."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks.__main__ import main
from benchmarks.meter import Meter
from benchmarks.workload import load_engine, load_workload
from benchmarks.workloads.storage import FEATURES
from benchmarks.workloads.versions import WORKLOAD, compare, make_readings


def test_readings_go_on_where_they_ended_and_another_seed_changes_only_values():
    first, second, other = make_readings(0, 50), make_readings(50, 50), make_readings(50, 50, seed=1)

    assert pc.max(first["event_timestamp"]).as_py() < pc.min(second["event_timestamp"]).as_py()
    assert second.select(["entity", "event_timestamp"]) == other.select(["entity", "event_timestamp"])
    assert all(second[name] != other[name] for name in FEATURES)


def test_comparing_counts_what_came_what_went_and_what_changed():
    before = make_readings(0, 100)
    after = pa.concat_tables([make_readings(90, 30), before.slice(20, 60), make_readings(10, 10, seed=1)])

    assert compare(before, after) == (20, 20, 20)
    assert compare(before, before) == (0, 0, 0)


@pytest.mark.parametrize("engine", ["mlstore", "parquet_copies"])
def test_an_engine_shows_every_version_as_it_was(engine, tmp_path: Path):
    keeps = load_engine(engine, tmp_path)
    bulk, more, other = make_readings(0, 200), make_readings(200, 20), make_readings(100, 10, seed=1)

    keeps.begin(bulk)
    keeps.snapshot("one")
    keeps.append(more)
    keeps.snapshot("two")
    keeps.upsert(other)
    keeps.reopen()

    columns = bulk.column_names
    assert compare(bulk, keeps.read_version("one", columns)) == (0, 0, 0)
    assert compare(bulk, keeps.read_version("two", columns)) == (20, 0, 0)
    assert compare(bulk, keeps.read_version(None, columns)) == (20, 0, 10)
    span = [pc.min(other["event_timestamp"]).cast(pa.int64()).as_py() + move for move in (0, 10_000_000)]
    assert compare(other, keeps.read_version(None, columns, tuple(span))) == (0, 0, 0)


def test_the_command_prints_what_all_engines_can_and_the_floor(tmp_path: Path, capsys):
    engines = ["--engine", "mlstore", "parquet_copies", "lmdb"]

    code = main(["versions", "--rows", "2000", "--versions", "45", "--repeat", "1", "--scratch", str(tmp_path), *engines])

    table = capsys.readouterr().out
    assert code == 0
    for step in (
        "diff of 1 %",
        "merge of 1 %",
        "append of one row, the last, p50",
        "let old versions go",
        "snapshot, the last over the first",
    ):
        assert step in table


def test_an_engine_that_gives_another_answer_is_found(tmp_path: Path):
    inputs, folder, other = (tmp_path / name for name in ("inputs", "store", "other"))
    for path in (inputs, folder, other):
        path.mkdir()
    WORKLOAD.configured(type("Options", (), {"versions": 3})).prepare(inputs, rows=500)
    right, wrong = Meter(), Meter()
    load_workload("versions").run(load_engine("parquet_copies", folder), inputs, right)
    forgetful = load_engine("parquet_copies", other)
    forgetful.upsert = lambda table: None

    load_workload("versions").run(forgetful, inputs, wrong)

    differing = {name for name in right.checksums if right.checksums[name] != wrong.checksums[name]}
    assert differing == {"newest version, whole", "newest version, one column", "newest version, a stretch of time", "changed rows"}

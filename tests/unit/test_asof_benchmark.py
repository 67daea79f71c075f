"""The as-of workloads: every engine is asked the same, and an answer that is wrong or short is never timed in silence."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.__main__ import main
from benchmarks.engines import floor, mlstore
from benchmarks.history import KEY, TIME, History, key_numbers
from benchmarks.memory import own_bytes, watch_memory
from benchmarks.meter import Meter
from benchmarks.runner import LeftOut, run_engine, run_rounds
from benchmarks.workload import NotHere, load_engine
from benchmarks.workloads.asof import WORKLOAD, check, checksum, compare
from benchmarks.workloads.asof_matrix import AsOfMatrix
from mlstore.engine import limits

HISTORY = History(3000)


def answer(history: History, labels: pa.Table) -> pa.Table:
    """The join in plain Python: for each label the last of the rows, which are in the order of time, that is not after it."""
    columns = {name: labels[name] for name in labels.column_names}
    for view in history.views:
        rows = history.table(view)
        keys, times = rows[KEY].to_pylist(), rows[TIME].cast(pa.int64()).to_pylist()
        winners = [
            next((row for row in reversed(range(len(keys))) if keys[row] == key and times[row] <= time), None)
            for key, time in zip(labels[KEY].to_pylist(), labels[TIME].cast(pa.int64()).to_pylist(), strict=True)
        ]
        columns |= {feature: rows[feature].take(pa.array(winners, pa.int64())) for feature in view.features}
    return pa.table(columns)


@pytest.mark.parametrize("change", [{}, {"keys": "string"}, {"skew": "zipf"}, {"layout": "many"}])
@pytest.mark.parametrize("name", ["mlstore", "floor", "polars", "polars_parquet", "duckdb", "pandas", "pyarrow"])
@pytest.mark.filterwarnings("ignore")
def test_every_engine_gives_the_answer_of_plain_python(name, change, tmp_path):
    history = replace(HISTORY, **change)
    labels = history.labels(200)
    engine = load_engine(name, tmp_path)
    store = tmp_path / "store"
    store.mkdir()

    engine.build_views(history, store)
    engine.open_views(store)
    if name == "floor":
        engine.foresee(labels)
    joined = engine.join(labels)
    engine.close()

    assert checksum(joined, history, 200) == checksum(answer(history, labels), history, 200)


@pytest.mark.parametrize("name", ["polars", "duckdb", "pyarrow"])
@pytest.mark.filterwarnings("ignore")
def test_tables_in_memory_are_joined_as_those_on_the_disk(name, tmp_path):
    labels = HISTORY.labels(200)
    views = {view.name: HISTORY.table(view) for view in HISTORY.views}

    joined = load_engine(name, tmp_path).join_tables(labels, views)

    assert checksum(joined, HISTORY, 200) == checksum(answer(HISTORY, labels), HISTORY, 200)


def test_the_checksum_knows_the_labels_order_and_every_feature():
    joined = answer(HISTORY, HISTORY.labels(100))
    shuffled = joined.take(pa.array(np.random.default_rng(1).permutation(100)))
    swapped = joined.set_column(joined.column_names.index("b4"), "b4", joined["b3"])

    assert checksum(shuffled, HISTORY, 100) == checksum(joined, HISTORY, 100)
    assert checksum(swapped, HISTORY, 100) != checksum(joined, HISTORY, 100)


@pytest.mark.parametrize("rows", [[0, 1, 2], [0, 1, 2, 2], [0, 1, 2, 3, 3]])
def test_an_answer_without_some_labels_or_with_some_twice_is_refused(rows, tmp_path):
    labels = HISTORY.labels(4)
    short = answer(HISTORY, labels).take(pa.array(rows))

    with pytest.raises(ValueError, match="some are missing, or there twice"):
        check("step", floor.Engine(tmp_path), short, labels, HISTORY, Meter())


def test_an_engine_known_to_lose_labels_is_told_and_not_compared(tmp_path):
    class Loser(floor.Engine):
        loses_labels = True

    labels, meter = HISTORY.labels(4), Meter()

    check("step", Loser(tmp_path), answer(HISTORY, labels).slice(1), labels, HISTORY, meter)

    assert meter.checksums == {}
    assert meter.notes == ["step: 1 label rows are missing from the answer, so it is not compared with the others'"]


def test_equal_histories_draw_equal_rows_and_no_two_share_a_time():
    for view in HISTORY.views:
        rows = HISTORY.table(view)

        assert rows.equals(replace(HISTORY).table(view))
        assert (np.diff(rows[TIME].cast(pa.int64()).to_numpy()) > 0).all()


def test_string_keys_stand_for_the_same_entities():
    named = replace(HISTORY, keys="string")
    for view in HISTORY.views:
        assert (key_numbers(named.table(view)[KEY]) == HISTORY.table(view)[KEY].to_numpy()).all()


def test_zipf_gives_a_few_keys_most_of_the_rows():
    shares = [
        np.sort(np.bincount(history.table(history.views[0])[KEY].to_numpy()))[::-1] / 3000
        for history in (HISTORY, replace(HISTORY, skew="zipf"))
    ]

    assert shares[0][0] < 0.02
    assert shares[1][0] > 0.1


def test_punctual_and_late_rows_are_all_rows():
    for view in HISTORY.views:
        arrived = pa.concat_tables([HISTORY.punctual(view).read_all(), HISTORY.late(view)])

        assert arrived.sort_by(TIME).equals(HISTORY.table(view).combine_chunks())
        assert not (np.diff(HISTORY.late(view)[TIME].cast(pa.int64()).to_numpy()) > 0).all()


@pytest.mark.parametrize("chunk_bytes", [1 << 27, 1 << 20], ids=["a bulk of one run", "a bulk that was merged"])
def test_the_layout_of_many_has_many_segments_and_a_tail(chunk_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.history.PIECE_ROWS", 1 << 14)
    monkeypatch.setattr(limits, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(limits, "DIRECT_ROWS", 512)
    monkeypatch.setattr(mlstore, "RUN_ROWS", 512)
    monkeypatch.setattr(mlstore, "TAIL_ROWS", 2000)
    monkeypatch.setattr(mlstore, "TAIL_WRITES", (300, 7))
    engine = load_engine("mlstore", tmp_path)
    engine.build_views(History(200_000, layout="many"), tmp_path)

    engine.open_views(tmp_path)
    told = engine.describe()
    engine.close()

    assert told == "a: 10 runs, 2,000 rows in the tail, b: 4 runs, 2,000 rows in the tail"


@given(rows=st.integers(59_000, 80_000) | st.integers(0, 4_000_000))
def test_late_rows_all_come_in_and_neither_seal_the_tail_nor_miss_the_segments(rows):
    writes = mlstore.late_writes(rows)

    direct, tail = [size for size in writes if size >= limits.DIRECT_ROWS], [size for size in writes if size < limits.DIRECT_ROWS]
    assert sum(writes) == rows
    assert writes == direct + tail
    assert sum(tail) < limits.TAIL_ROWS
    assert not rows or min(writes) > 0
    assert len(direct) == 30 or rows < 30 * limits.DIRECT_ROWS + limits.TAIL_ROWS


def test_some_labels_fall_on_an_event_and_some_keys_are_unknown():
    labels = HISTORY.labels(640)

    joined = answer(HISTORY, labels)

    event_times = set(HISTORY.table(HISTORY.views[0])[TIME].to_pylist())
    assert sum(time in event_times for time in labels[TIME].to_pylist()) >= 10
    assert joined["a0"].null_count >= 10


def test_a_missing_package_leaves_an_engine_out(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "benchmarks.engines.duckdb", raising=False)
    monkeypatch.setitem(sys.modules, "duckdb", None)

    with pytest.raises(NotHere, match="the package duckdb is not installed"):
        load_engine("duckdb", tmp_path)


def test_an_engine_that_takes_too_long_is_left_out_and_the_others_go_on(tmp_path, monkeypatch):
    def work(verb: str, workload: str, engine: str, *_: object) -> str:
        if engine == "polars" and verb == "run":
            raise LeftOut("polars is left out: it took more than 1 s")
        seen = {"engine": engine, "version": "1", "process": 1, "steps": {}, "sizes": {}, "checksums": {}, "notes": []}
        return json.dumps(seen)

    monkeypatch.setattr("benchmarks.runner._work", work)
    told: list[str] = []

    runs = run_rounds("asof", ["mlstore", "polars"], rows=100, repeat=2, scratch=tmp_path, progress=told.append)

    assert [run.engine for run in runs] == ["mlstore", "mlstore"]
    assert told.count("polars is left out: it took more than 1 s") == 1


@pytest.mark.slow
def test_the_time_limit_ends_an_engine(tmp_path):
    with pytest.raises(LeftOut, match="floor is left out"):
        run_engine("asof", "floor", tmp_path, tmp_path, limit_seconds=0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells memory of its own from mapped files")
def test_memory_of_its_own_is_kept_apart_from_mapped_files(tmp_path):
    path = tmp_path / "numbers.npy"
    np.save(path, np.ones(4_000_000))

    with watch_memory() as peak:
        mapped = np.load(path, mmap_mode="r")
        mapped.sum()
    with watch_memory() as own:
        made = np.ones(4_000_000)

    assert peak.mapped_bytes > 30_000_000 > 10_000_000 > peak.own_bytes
    assert own.own_bytes > 20_000_000 > own.mapped_bytes
    assert made.nbytes == mapped.nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells memory of its own from mapped files")
def test_memory_that_was_freed_and_kept_is_seen_when_it_is_filled_again():
    before = own_bytes()
    made = np.ones(4_000_000)

    with watch_memory(before) as peak:
        made[:] = 2

    assert peak.own_bytes > 20_000_000


def test_a_remark_names_the_fastest_rival_the_floor_and_the_memory():
    table = {
        "7 labels, from closed files": {"mlstore": 2.0, "floor": 1.0, "polars": 8.0, "duckdb": 9.0},
        "7 labels, table": {"mlstore": 400e6},
        "7 labels, memory of its own": {"mlstore": 500e6},
    }

    assert list(compare("7 labels, from closed files", table)) == [
        "7 labels, from closed files: polars, the fastest rival, takes 4x the time of mlstore",
        "7 labels, from closed files: mlstore takes 2x the time of the floor",
        "7 labels: mlstore takes 500 MB of its own; the table + 25 % + 100 MB are 600 MB",
    ]


def test_the_matrix_tells_growth_in_labels_and_each_case_beside_the_base():
    matrix = AsOfMatrix(labels=(10, 100), cases=("3x rows",))
    table = {
        "base, 10 labels, from open files": {"mlstore": 1.0},
        "base, 100 labels, from open files": {"mlstore": 9.0},
        "3x rows, 10 labels, from open files": {"mlstore": 1.5},
        "3x rows, 100 labels, from open files": {"mlstore": 9.9},
    }

    assert matrix.remarks(table) == [
        "mlstore, from open files: 10x the labels, 10 to 100, take 9x the time",
        "mlstore, from open files: 3x rows takes 1.5x the time of the base, with 10 labels",
        "mlstore, from open files: 3x rows takes 1.1x the time of the base, with 100 labels",
    ]


def test_options_reach_the_history(tmp_path):
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int)
    WORKLOAD.add_options(parser)

    asked = parser.parse_args(["--rows", "500", "--labels", "20", "1_0", "--keys", "string", "--skew", "zipf", "--layout", "many"])
    WORKLOAD.configured(asked).prepare(tmp_path, rows=500)

    assert History.load(tmp_path) == History(500, "string", "zipf", "many")
    assert [path.name for path in sorted(tmp_path.glob("labels-*"))] == ["labels-000000000010.arrow", "labels-000000000020.arrow"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workload", "rivals"), [("asof", ["mlstore", "duckdb"]), ("asof_matrix", ["mlstore", "floor"]), ("asof_kernel", ["polars", "duckdb"])]
)
def test_the_command_prints_its_table_and_leaves_nothing(workload, rivals, tmp_path, capsys):

    code = main(
        [workload, "--engine", *rivals, "--rows", "2000", "--labels", "10", "50", "--repeat", "1", "--scratch", str(tmp_path), "--json"]
    )

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [run["engine"] for run in told["runs"]] == rivals
    assert all(run["checksums"] for run in told["runs"])
    assert list(tmp_path.iterdir()) == []

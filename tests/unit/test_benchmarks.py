"""The benchmark runner: fair order, separate processes, and no table without agreement."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.__main__ import choose_engines, main
from benchmarks.machine import machine_line
from benchmarks.meter import Meter, Step, resident_bytes
from benchmarks.report import ChecksumsDisagree, Row, format_bytes, format_seconds, quantile, render, summarize
from benchmarks.runner import EngineFailed, Run, interleave, run_engine, run_rounds
from benchmarks.workload import engine_names, load_workload, workload_names
from benchmarks.workloads.storage import COLUMNS, FEATURES, checksum, make_rows

RIVALS = ["duckdb", "sqlite", "parquet", "arrays"]


def run(engine: str, seconds: list[float], *, rows: int = 0, checksum: str = "same") -> Run:
    return Run(engine, "1.0", 1, {"write": Step(rows, seconds, 0)}, {"file": 1000}, {"write": checksum})


def test_no_table_is_shown_when_checksums_disagree():
    runs = [run("mlstore", [1.0]), run("duckdb", [2.0], checksum="other"), run("duckdb", [2.0])]

    with pytest.raises(ChecksumsDisagree, match=r"write: .*duckdb, mlstore: same; duckdb: other"):
        summarize(runs)


def test_the_command_prints_no_table_when_checksums_disagree(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.__main__.run_rounds", lambda *_, **__: [run("duckdb", [1.0]), run("sqlite", [1.0], checksum="other")])

    code = main(["storage", "--engine", "duckdb", "sqlite"])

    captured = capsys.readouterr()
    assert code == 1
    assert captured.out == ""
    assert "disagree" in captured.err


def test_every_round_begins_with_another_engine():
    order = list(interleave(["a", "b", "c"], 4))

    assert "".join(engine for _, engine in order) == "abcbcacababc"
    assert [number for number, _ in order] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_a_step_shows_its_median_and_its_cost_per_row():
    runs = [run("mlstore", [value], rows=100) for value in (1.0, 5.0, 2.0)]

    rows = summarize(runs)

    assert rows == [
        Row("write", "seconds", {"mlstore": 2.0}),
        Row("write, per row", "seconds", {"mlstore": 0.02}),
        Row("file", "bytes", {"mlstore": 1000}),
    ]


def test_a_step_of_many_samples_shows_its_quantiles_over_all_rounds():
    runs = [run("mlstore", [float(value) for value in range(1, 51)]), run("mlstore", [float(value) for value in range(51, 101)])]

    rows = summarize(runs)

    assert [(row.label, row.values["mlstore"]) for row in rows[:2]] == [("write, p50", 50.0), ("write, p99", 99.0)]


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 1), (0.5, 2), (0.75, 3), (0.99, 4), (1.0, 4)])
def test_a_quantile_is_one_of_the_values(fraction, expected):
    assert quantile([4, 1, 3, 2], fraction) == expected


def test_the_table_compares_with_the_first_engine_and_leaves_blanks():
    rows = [Row("write", "seconds", {"mlstore": 0.5, "duckdb": 1.0}), Row("file", "bytes", {"duckdb": 2_500_000})]

    table = render(rows, ["mlstore", "duckdb"])

    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert cells[0] == ["", "mlstore", "duckdb"]
    assert cells[2:] == [["write", "500 ms", "1 s (2x)"], ["file", "", "2.5 MB"]]
    assert len({len(line) for line in table.splitlines()}) == 1


@pytest.mark.parametrize(("seconds", "text"), [(2.5, "2.5 s"), (0.0123, "12.3 ms"), (4.56e-6, "4.56 us"), (7.8e-8, "78 ns")])
def test_seconds_are_shown_in_the_unit_that_fits(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(12, "12 B"), (1500, "1.5 kB"), (2.5e6, "2.5 MB"), (9.6e9, "9.6 GB")])
def test_sizes_are_shown_in_the_unit_that_fits(size, text):
    assert format_bytes(size) == text


@pytest.mark.skipif(resident_bytes("VmRSS") == 0, reason="only Linux tells a process its peak memory")
def test_peak_memory_is_seen_even_when_it_is_given_back():
    meter = Meter()

    with meter.measure("step", rows=3):
        np.ones(8_000_000).sum()

    step = meter.steps["step"]
    assert step.peak_bytes > 50_000_000
    assert (step.rows, len(step.seconds)) == (3, 1)


def test_the_checksum_knows_nothing_of_order_but_everything_of_values():
    table = make_rows(500, seed=1)
    shuffled = table.take(pa.array(np.random.default_rng(2).permutation(500)))
    mispaired = table.set_column(COLUMNS.index("f3"), "f3", shuffled["f3"])

    assert checksum(shuffled) == checksum(table)
    assert checksum(mispaired) != checksum(table)
    assert checksum(table.slice(1)) != checksum(table)


def test_rows_arrive_in_random_order_with_exact_values():
    table = make_rows(1000, seed=1)

    entities = table["entity"].to_numpy()
    assert sorted(np.bincount(entities)) == [100] * 10
    assert not (np.diff(entities) >= 0).all()
    for name in FEATURES:
        scaled = table[name].to_numpy() * 256
        assert (scaled == np.round(scaled)).all()


@pytest.mark.parametrize("workload", workload_names())
def test_a_workload_names_engines_that_exist(workload):
    loaded = load_workload(workload)

    assert loaded.engines[0] == "mlstore"
    assert {*loaded.engines, *loaded.max_rows} <= set(engine_names())


def test_an_engine_that_is_too_slow_is_left_out_with_a_word(capsys):
    chosen = choose_engines(load_workload("storage"), ["mlstore", "sqlite"], rows=1_000_001)

    assert chosen == ["mlstore"]
    assert "sqlite is left out above 1,000,000 rows" in capsys.readouterr().err


def test_an_engine_that_cannot_do_the_workload_is_refused(capsys):
    code = main(["opening", "--engine", "arrays"])

    assert code == 2
    assert "arrays cannot do this workload" in capsys.readouterr().err


@pytest.mark.slow
def test_each_engine_runs_in_a_process_and_a_folder_of_its_own(tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    load_workload("storage").prepare(inputs, rows=500)
    seen = []

    for engine in ("arrays", "arrays"):
        seen.append(run_engine("storage", engine, inputs, tmp_path))

    assert len({seen_run.process for seen_run in seen} | {os.getpid()}) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inputs"]


@pytest.mark.slow
def test_the_rivals_agree_and_the_table_is_printed(tmp_path, capsys):
    code = main(["storage", "--engine", *RIVALS, "--rows", "2000", "--repeat", "1", "--scratch", str(tmp_path), "--json"])

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [seen_run["engine"] for seen_run in told["runs"]] == RIVALS
    assert {row["label"] for row in told["table"]} >= {"bulk write", "scan, first", "open, p99", "small write, 10 rows, p50", "file"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("workload", ["opening", "storage"])
def test_mlstore_gives_the_same_answers_as_duckdb(workload, tmp_path):
    runs = run_rounds(workload, ["mlstore", "duckdb"], rows=2000, repeat=1, scratch=tmp_path)

    rows = summarize(runs)

    assert all(row.values["mlstore"] > 0 for row in rows)


def test_the_line_on_the_machine_tells_how_busy_it_is(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (9.0, 3.25, 1.0), raising=False)

    assert ", load 3.2; " in machine_line({"mlstore": "1"})


def test_an_engine_that_fails_is_named(tmp_path, capfd):
    with pytest.raises(EngineFailed, match="arrays failed in opening"):
        run_engine("opening", "arrays", Path("nowhere"), tmp_path)

    assert "keeps nothing" in capfd.readouterr().err

"""The online workload: every engine is asked the same and must answer as plain Python would, whatever it was written meanwhile."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from typing import Any

import pyarrow as pa
import pytest

from benchmarks import redis_server
from benchmarks.__main__ import main
from benchmarks.beside import Readers
from benchmarks.features import KEY, NAMES, TIME, UNKNOWN, WITH_NULLS, Features, checksum_dicts, checksum_table, load_features
from benchmarks.meter import Meter, Step
from benchmarks.redis_server import RedisServer
from benchmarks.report import summarize
from benchmarks.runner import Run
from benchmarks.workload import NotHere, load_engine
from benchmarks.workloads import online

FEATURES = Features(300, appends=450)


def present(name: str, folder: Any) -> Any:
    """The engine, if all that it needs is installed here."""
    try:
        return load_engine(name, folder)
    except NotHere as error:
        pytest.skip(str(error))


def load(engine: Any, features: Features) -> None:
    try:
        engine.open_online(features, "full")
    except NotHere as error:
        pytest.skip(str(error))
    online.measure_load(engine, features, Meter())


def newest(*tables: pa.Table) -> dict[int, dict[str, Any]]:
    """The last row of each key."""
    return {row[KEY]: row for table in tables for row in table.to_pylist()}


@pytest.fixture(params=["mlstore", "lmdb_msgpack", "sqlite_msgpack", "rocksdict", "redis", "redis_strings"])
def engine(request, tmp_path):
    engine = present(request.param, tmp_path)
    yield engine
    engine.close()
    if isinstance(engine, online.Serving):
        engine.stop()


@pytest.mark.parametrize("values", ["named", "positional"])
def test_every_engine_answers_as_plain_python(engine, values):
    features = Features(300, values)
    load(engine, features)
    newer = features.updates(100, day=1)
    rows = newer.to_pylist()

    engine.write_row(rows[0])
    engine.write_many(newer.slice(1, 40))
    engine.append_rows(rows[41:])

    known, asked = newest(features.table(), newer), features.asked(500, seed=1)
    expected = [known.get(key, UNKNOWN) for key in asked]
    assert checksum_dicts([engine.one(key) for key in asked]) == checksum_dicts(expected)
    assert checksum_table(engine.many(asked)) == checksum_dicts(expected)
    assert engine.size_bytes() > 0


def test_what_was_loaded_is_there_when_opened_again(engine):
    load(engine, FEATURES)

    engine.close()
    engine.open_online(FEATURES, "normal")

    assert checksum_table(engine.many(FEATURES.table()[KEY].to_pylist())) == checksum_table(FEATURES.table())


@pytest.mark.slow
def test_every_engine_goes_all_the_way_and_counts_its_readers(engine, monkeypatch):
    for name, value in {"SINGLES": 50, "BATCHES": {1000: 3}, "SINGLE_WRITES": 3, "BESIDE_WRITES": 3}.items():
        monkeypatch.setattr(online, name, value)
    meter = Meter()

    load(engine, FEATURES)
    engine.close()
    online.measure_online(engine, FEATURES, meter)
    engine.open_online(FEATURES, "full")

    assert {step for step in meter.steps if not meter.steps[step].seconds} == set()
    assert set(meter.steps) >= {online.LOAD, online.VALUES_ALONE, "one row written, normal", online.APPENDED, online.READ_BESIDE}
    assert set(meter.checksums) >= {"one key", "1000 keys", "one row written, full", online.APPENDED, online.WRITTEN_BESIDE}


def test_a_reading_process_that_cannot_start_is_told(tmp_path, capfd):
    with pytest.raises(RuntimeError, match="did not start"), Readers(1, "lmdb_msgpack", tmp_path, FEATURES):
        pass

    assert "No such file" in capfd.readouterr().err


def test_equal_features_draw_equal_rows_and_later_days_newer_ones():
    table, newer, newest_rows = FEATURES.table(), FEATURES.updates(300, day=1), FEATURES.updates(300, day=2)

    assert table.equals(Features(300).table())
    assert sorted(table[KEY].to_pylist()) == sorted(newer[KEY].to_pylist()) == list(range(300))
    assert max(table[TIME].to_pylist()) < min(newer[TIME].to_pylist())
    assert max(newer[TIME].to_pylist()) < min(newest_rows[TIME].to_pylist())
    assert [name for name in NAMES if table[name].null_count] == list(WITH_NULLS)


def test_some_of_the_keys_asked_for_are_unknown():
    asked = FEATURES.asked(10_000, seed=1)

    unknown = sum(key >= FEATURES.keys for key in asked)
    assert 50 < unknown < 200


def test_the_checksum_knows_the_order_and_every_feature():
    table = FEATURES.table()
    swapped = table.set_column(table.column_names.index("n4"), "n4", table["n3"])

    assert checksum_table(table) == checksum_dicts(table.to_pylist())
    assert len({checksum_table(other) for other in (table, swapped, table.slice(1), table.take(list(range(299, -1, -1))))}) == 4


def test_a_machine_without_a_redis_server_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)

    with pytest.raises(NotHere, match="apt-get install redis-server"):
        RedisServer(tmp_path).start()


def test_a_redis_server_that_ends_at_once_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/false")

    with pytest.raises(RuntimeError, match="redis-server did not start"):
        RedisServer(tmp_path).start()


def test_a_redis_server_ends_with_the_process_that_started_it(tmp_path):
    if shutil.which("redis-server") is None:
        pytest.skip(redis_server.INSTALL)
    server = RedisServer(tmp_path)
    server.start()
    process = server._process

    server.stop()

    assert isinstance(process, subprocess.Popen)
    assert process.poll() is not None
    assert not server.is_running


def test_a_step_is_repeated_until_it_is_enough(monkeypatch):
    monkeypatch.setattr(online, "ENOUGH_SECONDS", 0.0)
    monkeypatch.setattr(online, "WARMING_SECONDS", 0.0)
    seen: list[int] = []

    seconds = online.timed(seen.append, [1, 2, 3])

    assert (len(seconds), seen) == (1, [1, 1])


def test_only_engines_with_many_samples_show_the_one_in_a_thousand():
    samples = {"mlstore": [float(value) for value in range(1, 10_001)], "feast_sqlite": [1.0] * 30}
    runs = [Run(engine, "1", 1, {"one key": Step(0, seconds)}, {}, {}) for engine, seconds in samples.items()]

    rows = {row.label: row.values for row in summarize(runs)}

    assert rows["one key, p99"] == {"mlstore": 9900.0, "feast_sqlite": 1.0}
    assert rows["one key, p99.9"] == {"mlstore": 9990.0}


def test_remarks_tell_the_floor_and_rates():
    table = {
        "bulk load, per row": {"mlstore": 1e-5, "redis": 1e-4},
        "1000 keys to a table, p50": {"mlstore": 3.0, "lmdb_msgpack": 8.0},
        "1000 keys, fetched and not decoded, p50": {"lmdb_msgpack": 2.0},
        "one key, read by two beside a writer": {"mlstore": 1e-5},
    }

    assert online.WORKLOAD.remarks(table) == [
        "mlstore: 1000 keys to a table take 1.50x what raw py-lmdb takes to fetch them",
        "rows/s loaded: mlstore 100,000, redis 10,000",
        "reads/s by two processes beside a writer: mlstore 100,000",
    ]


def test_options_reach_the_features(tmp_path):
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5)
    online.WORKLOAD.add_options(parser)

    asked = parser.parse_args(["--keys", "1_000", "--values", "positional", "--appends", "70"])
    online.WORKLOAD.configured(asked).prepare(tmp_path, rows=asked.rows)

    assert load_features(tmp_path) == Features(1000, "positional", 70)


def test_an_engine_that_is_no_online_store_is_refused(tmp_path):
    with pytest.raises(TypeError, match="arrays is no online store"):
        online.WORKLOAD.run(load_engine("arrays", tmp_path), tmp_path, Meter())


@pytest.mark.slow
def test_the_command_prints_its_table_and_leaves_nothing(tmp_path, capsys):
    rivals = ["sqlite_msgpack", "lmdb_msgpack"]

    code = main(["online", "--engine", *rivals, "--keys", "10", "--repeat", "1", "--scratch", str(tmp_path), "--json"])

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [run["engine"] for run in told["runs"]] == rivals
    assert {row["label"] for row in told["table"]} >= {"bulk load", "one key to a dict, p99.9", "1000 keys to a table, p50", "size per row"}
    assert list(tmp_path.iterdir()) == []

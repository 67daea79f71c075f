"""mlstore salvage, mlstore dump: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mlstore as ml
from tests.support import bank


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose older commit has moved on from beside the counters, and whose newer one has not."""
    monkeypatch.setattr("mlstore.engine.limits.RECENT_COMMITS", 1)
    path = tmp_path / "bank.mls"
    bank.create(path)
    return path


def test_salvage_of_a_sound_file_loses_nothing(path: Path, run):
    done = run("salvage", path, path.with_name("out.mls"), "--json")

    told = json.loads(done.stdout)
    assert (done.exit_code, told["lost"], told["problems"]) == (0, [], [])
    assert told["rows"] == {"bank": bank.ACCOUNTS}
    with ml.open(path.with_name("out.mls")) as store:
        assert bank.audit(store) == [0]


def test_salvage_tells_what_was_lost_and_fails(path: Path, run):
    data = bytearray(path.read_bytes())
    place = data.index(b"balance ")
    data[place - 60 : place] = bytes(60)
    path.write_bytes(data)

    done = run("salvage", path, path.with_name("out.mls"))

    assert done.exit_code == 1
    assert "lost: " in done.stderr


def test_dump_prints_one_record_a_line(path: Path, run):
    moved_on, heads = (run("dump", path, space, "--json").stdout.splitlines() for space in ("commits", "heads"))

    records = [json.loads(line) for line in (*moved_on, *heads)]
    commits = [record["value"] for record in records if "seq" in record["key"]]
    assert [commit["changes"][0][0] for commit in commits] == ["apply create", "append"]
    assert [record["value"]["rows"] for record in records if "table" in record["key"]] == [bank.ACCOUNTS]
    assert {record["key"]["name"] for record in records if "name" in record["key"]} >= {"seq", "time", "table"}
    assert all(record["is_readable"] for record in records)


def test_dump_reads_every_kind_of_record(path: Path, run):
    done = run("dump", path)

    kinds = {line.split(" ")[0] for line in done.stdout.splitlines()}
    assert kinds >= {"meta", "catalog", "commits", "commit_ids", "heads", "refs", "lines", "tail", "online", "feed"}
    assert "damaged" not in done.stdout


def test_dump_of_an_unknown_keyspace_names_those_there_are(path: Path, run):
    done = run("dump", path, "rows")

    assert done.exit_code == 2
    assert "segments" in done.stderr

"""Every command on a small store: what it answers to a person, to a program, and into a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

import mlstore as ml

Run = Callable[..., Result]
Answer = Callable[..., Any]


def labels_file(folder: Path) -> Path:
    path = folder / "labels.csv"
    rows = ["1,JFK,1,2013-01-01 02:30:00", "2,LGA,2,2013-01-01T00:50:00Z", "3,SEA,9,2013-01-01T00:50:00Z", "4,,1,2013-01-01T00:50:00Z"]
    path.write_text("\n".join(["id,origin,number,event_timestamp", *rows]) + "\n")
    return path


def test_init_creates_a_store_once(answer: Answer, tmp_path: Path) -> None:
    path = tmp_path / "new.mls"

    first, second = answer("init", path), answer("init", path)

    assert (first["created"], second["created"]) == (True, False)
    assert answer("info", path)["tables"] == []


def test_a_dry_run_tells_the_plan_and_writes_nothing(answer: Answer, tmp_path: Path, definitions: Path) -> None:
    path = tmp_path / "new.mls"
    answer("init", path)

    plan = answer("apply", path, definitions, "--dry-run")

    assert {(change["action"], change["name"]) for change in plan["changes"]} == {
        ("create", name) for name in ("airport", "route", "weather", "delays", "flights", "model")
    }
    assert answer("catalog", path)["entries"] == []


def test_applying_twice_changes_nothing_and_says_so(run: Run, flights: Path, definitions: Path) -> None:
    result = run("apply", flights, definitions)

    assert result.exit_code == 0
    assert "nothing to change" in result.stdout


def test_a_changed_definition_evolves_and_shows_how(answer: Answer, flights: Path, definitions: Path) -> None:
    definitions.write_text(definitions.read_text().replace('"wind": ml.int64', '"wind": ml.int64, "rain": ml.float64'))

    plan = answer("apply", flights, definitions)

    assert [(change["action"], change["name"]) for change in plan["changes"] if change["action"] != "unchanged"] == [("evolve", "weather")]
    assert answer("catalog", flights, "--tag", "tier")["entries"][0]["columns"] == {"temp": "float64", "wind": "int64", "rain": "float64"}


def test_the_catalogue_is_searched_by_word_tag_owner_and_kind(answer: Answer, flights: Path) -> None:
    def names(*words: str) -> set[str]:
        return {entry["name"] for entry in answer("catalog", flights, *words)["entries"]}

    assert names() == {"airport", "route", "weather", "delays", "flights", "model"}
    assert names("hourly") == {"weather"}
    assert names("--tag", "tier=gold") == {"weather"}
    assert names("--owner", "ops") == {"airport", "weather"}
    assert names("--kind", "table") == {"flights"}


def test_the_catalogue_is_a_table_for_people(run: Run, flights: Path) -> None:
    result = run("catalog", flights)

    assert result.exit_code == 0
    assert "hourly weather" in result.stdout
    assert "tier=gold" in result.stdout


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz", "arrow", "jsonl"])
def test_what_is_read_into_a_file_can_be_written_back(
    answer: Answer, flights: Path, tmp_path: Path, definitions: Path, suffix: str
) -> None:
    file, copy = tmp_path / f"weather.{suffix}", tmp_path / "copy.mls"
    answer("init", copy)
    answer("apply", copy, definitions)

    told = answer("read", flights, "weather", "-o", file)
    written = answer("write", copy, "weather", file)

    assert told["rows"] == written["rows"] == 4
    with ml.open(flights, read_only=True) as left, ml.open(copy, read_only=True) as right:
        assert left.read("weather").table().equals(right.read("weather").table())


def test_parquet_is_written_as_a_stream_of_any_length(answer: Answer, flights: Path, tmp_path: Path) -> None:
    rows = 150_000
    table = pa.table(
        {"id": range(rows), "late": [row % 2 == 0 for row in range(rows)], "at": pa.array(range(rows), pa.timestamp("us", "UTC"))}
    )
    pq.write_table(table, tmp_path / "flights.parquet")

    written = answer("write", flights, "flights", tmp_path / "flights.parquet")

    assert written["rows"] == rows
    assert answer("read", flights, "flights", "--columns", "id,at", "--where", "id >= 149998 and late = true")["rows"] == [
        {"id": 149998, "at": "1970-01-01T00:00:00.149998Z"}
    ]


def test_upsert_replaces_the_rows_of_a_key(answer: Answer, flights: Path) -> None:
    row = '{"id": 7, "at": "2013-01-01T00:00:00Z", "late": %s}\n'
    answer("write", flights, "flights", "-", stdin=row % "false")

    answer("write", flights, "flights", "-", "--mode", "upsert", stdin=row % "true")

    assert [found["late"] for found in answer("read", flights, "flights")["rows"]] == [True]


def test_a_write_carries_its_message_and_author_into_the_log(answer: Answer, flights: Path) -> None:
    row = '{"id": 7, "at": "2013-01-01T00:00:00Z", "late": true}\n'

    written = answer("write", flights, "flights", "-", "-m", "late night", "--author", "ada", stdin=row)

    newest = answer("log", flights, "-n", "1")["commits"][0]
    assert (newest["commit"], newest["message"], newest["author"]) == (written["commit"], "late night", "ada")


def test_online_answers_one_key_as_one_object(answer: Answer, flights: Path) -> None:
    assert answer("online", flights, "weather:wind", "--key", "origin=JFK") == {"origin": "JFK", "wind": 30}


def test_online_answers_many_keys_in_the_order_asked(answer: Answer, flights: Path) -> None:
    found = answer("online", flights, "weather:temp", "--key", "origin=LGA", "--key", "origin=SEA", "--key", "origin=JFK", "--status")

    assert [row["origin"] for row in found["rows"]] == ["LGA", "SEA", "JFK"]
    assert [row["weather__status"] for row in found["rows"]] == ["PRESENT", "NOT_FOUND", "NULL_VALUE"]


def test_online_takes_a_service_composite_keys_and_a_file_of_keys(answer: Answer, flights: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.csv"
    keys.write_text("origin,number\nJFK,1\nLGA,2\n")

    one = answer("online", flights, "model", "--key", "origin=JFK", "--key", "number=1")
    many = answer("online", flights, "model", "--keys", keys)

    assert one == {"origin": "JFK", "number": 1, "temp": None, "delay": 4.0}
    assert [(row["origin"], row["temp"], row["delay"]) for row in many["rows"]] == [("JFK", None, 4.0), ("LGA", 7.5, None)]


def test_online_shows_one_key_to_a_person_line_by_line(run: Run, flights: Path) -> None:
    result = run("online", flights, "weather:wind", "--key", "origin=JFK")

    assert [line.split() for line in result.stdout.splitlines()] == [["origin", "JFK"], ["wind", "30"]]


def test_a_training_set_has_one_row_per_label_in_label_order(answer: Answer, flights: Path, tmp_path: Path) -> None:
    out = tmp_path / "train.parquet"

    told = answer("training-set", flights, labels_file(tmp_path), "weather:wind", "delays", "-o", out)

    table = pq.read_table(out)
    assert table.select(["id", "wind", "delay"]).to_pylist() == [
        {"id": 1, "wind": 30, "delay": 4.0},
        {"id": 2, "wind": 5, "delay": None},
        {"id": 3, "wind": None, "delay": None},
        {"id": 4, "wind": None, "delay": None},
    ]
    assert told["fingerprint"] == table.schema.metadata[b"mlstore.fingerprint"].decode()


def test_many_labels_stream_to_the_same_rows(answer: Answer, flights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, streamed = tmp_path / "held.parquet", tmp_path / "streamed.parquet"
    answer("training-set", flights, labels_file(tmp_path), "weather", "-o", held)
    monkeypatch.setattr("mlstore.cli.asking.HELD_LABELS", 1)

    told = answer("training-set", flights, labels_file(tmp_path), "weather", "-o", streamed)

    assert told["rows"] == 4
    assert "fingerprint" not in told
    assert pq.read_table(streamed).equals(pq.read_table(held))


def test_references_with_options_work_from_the_command_line(answer: Answer, flights: Path) -> None:
    label = '{"dest": "JFK", "event_timestamp": "2013-01-01T02:30:00Z"}\n'

    found = answer(
        "training-set", flights, "-", "weather:wind?key.origin=dest&prefix=dest_", "weather:wind?key.origin=dest&offset=2h", stdin=label
    )

    assert [(row["dest_wind"], row["wind"]) for row in found["rows"]] == [(30, 10)]


def test_a_ttl_of_the_call_and_leaks_are_told(answer: Answer, run: Run, flights: Path) -> None:
    label = '{"origin": "JFK", "event_timestamp": "2013-01-01T02:30:00Z"}\n'

    fresh = answer("training-set", flights, "-", "weather:wind", "--ttl", "10m", stdin=label)
    told = run("training-set", flights, "-", "weather:wind", "--leakage", "report", stdin=label)
    refused = run("training-set", flights, "-", "weather:wind", "--leakage", "refuse", stdin=label)

    assert fresh["rows"][0]["wind"] is None
    assert "note: label rows received values that were not yet known at their time: 1 from weather" in told.stderr
    assert refused.exit_code == 2
    assert "1 from weather" in refused.stderr


def test_known_at_label_uses_only_what_was_known_then(answer: Answer, flights: Path, tmp_path: Path) -> None:
    found = answer("training-set", flights, labels_file(tmp_path), "weather:temp", "weather:wind", "--known-at", "label")

    # At 02:30 the hour of 02:00 was not known yet, and at 00:50 no hour was.
    assert [(row["temp"], row["wind"]) for row in found["rows"]] == [(2.5, None), (None, None), (None, None), (None, None)]


def test_read_projects_filters_and_bounds(answer: Answer, flights: Path) -> None:
    def winds(*words: str) -> list[Any]:
        return [row["wind"] for row in answer("read", flights, "weather", "--columns", "wind", *words)["rows"]]

    assert winds() == [10, None, 30, 5]
    assert winds("--where", "origin = 'JFK' and wind is not null") == [10, 30]
    assert winds("--where", "event_timestamp >= '2013-01-01T01:00Z'") == [None, 30]
    assert winds("--start", "2013-01-01T01:00", "--end", "2013-01-01T02:00") == [None]
    assert winds("--as-of", "2013-01-01T01:30Z") == [None, 5]
    assert winds("--limit", "2") == [10, None]
    assert winds("--limit", "0") == []


def test_read_shows_the_head_and_the_number_of_rows(run: Run, flights: Path) -> None:
    rows = "".join(f'{{"id": {row}, "at": "2013-01-01T00:00:00Z", "late": false}}\n' for row in range(30))
    run("write", flights, "flights", "-", stdin=rows)

    result = run("read", flights, "flights")

    assert "first 20 of 30 rows" in result.stdout
    assert len(result.stdout.splitlines()) == 22


def test_read_feeds_a_pipe(run: Run, flights: Path) -> None:
    result = run("read", flights, "delays", "--columns", "origin,delay", "-o", "-", "--format", "jsonl")

    assert [json.loads(line) for line in result.stdout.splitlines()] == [{"origin": "JFK", "delay": 4.0}, {"origin": "LGA", "delay": None}]


def test_a_snapshot_is_read_as_it_was(answer: Answer, flights: Path, tmp_path: Path) -> None:
    late = '{"origin": "JFK", "event_timestamp": "2013-01-01T05:00:00Z", "known": "2013-01-02T00:00:00Z", "temp": 9.0, "wind": 90}\n'
    answer("write", flights, "weather", "-", stdin=late)
    label = '{"origin": "JFK", "event_timestamp": "2013-01-03T00:00:00Z"}\n'
    commit = answer("log", flights)["commits"][1]

    for version in ("v1", commit["commit"], commit["time"]):
        assert answer("online", flights, "weather:wind", "--key", "origin=JFK", "--at", version)["wind"] == 30
        assert answer("training-set", flights, "-", "weather:wind", "--at", version, stdin=label)["rows"][0]["wind"] == 30
        assert len(answer("read", flights, "weather", "--at", version)["rows"]) == 4
    assert answer("online", flights, "weather:wind", "--key", "origin=JFK")["wind"] == 90


def test_the_log_is_newest_first(answer: Answer, run: Run, flights: Path) -> None:
    commits = answer("log", flights)["commits"]

    assert commits[0]["changes"] == [{"op": "append", "table": "delays", "rows": 2}]
    assert commits[0]["snapshots"] == ["v1"]
    assert [commit["seq"] for commit in commits] == sorted((commit["seq"] for commit in commits), reverse=True)
    assert "append delays 2" in run("log", flights, "-n", "1").stdout


def test_info_counts_rows_and_names_snapshots(answer: Answer, run: Run, flights: Path) -> None:
    facts = answer("info", flights)

    assert {table["name"]: table["rows"] for table in facts["tables"]} == {"weather": 4, "delays": 2, "flights": 0}
    assert "v1" in facts["snapshots"]
    assert "weather" in run("info", flights).stdout


def test_verify_calls_a_sound_store_sound(answer: Answer, run: Run, flights: Path) -> None:
    assert answer("verify", flights)["ok"] is True
    assert "sound" in run("verify", flights).stdout


def test_a_dry_run_of_optimize_lists_views_and_tables_and_changes_nothing(run: Run, answer: Answer, flights: Path) -> None:
    before = answer("info", flights)["tables"]

    told = answer("optimize", flights, "--tier", "cold", "--dry-run")
    shown = run("optimize", flights, "--dry-run").stdout

    assert {row["name"] for row in told["rows"]} == {"weather", "delays", "flights"}
    assert "rows_to_move" in shown
    assert answer("info", flights)["tables"] == before


def test_the_cold_tier_changes_no_answer(answer: Answer, flights: Path) -> None:
    before = answer("read", flights, "weather")

    answer("optimize", flights, "--tier", "cold")

    assert answer("read", flights, "weather") == before
    assert answer("verify", flights)["ok"] is True


def test_compacting_changes_no_answer_and_tells_the_sizes(answer: Answer, run: Run, flights: Path) -> None:
    answer("optimize", flights, "--tier", "cold")
    before, size = answer("read", flights, "weather"), flights.stat().st_size

    done = answer("compact", flights)

    assert (done["bytes_before"], done["bytes_after"]) == (size, flights.stat().st_size)
    assert answer("read", flights, "weather") == before
    assert "now" in run("compact", flights).stdout


def test_a_forgotten_key_is_gone_and_the_answer_counts_its_rows(answer: Answer, run: Run, flights: Path) -> None:
    before = answer("read", flights, "weather")["rows"]
    doomed = before[0]["origin"]

    done = answer("forget", flights, "airport", "--key", f"origin={doomed}", "--compact", "-m", "asked for")

    assert done["rows"]["weather"] == sum(row["origin"] == doomed for row in before)
    assert done["bytes_after"] == flights.stat().st_size
    assert answer("read", flights, "weather")["rows"] == [row for row in before if row["origin"] != doomed]
    assert answer("log", flights)["commits"][0]["message"] == "asked for"
    assert "0 rows" in run("forget", flights, "airport", "--key", f"origin={doomed}").stdout


def test_a_backup_is_a_store_of_its_own(answer: Answer, flights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mls"

    answer("backup", flights, copy)

    assert answer("read", copy, "weather") == answer("read", flights, "weather")


def test_online_gives_the_newest_rows_as_lists(answer: Answer, flights: Path) -> None:
    found = answer("online", flights, "weather", "--key", "origin=JFK", "--last-n", 2)

    assert found == {"origin": "JFK", "temp": [2.5, None], "wind": [None, 30]}


def test_freshness_tells_which_views_are_too_old_and_fails_if_one_is(run: Run, answer: Answer, flights: Path) -> None:
    words = ["freshness", flights, "--now", "2013-01-01T02:30Z", "--threshold"]

    fresh, stale = answer(*words, "3h"), run(*words, "1h")

    assert fresh["stale"] == []
    assert {view["name"]: view["age_seconds"] for view in fresh["views"]} == {"weather": 1800.0, "delays": 6300.0}
    assert stale.exit_code == 1
    assert "delays" in stale.stdout
    assert stale.stdout.count("STALE") == 1


def test_the_audit_is_shown_and_exported(answer: Answer, run: Run, flights: Path, tmp_path: Path) -> None:
    exported, parquet = tmp_path / "audit.jsonl", tmp_path / "audit.parquet"

    run("audit", flights, "-o", exported)
    run("audit", flights, "-o", parquet, "--since", "v1")

    entries = [json.loads(line) for line in exported.read_text().splitlines()]
    assert [entry["id"] for entry in entries] == [row["id"] for row in answer("audit", flights)["rows"]]
    assert [entry["subject"] for entry in entries][-1] == "v1"
    assert pq.read_table(parquet)["action"].to_pylist() == ["snapshot"]
    assert entries[-1]["id"] in run("audit", flights, "-n", "1").stdout


def test_a_seal_is_what_verify_trusts(answer: Answer, run: Run, flights: Path) -> None:
    sealed = answer("seal", flights, "v1", "-m", "reported")["id"]

    assert answer("verify", flights, "--trusted-head", sealed)["checks"]["seals"] == 3  # one each for two views and a table
    assert run("verify", flights, "--trusted-head", "0" * 32).exit_code == 1
    assert run("verify", flights, "--trusted-head", sealed[:8]).exit_code == 2

"""The commands about old versions: which commits touched a key, and letting versions go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

Run = Callable[..., Result]
Answer = Callable[..., Any]

HEAD = "origin,event_timestamp,known,temp,wind\n"


def replace(answer: Answer, store: Path, origin: str, temp: float) -> str:
    """Replace the first reading of an airport; the commit."""
    line = f"{origin},2013-01-01T00:00Z,2013-01-01T01:00Z,{temp},5\n"
    answer("write", store, "weather", "-", "--format", "csv", "--mode", "upsert", stdin=HEAD + line)
    return str(answer("log", store, "-n", "1")["commits"][0]["commit"])


def test_the_log_of_a_key_lists_the_commits_that_touched_it(run: Run, answer: Answer, flights: Path) -> None:
    first = replace(answer, flights, "LGA", 1.0)
    replace(answer, flights, "JFK", 2.0)

    told = answer("log", flights, "--table", "weather", "--key", "origin=LGA")["commits"]

    assert [commit["commit"] for commit in told] == [first, told[-1]["commit"]]
    assert (
        answer("log", flights, "--table", "delays", "-k", "origin=LGA", "-k", "number=2")["commits"][0]["changes"][0]["table"] == "delays"
    )
    for words, hint in ((["-k", "origin=LGA"], "--table NAME"), (["--table", "weather", "-k", "origin=A", "-k", "origin=B"], "once")):
        refused = run("log", flights, *words)
        assert refused.exit_code == 2
        assert hint in refused.stderr


def test_retain_tells_first_and_then_lets_versions_go(run: Run, answer: Answer, flights: Path) -> None:
    commits = [replace(answer, flights, "LGA", temp) for temp in (1.0, 2.0, 3.0)]

    told = answer("retain", flights, "--last", "1", "--dry-run")
    shown = run("retain", flights, "--last", "1", "--dry-run")
    done = answer("retain", flights, "--last", "1", "-m", "monthly")

    assert told["rows"] == done["rows"] == {"weather": 2}
    assert (told["dry_run"], done["dry_run"]) == (True, False)
    assert (told["versions_dropped"], done["versions_dropped"]) == (4, 4)
    assert "2 rows would leave" in shown.stdout
    refused = run("read", flights, "weather", "--at", commits[0])
    assert refused.exit_code == 2
    assert "let go by retain" in refused.stderr
    assert answer("read", flights, "weather", "--at", "v1")["rows"]
    assert [entry["message"] for entry in answer("audit", flights)["rows"] if entry["action"] == "retain"] == ["monthly"]


def test_retain_without_a_rule_or_with_a_wrong_span_is_refused(run: Run, flights: Path) -> None:
    for words, hint in (([], "last="), (["--within", "a while"], "duration")):
        refused = run("retain", flights, *words)

        assert refused.exit_code == 2
        assert hint in refused.stderr


def test_info_tells_what_versions_hold_and_alone_hold(run: Run, answer: Answer, flights: Path) -> None:
    replace(answer, flights, "LGA", 1.0)

    told = {each["version"]: each for each in answer("info", flights, "--versions")["versions"]}

    assert {name: (each["kind"], each["rows"]) for name, each in told.items()} == {"main": ("branch", 6), "v1": ("snapshot", 6)}
    assert all(0 < each["exclusive_bytes"] < each["logical_bytes"] for each in told.values())
    assert "exclusive" in run("info", flights, "--versions").stdout
    assert "exclusive" not in run("info", flights).stdout


def test_a_snapshot_is_deleted(run: Run, answer: Answer, flights: Path) -> None:
    answer("snapshot", flights, "v1", "--delete", "-m", "superseded")

    assert answer("info", flights)["snapshots"] == {}
    assert run("snapshot", flights, "v1", "--delete").exit_code == 2
    assert "was deleted" in run("read", flights, "weather", "--at", "v1").stderr

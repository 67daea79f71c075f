"""The commands about branches, diff, merge and rollback, as a person and as a program calls them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

Run = Callable[..., Result]
Answer = Callable[..., Any]

MORE = "origin,event_timestamp,known,temp,wind\n{}\n"


def write(answer: Answer, store: Path, line: str, *options: str) -> None:
    file = store.parent / "more.csv"
    file.write_text(MORE.format(line))
    answer("write", store, "weather", file, *options)


def test_a_branch_is_made_written_compared_and_merged(answer: Answer, flights: Path) -> None:
    made = answer("branch", flights, "try", "-m", "a new source")
    write(answer, flights, "LGA,2013-01-02T00:00Z,2013-01-02T01:00Z,8.5,5", "--on", "try")

    compared = answer("diff", flights, "main", "try", "--table", "weather")
    merged = answer("merge", flights, "try")

    assert [(each["branch"], each["message"]) for each in made["branches"]] == [("main", ""), ("try", "a new source")]
    assert compared["tables"] == {"weather": {"added": 1, "removed": 0, "changed": 0}}
    assert compared["rows"]["weather"]["added"][0]["temp"] == 8.5
    assert merged["commit"] == answer("log", flights, "--on", "try")["commits"][0]["commit"]
    assert answer("diff", flights, "main", "try")["tables"] == {}


def test_a_conflict_is_shown_and_exits_with_2(run: Run, answer: Answer, flights: Path) -> None:
    answer("branch", flights, "try")
    write(answer, flights, "LGA,2013-01-01T00:00Z,2013-01-01T01:00Z,1.0,5", "--on", "try", "--mode", "upsert")
    write(answer, flights, "LGA,2013-01-01T00:00Z,2013-01-01T01:00Z,2.0,5", "--mode", "upsert")

    refused = run("merge", flights, "try")

    assert refused.exit_code == 2
    assert "origin=LGA" in refused.stdout
    assert "1 conflict" in refused.stderr
    answer("merge", flights, "try", "--strategy", "theirs")
    assert answer("diff", flights, "main", "try")["tables"] == {}


def test_a_rollback_says_where_the_branch_was(run: Run, answer: Answer, flights: Path) -> None:
    answer("snapshot", flights, "v2")
    write(answer, flights, "LGA,2013-01-02T00:00Z,2013-01-02T01:00Z,8.5,5")
    head = answer("log", flights, "--table", "weather", "--since", "v2")["commits"]

    back = answer("rollback", flights, "v2")

    assert len(head) == 1
    assert back["was"] == head[0]["commit"]
    assert "1 added" not in run("diff", flights, "v2").stdout
    assert "nothing has changed" in run("diff", flights, "v2").stdout


def test_branches_are_listed_renamed_protected_and_deleted(run: Run, answer: Answer, flights: Path) -> None:
    answer("branch", flights, "try")
    answer("branch", flights, "try", "--protect")
    assert run("branch", flights, "try", "--delete").exit_code == 2
    answer("branch", flights, "try", "--unprotect")

    answer("branch", flights, "try", "--rename", "other")
    shown = run("branch", flights)
    deleted = run("branch", flights, "other", "--delete")

    assert "other" in shown.stdout
    assert "try" not in shown.stdout
    assert "deleted" in deleted.stdout
    assert [each["branch"] for each in answer("branch", flights)["branches"]] == ["main"]


def test_a_diff_for_people_shows_counts_and_rows(run: Run, answer: Answer, flights: Path) -> None:
    answer("snapshot", flights, "v2")
    write(answer, flights, "LGA,2013-01-01T00:00Z,2013-01-01T01:00Z,1.25,5", "--mode", "upsert")

    shown = run("diff", flights, "v2", "--table", "weather")

    assert "weather" in shown.stdout
    assert "temp__after" in shown.stdout
    assert "1.25" in shown.stdout


def test_a_branch_that_is_not_there_is_refused(run: Run, flights: Path) -> None:
    result = run("merge", flights, "nothing")

    assert result.exit_code == 2
    assert "no snapshot, branch or commit 'nothing'" in result.stderr

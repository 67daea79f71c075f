"""The commands about Parquet folders and Delta tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

Run = Callable[..., Result]
Answer = Callable[..., Any]


def test_a_store_goes_through_parquet_into_a_new_one(run: Run, answer: Answer, flights: Path, tmp_path: Path) -> None:
    written = answer("export", flights, tmp_path / "out", "--at", "v1")
    answer("init", tmp_path / "new.mls")

    assert answer("import", tmp_path / "new.mls", tmp_path / "out") == written
    assert written["weather"] > 0
    assert "rows of" in run("export", flights, tmp_path / "more", "--table", "weather").stdout


def test_the_versions_of_a_table_go_through_delta(run: Run, answer: Answer, flights: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    exported = answer("export", flights, lake, "--as", "delta", "--table", "weather")
    again = run("export", flights, lake, "--as", "delta", "--table", "weather")
    rows = answer("export", flights, tmp_path / "out", "--table", "weather")["weather"]

    loaded = answer("import", flights, lake, "--into", "weather")

    assert exported["versions"] >= 1
    assert "0 new versions of weather" in again.stdout
    assert loaded == {"weather": rows}


def test_what_does_not_go_together_is_refused(run: Run, answer: Answer, flights: Path, tmp_path: Path) -> None:
    answer("export", flights, tmp_path / "lake", "--as", "delta", "--table", "weather")
    answer("export", flights, tmp_path / "out")

    refused = [
        run("export", flights, tmp_path / "new", "--as", "delta"),
        run("import", flights, tmp_path / "lake"),
        run("import", flights, tmp_path / "out", "--all-versions"),
    ]

    assert [result.exit_code for result in refused] == [2, 2, 2]
    assert ["--table" in refused[0].stderr, "--into" in refused[1].stderr, "--all-versions" in refused[2].stderr] == [True] * 3

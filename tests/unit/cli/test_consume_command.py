"""The command `consume`, as a person and as a program calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Run = Callable[..., Result]
Answer = Callable[..., Any]

ROW = {"origin": "JFK", "number": 1, "event_timestamp": "2013-01-02T00:30:00Z", "delay": 4.0}


def test_a_file_is_consumed_once_and_then_from_where_it_had_come(answer: Answer, run: Run, flights: Path, tmp_path: Path) -> None:
    file = tmp_path / "more.jsonl"
    file.write_text(json.dumps(ROW) + "\n")
    first = answer("consume", flights, "delays", "--file", file)
    with file.open("a") as more:
        more.write(json.dumps({**ROW, "number": 5}) + "\n")

    second = answer("consume", flights, "delays", "--file", file)
    told = run("consume", flights, "delays", "--file", file)

    assert (first["rows"], second["rows"]) == (1, 2)
    assert second["position"]["offset"] == file.stat().st_size
    assert (told.exit_code, told.output.strip()) == (0, "2 rows in delays from cli so far, 0 refused")


def test_what_is_no_row_is_kept_aside(answer: Answer, run: Run, flights: Path, tmp_path: Path) -> None:
    file, aside = tmp_path / "more.jsonl", tmp_path / "aside.jsonl"
    file.write_text("nonsense\n" + json.dumps({**ROW, "delay": "much"}) + "\n" + json.dumps(ROW) + "\n")

    refused = run("consume", flights, "delays", "--file", file)
    state = answer("consume", flights, "delays", "--file", file, "--refused", aside)

    assert refused.exit_code == 2
    assert "no row" in refused.output
    assert (state["rows"], state["refused"]) == (1, 2)
    assert [json.loads(line)["row"] for line in aside.read_text().splitlines()] == ["nonsense\n", {**ROW, "delay": "much"}]


@pytest.mark.parametrize(
    "words", [[], ["--file", "a", "--topic", "t"], ["--kafka", "localhost:1"], ["--kafka", "localhost:1", "--topic", "t", "--config", "x"]]
)
def test_a_source_that_makes_no_sense_is_refused(run: Run, flights: Path, words: list[str]) -> None:
    result = run("consume", flights, "delays", *words)

    assert result.exit_code == 2

"""The command line over window views: applying, listing and tracing them, and refusing them where rows are wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Run = Callable[..., Result]
Answer = Callable[..., Any]

WINDOWS = """
import mlstore as ml

airport = ml.Entity("airport", keys={"origin": ml.string}, owner="ops")
late = ml.WindowView(
    "late", entity=airport, source="weather", aggregations=[ml.agg("temp", ["mean", "max"], windows=["6h", "7d"])], owner="ops"
)
model = ml.FeatureService("model", features=["weather:temp", "late:temp_mean_6h", "delays"])
"""


@pytest.fixture
def windows(tmp_path: Path) -> Path:
    path = tmp_path / "windows.py"
    path.write_text(WINDOWS)
    return path


def test_a_window_view_is_applied_from_a_file_and_listed_with_its_outputs(answer: Answer, run: Run, flights: Path, windows: Path) -> None:
    applied = answer("apply", flights, windows)

    assert {(change["kind"], change["action"]) for change in applied["changes"]} == {
        ("entity", "unchanged"),
        ("window", "create"),
        ("service", "new_version"),
    }
    (entry,) = answer("catalog", flights, "--kind", "window")["entries"]
    assert (entry["name"], entry["owner"]) == ("late", "ops")
    assert entry["columns"] == ["temp_mean_6h", "temp_mean_7d", "temp_max_6h", "temp_max_7d"]
    assert "temp_mean_6h" in run("catalog", flights, "late").stdout


def test_an_old_version_of_a_service_is_asked_for_by_its_number(answer: Answer, flights: Path, windows: Path) -> None:
    before = answer("online", flights, "model", "--key", "origin=JFK", "--key", "number=1")
    answer("apply", flights, windows)

    assert answer("online", flights, "model@1", "--key", "origin=JFK", "--key", "number=1") == before


def test_the_lineage_is_shown_to_people_and_programs(answer: Answer, run: Run, flights: Path, windows: Path) -> None:
    answer("apply", flights, windows)

    edges = answer("catalog", flights, "--lineage", "--kind", "window")["edges"]

    assert {
        "from": {"kind": "view", "name": "weather"},
        "to": {"kind": "window", "name": "late"},
        "by": "events",
        "names": ["temp"],
    } in edges
    assert {edge["to"]["name"] for edge in edges if edge["from"]["name"] == "late"} == {"model@2"}
    shown = run("catalog", flights, "--lineage").stdout
    assert "window late" in shown
    assert "service model@2" in shown


def test_nothing_found_has_no_lineage(answer: Answer, run: Run, flights: Path) -> None:
    assert answer("catalog", flights, "no such thing", "--lineage") == {"edges": []}
    assert "nothing found" in run("catalog", flights, "no such thing", "--lineage").stdout


@pytest.mark.parametrize("words", [("read", "late"), ("write", "late", "-")])
def test_rows_of_a_window_view_are_refused_with_its_source(
    answer: Answer, run: Run, flights: Path, windows: Path, words: tuple[str, ...]
) -> None:
    answer("apply", flights, windows)

    command, name, *rest = words
    refused = run(command, flights, name, *rest, *(["--format", "jsonl"] if rest else []), stdin='{"origin": "JFK"}\n')

    assert refused.exit_code == 2
    assert "'late' is a window view" in refused.stderr
    assert "'weather'" in refused.stderr

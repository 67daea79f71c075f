"""On-demand views on the command line: applied from a file, asked for by key and request, functions loaded where the user says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Run = Callable[..., Result]
Answer = Callable[..., Any]

COMPUTED = """
import mlstore as ml

heat = ml.OnDemandView(
    "heat", inputs=["weather:temp"], request={"hours": ml.float64}, features={"total": ml.col("temp") * ml.col("hours")}, owner="ops"
)

@ml.on_demand(inputs=[heat], request={"hours": ml.float64}, returns={"mean": ml.float64}, over="numpy")
def average(columns):
    '''Over the hours.'''
    return {"mean": columns["total"] / columns["hours"]}
"""


@pytest.fixture
def computed(flights: Path, answer: Answer) -> Path:
    """A file that defines on-demand views, applied to the store."""
    path = flights.parent / "computed.py"
    path.write_text(COMPUTED)
    answer("apply", flights, path)
    return path


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own, which has loaded no function."""
    monkeypatch.setattr("mlstore.schema.functions._loaded", {})
    monkeypatch.setattr("mlstore.schema.functions._latest", {})


def test_views_and_decorated_functions_of_a_file_are_applied(flights: Path, computed: Path, answer: Answer) -> None:
    entries = answer("catalog", flights, "--kind", "on_demand")["entries"]

    assert [(entry["name"], entry["description"]) for entry in entries] == [("average", "Over the hours."), ("heat", "")]
    assert entries[0]["function"]["name"] == "computed:average"
    assert entries[1]["columns"] == {"total": "(temp * hours)"}
    assert entries[1]["inputs"] == ["weather@1:temp"]
    assert answer("apply", flights, computed)["changes"][1]["action"] == "unchanged"


def test_expressions_are_answered_wherever_the_file_is(flights: Path, computed: Path, answer: Answer, elsewhere: None) -> None:
    one = answer("online", flights, "heat", "--key", "origin=LGA", "--key", "hours=2")

    assert one == {"origin": "LGA", "hours": 2.0, "total": 15.0}


def test_a_function_that_is_not_loaded_is_a_clear_error(flights: Path, computed: Path, run: Run, elsewhere: None) -> None:
    refused = run("online", flights, "average", "--key", "origin=LGA", "--key", "hours=2")

    assert refused.exit_code == 2
    assert "computed:average" in refused.stderr
    assert "--code FILE.py" in refused.stderr
    assert "Traceback" not in refused.output


def test_a_function_is_loaded_from_the_file_that_is_named(flights: Path, computed: Path, answer: Answer, elsewhere: None) -> None:
    labels = flights.parent / "labels.csv"
    labels.write_text("origin,event_timestamp,hours\nLGA,2013-01-02T00:00Z,4\n")

    one = answer("online", flights, "average", "--key", "origin=LGA", "--key", "hours=2", "--code", computed)
    many = answer("training-set", flights, labels, "average", "--code", computed)

    assert one["mean"] == 7.5
    assert many["rows"][0]["mean"] == 7.5


def test_a_file_whose_function_has_changed_is_told_as_such(flights: Path, computed: Path, run: Run, elsewhere: None) -> None:
    computed.write_text(COMPUTED.replace("/ columns", "* columns"))

    refused = run("online", flights, "average", "--key", "origin=LGA", "--key", "hours=2", "--code", computed)

    assert refused.exit_code == 2
    assert "has changed" in refused.stderr


def test_a_request_column_that_is_missing_is_named(flights: Path, computed: Path, run: Run) -> None:
    refused = run("online", flights, "heat", "--key", "origin=LGA")

    assert refused.exit_code == 2
    assert "--key hours=VALUE" in refused.stderr

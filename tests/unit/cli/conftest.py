"""A command line to call, and a small store made with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mlstore.cli import app

DEFINITIONS = """
import mlstore as ml

airport = ml.Entity("airport", keys={"origin": ml.string}, owner="ops")
weather = ml.FeatureView(
    "weather",
    entity=airport,
    schema={"temp": ml.float64, "wind": ml.int64},
    created_timestamp="known",
    description="hourly weather",
    owner="ops",
    tags={"tier": "gold"},
)
route = ml.Entity("route", keys={"origin": ml.string, "number": ml.int64})
delays = ml.FeatureView("delays", entity=route, schema={"delay": ml.float64}, description="minutes")
flights = ml.Table("flights", schema={"id": ml.int64, "late": ml.bool_}, key="id", timestamp="at")
model = ml.FeatureService("model", features=["weather:temp", "delays"])
"""

WEATHER = """origin,event_timestamp,known,temp,wind
JFK,2013-01-01T00:00Z,2013-01-01T01:00Z,1.5,10
JFK,2013-01-01T01:00Z,2013-01-01T02:00Z,2.5,
JFK,2013-01-01T02:00Z,2013-01-01T03:00Z,,30
LGA,2013-01-01T00:00Z,2013-01-01T01:00Z,7.5,5
"""

DELAYS = """{"origin": "JFK", "number": 1, "event_timestamp": "2013-01-01T00:30:00Z", "delay": 4.0}
{"origin": "LGA", "number": 2, "event_timestamp": "2013-01-01T00:45:00Z", "delay": null}
"""

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Calls `mlstore` with these words, as a shell would."""

    def call(*words: object, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words], input=stdin, prog_name="mlstore")

    return call


@pytest.fixture
def answer(run: Run) -> Callable[..., Any]:
    """Calls `mlstore ... --json`, insists that it went well, and gives the document."""

    def call(*words: object, stdin: str | bytes | None = None) -> Any:
        result = run(*words, "--json", stdin=stdin)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return call


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    path = tmp_path / "definitions.py"
    path.write_text(DEFINITIONS)
    return path


@pytest.fixture
def flights(tmp_path: Path, definitions: Path, answer: Callable[..., Any]) -> Path:
    """A store with weather, delays and a snapshot `v1` of them."""
    path = tmp_path / "flights.mls"
    answer("init", path)
    answer("apply", path, definitions)
    answer("write", path, "weather", "-", "--format", "csv", stdin=WEATHER)
    answer("write", path, "delays", "-", stdin=DELAYS)
    answer("snapshot", path, "v1", "-m", "first load")
    return path

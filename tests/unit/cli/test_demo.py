"""The demo tells a true story: it leaks, it does not, it travels in time, and it leaves nothing behind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

import mlstore as ml
from mlstore.cli.demo_data import Size, make_world

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def world() -> object:
    return make_world(Size.SMALL)


def test_the_world_is_the_same_every_time(world: Any) -> None:
    again = make_world(Size.SMALL)

    assert again.weather.equals(world.weather)
    assert again.legs.equals(world.legs)
    assert again.labels.equals(world.labels)


def test_in_that_world_nothing_is_known_before_it_is_true(world: Any) -> None:
    for table, known in ((world.weather, "available_at"), (world.legs, "landed_at")):
        assert (table[known].to_numpy() > table["event_timestamp"].to_numpy()).all()


def test_an_aircraft_flies_one_leg_after_the_other(world: Any) -> None:
    legs = world.legs.sort_by([("tail", "ascending"), ("event_timestamp", "ascending")])
    is_same = legs["tail"].to_numpy(zero_copy_only=False)[1:] == legs["tail"].to_numpy(zero_copy_only=False)[:-1]
    waits = legs["event_timestamp"].to_numpy()[1:] - legs["landed_at"].to_numpy()[:-1]

    assert (waits[is_same] > np.timedelta64(-30, "m")).all()


@pytest.mark.slow
def test_the_demo_tells_its_story_to_a_program(answer: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "demo.mls"

    told = answer("demo", "--path", path)

    steps = {step["step"]: step for step in told["steps"]}
    assert steps["leak"]["leaked_cells"] > 1000
    assert steps["model"]["promised"] > steps["model"]["honest"] > steps["model"]["kept"]
    assert steps["time travel"]["changed_now"] > 0
    assert steps["time travel"]["changed_at_snapshot"] == 0
    assert steps["online"]["rows"][2]["last_leg__status"] == "NOT_FOUND"
    with ml.open(path, read_only=True) as store:
        assert store.read("weather").num_rows == 8_640 + 24


@pytest.mark.slow
def test_the_demo_tells_its_story_to_a_person_and_leaves_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    result = run("demo")

    assert result.exit_code == 0, result.output
    assert "came from the future" in result.stdout
    assert "mlstore demo --path demo.mls" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_demo_overwrites_nothing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.mls"
    path.write_text("precious")

    result = run("demo", "--path", path)

    assert result.exit_code == 2
    assert path.read_text() == "precious"

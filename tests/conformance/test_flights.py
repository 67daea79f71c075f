"""The main job on real data: the flight example, run as a user would, with every checked cell of the expected sample."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "flight_delays.py"
DATA = ROOT.parent / "shared" / "data" / "nycflights13"
# 5,651 flights; 6 columns wx_*, 6 columns wxk_*, 5 columns tail_*
SAMPLE_CELLS = 5_651 * (6 + 6 + 5)

pytest.importorskip("sklearn")
if not DATA.exists():
    pytest.skip("the flight data is not here", allow_module_level=True)


def run_example(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, EXAMPLE, *map(str, arguments)], capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def done() -> subprocess.CompletedProcess[str]:
    return run_example(DATA, "--quick")


@pytest.mark.slow
def test_the_flight_example_gives_every_expected_answer(done: subprocess.CompletedProcess[str]) -> None:
    assert done.stderr == ""
    assert done.returncode == 0
    assert f"{SAMPLE_CELLS:,} of {SAMPLE_CELLS:,} cells agree, 0 differ" in done.stdout
    assert "online and as-of answers are equal" in done.stdout


@pytest.mark.slow
def test_what_leaks_promises_more_than_it_keeps(done: subprocess.CompletedProcess[str]) -> None:
    known, promised, kept = (float(score) for score in re.findall(r"features.* (0\.\d{4})$", done.stdout, re.MULTILINE))
    assert known > 0.5
    assert promised > max(known, kept)


def test_a_folder_without_the_data_is_a_wrong_call(tmp_path: Path) -> None:
    done = run_example(tmp_path)

    assert done.returncode == 2
    assert "weather.parquet" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_exists_is_not_written_to(tmp_path: Path) -> None:
    precious = tmp_path / "precious.mls"
    precious.write_bytes(b"do not touch")

    done = run_example(DATA, "--store", precious)

    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert precious.read_bytes() == b"do not touch"

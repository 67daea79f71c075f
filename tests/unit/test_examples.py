"""The examples that need no data of their own, run as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_fraud_example_trains_serves_and_proves(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")

    told = subprocess.run(
        [sys.executable, EXAMPLES / "card_fraud.py", "--cards", "100", "--store", tmp_path / "fraud.mls"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout

    alone, with_habits = (float(auc) for auc in re.findall(r"AUC (\d\.\d+)", told))
    assert with_habits > alone
    assert [int(count) for count in re.findall(r"(\d) in the last hour", told)] == [0, 1, 2, 3]
    assert "online and training are equal, bit for bit" in told

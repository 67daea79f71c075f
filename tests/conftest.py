"""What every test may ask for: a store in a file, a store in memory, and hypothesis profiles that suit a shared machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import mlstore as ml

# No deadline: a busy machine is not a bug. The same examples every time where a change is judged, new ones where it is made.
settings.register_profile(
    "suite", deadline=None, max_examples=50, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
# pytest --hypothesis-profile=thorough
settings.register_profile("thorough", parent=settings.get_profile("suite"), derandomize=False, max_examples=2000)
settings.load_profile("suite")


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Where `store` lives, for tests that open the file again."""
    return tmp_path / "test.mls"


@pytest.fixture
def soak_path() -> Iterator[Path]:
    """A folder for files that live for a moment, in memory where there is such a place."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="mlstore-soak-", dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def store(store_path: Path) -> Iterator[ml.Store]:
    """An empty store in a file of its own, closed after the test."""
    import mlstore as ml

    with ml.open(store_path) as opened:
        yield opened

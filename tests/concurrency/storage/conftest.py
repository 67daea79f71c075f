"""The floor of storage by itself: no bank, a file that does not exist yet."""

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the shared store lives."""
    return str(tmp_path / "store.mls")

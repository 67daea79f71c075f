"""A handle of an empty store file, for tests of storage."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlstore.storage.environment import Environment


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where `environment` lives."""
    return str(tmp_path / "store.mls")


@pytest.fixture
def environment(path: str) -> Iterator[Environment]:
    """A handle of an empty store, closed after the test."""
    with Environment.open(path, writer_version="test") as opened:
        yield opened

"""What most tests here begin with: a bank whose money must never be seen half moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import bank
from tests.support.crash_limits import LIMITS


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bank, in a process whose tails, segments and loads are small."""
    for name, size in LIMITS.items():
        monkeypatch.setattr(f"mlstore.engine.limits.{name}", size)
    path = tmp_path / "bank.mls"
    bank.create(path)
    return path

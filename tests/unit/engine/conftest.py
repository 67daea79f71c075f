"""Engines so small that they seal, merge and split after a handful of rows, and a clock that obeys."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import mlstore as ml
from tests.support.worlds import SECOND, shrink_limits


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_limits(monkeypatch)


@dataclass
class Clock:
    """The clock of a store, in microseconds; it stands still unless told to move."""

    now: int = 1000 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock(store: ml.Store) -> Clock:
    """What `store` takes for the time, from now on."""
    clock = Clock()
    store._session.clock_us = clock
    return clock

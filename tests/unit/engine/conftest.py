"""Engines so small that they seal, merge and split after a handful of rows, and a clock that obeys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

import mlstore as ml
from mlstore.engine.asking import reader as reader_module
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


@pytest.fixture
def glances(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each quick look asked for."""
    seen: list[int] = []
    original = reader_module.glance

    def glance(environment: Any, space: Any, keys: Any, *rest: Any) -> Any:
        seen.append(len(keys))
        return original(environment, space, keys, *rest)

    monkeypatch.setattr(reader_module, "glance", glance)
    return seen

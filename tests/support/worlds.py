"""Small worlds to test in: a view, the keys it is asked for, and the model that says what it must answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

import mlstore as ml
from tests.support.model import Key, ViewModel

SECOND = 1_000_000

FEATURES = {"amount": ml.int64, "ratio": ml.float64, "note": ml.string, "level": ml.int16}


@dataclass(frozen=True, slots=True)
class World:
    """One view over one entity, its rules, and every key a test asks for (the last one is never written)."""

    name: str
    keys: Mapping[str, ml.DType]
    universe: tuple[Key, ...]
    has_created: bool = False
    ttl_seconds: int | None = None
    strict: bool = False
    last_valid: bool = False
    delay_seconds: int | None = None

    @property
    def written_keys(self) -> tuple[Key, ...]:
        return self.universe[:-1] if len(self.universe) > 1 else self.universe

    @property
    def created_column(self) -> str:
        """The name of the created column in what the store returns."""
        return "known_time" if self.has_created else "created"

    def entity(self) -> ml.Entity | None:
        return ml.Entity(f"{self.name}_entity", keys=dict(self.keys)) if self.keys else None

    def view(self, **changes: object) -> ml.FeatureView:
        rules: dict[str, object] = {
            "entity": self.entity(),
            "schema": dict(FEATURES),
            "created_timestamp": "known_time" if self.has_created else None,
            "ttl": None if self.ttl_seconds is None else f"{self.ttl_seconds}s",
            "available_after": None if self.delay_seconds is None else f"{self.delay_seconds}s",
            "boundary": "strict" if self.strict else "inclusive",
            "nulls": "last_valid" if self.last_valid else "row",
        }
        return ml.FeatureView(self.name, **(rules | changes))

    def definitions(self) -> list[ml.Entity | ml.FeatureView]:
        entity = self.entity()
        return [self.view()] if entity is None else [entity, self.view()]

    def model(self) -> ViewModel:
        max_age = None if self.ttl_seconds is None else self.ttl_seconds * SECOND
        delay = None if self.delay_seconds is None else self.delay_seconds * SECOND
        return ViewModel(list(FEATURES), self.has_created, max_age, self.strict, self.last_valid, delay)


PLAIN = World("plain", {"card": ml.int64}, ((-3,), (7,), (2**40,), (8,)))
KNOWN = World("known", {"card": ml.int64}, ((1,), (2,), (99,)), has_created=True, ttl_seconds=10)
NAMED = World("named", {"city": ml.string}, (("",), ("a",), ("a\0",), ("é",), ("zz",)), has_created=True)
PAIRED = World("paired", {"carrier": ml.string, "stop": ml.int32}, (("a", 1), ("a1", 1), ("a", 11), ("b", -1), ("b", 0)), ttl_seconds=10)
COMMON = World("common", {}, ((),), has_created=True)
STRICT = World("strict", {"card": ml.int64}, ((1,), (2,), (99,)), strict=True, ttl_seconds=10)
REACHING = World("reaching", {"card": ml.int64}, ((1,), (2,), (99,)), has_created=True, ttl_seconds=10, last_valid=True)
DELAYED = World("delayed", {"card": ml.int64}, ((1,), (2,), (99,)), delay_seconds=3)

WORLDS = (PLAIN, KNOWN, NAMED, PAIRED, COMMON, STRICT, REACHING, DELAYED)


def shrink_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the engine seal, merge and split after a handful of rows, so that small tests walk every path."""
    sizes = {"TAIL_ROWS": 6, "DIRECT_ROWS": 5, "SEGMENT_ROWS": 8, "FANOUT": 2, "POINT_KEYS": 2, "LABEL_ROWS": 5}
    for name, size in sizes.items():
        monkeypatch.setattr(f"mlstore.engine.limits.{name}", size)
    monkeypatch.setattr("mlstore.format.segment.OWN_EXTENT_BYTES", 40)  # most buffers can be shared

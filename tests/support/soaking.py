"""Soaks: how long the tests that run on purpose may take, and the report of what they did, with their seeds.

`MLSTORE_SOAK_SCALE=0.1` does a tenth of it, `MLSTORE_SOAK_SECONDS=60` ends each test after a minute, `MLSTORE_SOAK_SEED=7` does the same
again, `MLSTORE_SOAK_REPORT=file` keeps the report.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


def scaled(count: int) -> int:
    """So many, or as many as the scale of this soak says; at least one."""
    return max(1, round(count * float(os.environ.get("MLSTORE_SOAK_SCALE", "1"))))


def soak_seed() -> int:
    """The seed asked for, or one of this moment."""
    return int(os.environ.get("MLSTORE_SOAK_SEED", time.time_ns() // 1_000_000 % (1 << 40)))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a soak may still go on."""

    end: float

    @classmethod
    def begin(cls, parts: int = 1) -> Patience:
        """As many seconds as this soak allows each test, or each of its parts; no end unless it says."""
        return cls(time.monotonic() + float(os.environ.get("MLSTORE_SOAK_SECONDS", "inf")) / parts)

    def lasts(self) -> bool:
        return time.monotonic() < self.end


def report(what: str, seed: int, counts: str, violations: Sequence[str]) -> None:
    """Tell what was done, on the screen and in the report."""
    line = f"{what}: {counts}, {len(violations)} violations, seed {seed}"
    print(f"\n{line}")
    place = os.environ.get("MLSTORE_SOAK_REPORT")
    if place:
        with Path(place).open("a", encoding="utf-8") as told:
            told.write("\n".join([line, *(f"  {violation}" for violation in violations)]) + "\n")

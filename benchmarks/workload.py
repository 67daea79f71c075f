"""What a workload and an engine are, and how they are found by name.

A workload knows no engine: it says in protocols of its own which methods it asks for, and skips the steps that an engine does not offer.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from benchmarks.meter import Meter


class Engine(Protocol):
    """One rival, bound to an empty folder that it may fill."""

    version: str


class Workload(Protocol):
    """A job that several engines can do."""

    @property
    def title(self) -> str:
        """One line for the head of the table."""

    @property
    def engines(self) -> tuple[str, ...]:
        """Who takes part unless asked otherwise; the first is what the others are compared with."""

    @property
    def max_rows(self) -> Mapping[str, int]:
        """Engines that are left out above so many rows, because a run would take too long."""

    def prepare(self, inputs: Path, *, rows: int) -> None:
        """Write the inputs into a folder, once for all engines and runs."""

    def run(self, engine: Engine, inputs: Path, meter: Meter) -> None:
        """Do the job once and tell the meter how long each step took and what came out."""


def workload_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent / "workloads")]))


def engine_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent / "engines")]))


def load_workload(name: str) -> Workload:
    return cast(Workload, import_module(f"benchmarks.workloads.{name}").WORKLOAD)


def load_engine(name: str, folder: Path) -> Engine:
    return cast(Engine, import_module(f"benchmarks.engines.{name}").Engine(folder))

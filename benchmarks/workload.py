"""What a workload and an engine are, and how they are found by name.

A workload knows no engine: it says in protocols of its own which methods it asks for, and skips the steps that an engine does not offer.
"""

from __future__ import annotations

import argparse
import pkgutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from benchmarks.meter import Meter

# The exit code of a worker whose engine is not installed.
NOT_HERE = 3


class NotHere(RuntimeError):
    """What the engine needs is not installed, or is too old; it is left out."""


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


@runtime_checkable
class Built(Workload, Protocol):
    """Has each engine build its files once, for all its runs."""

    def build(self, engine: Engine, inputs: Path) -> None:
        """Nothing is measured. The files may lie in the inputs' folder, under the engine's name."""


@runtime_checkable
class Optioned(Workload, Protocol):
    """Has options of its own on the command line."""

    def add_options(self, parser: argparse.ArgumentParser) -> None: ...

    def configured(self, options: argparse.Namespace) -> Workload:
        """The same workload, as the options have it. What a run must know of them, `prepare` writes down."""


@runtime_checkable
class Remarking(Workload, Protocol):
    """Has something to say on the finished table."""

    def remarks(self, table: Mapping[str, Mapping[str, float]]) -> list[str]:
        """table: the figure of each engine by label of the row."""


def workload_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent / "workloads")]))


def engine_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent / "engines")]))


def load_workload(name: str) -> Workload:
    return cast(Workload, import_module(f"benchmarks.workloads.{name}").WORKLOAD)


def load_engine(name: str, folder: Path) -> Engine:
    """Raises NotHere if a package that it needs is not installed."""
    try:
        return cast(Engine, import_module(f"benchmarks.engines.{name}").Engine(folder))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("benchmarks", "mlstore"):
            raise
        raise NotHere(f"the package {error.name} is not installed") from error

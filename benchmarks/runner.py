"""Runs engines in turn, each in a process and an empty folder of its own, so that none inherits another's memory or cache.

Interleaved: every round runs every engine, each round beginning with another one, so that a slow minute of the machine hurts all alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.meter import Step
from benchmarks.workload import load_workload


@dataclass(frozen=True, slots=True)
class Run:
    """What one engine showed in one round."""

    engine: str
    version: str
    process: int
    steps: dict[str, Step]
    sizes: dict[str, int]
    checksums: dict[str, str]


class EngineFailed(RuntimeError):
    """An engine's process ended in error; its own message stands above."""


def run_rounds(
    workload: str, engines: Sequence[str], *, rows: int, repeat: int, scratch: Path, progress: Callable[[str], None] = lambda _: None
) -> list[Run]:
    """Prepare the inputs once, then run `repeat` rounds; nothing is left in `scratch` afterwards."""
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="inputs-", dir=scratch) as inputs:
        progress(f"preparing {rows:,} rows")
        load_workload(workload).prepare(Path(inputs), rows=rows)
        runs = []
        for number, engine in interleave(engines, repeat):
            progress(f"round {number + 1} of {repeat}: {engine}")
            runs.append(run_engine(workload, engine, Path(inputs), scratch))
        return runs


def interleave(engines: Sequence[str], repeat: int) -> Iterator[tuple[int, str]]:
    """(round, engine) in the order of running."""
    for number in range(repeat):
        start = number % len(engines)
        yield from ((number, engine) for engine in (*engines[start:], *engines[:start]))


def run_engine(workload: str, engine: str, inputs: Path, scratch: Path) -> Run:
    with TemporaryDirectory(prefix=f"{engine}-", dir=scratch) as folder:
        command = [sys.executable, "-m", "benchmarks.worker", workload, engine, str(inputs.resolve()), str(Path(folder).resolve())]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=Path(__file__).parents[1])
    if done.returncode != 0:
        raise EngineFailed(f"{engine} failed in {workload} with exit code {done.returncode}")
    return parse_run(done.stdout.splitlines()[-1])


def parse_run(line: str) -> Run:
    seen = json.loads(line)
    return Run(**{**seen, "steps": {name: Step(**step) for name, step in seen["steps"].items()}})

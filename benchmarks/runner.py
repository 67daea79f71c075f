"""Runs engines in turn, each in a process and an empty folder of its own, so that none inherits another's memory or cache.

Interleaved: every round runs every engine, each round beginning with another one, so that a slow minute of the machine hurts all alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.meter import Step
from benchmarks.workload import NOT_HERE, Built, Workload, load_workload


@dataclass(frozen=True, slots=True)
class Run:
    """What one engine showed in one round."""

    engine: str
    version: str
    process: int
    steps: dict[str, Step]
    sizes: dict[str, int]
    checksums: dict[str, str]
    notes: list[str] = field(default_factory=list)


class EngineFailed(RuntimeError):
    """An engine's process ended in error; its own message stands above."""


class LeftOut(EngineFailed):
    """An engine is not installed or took too long: the others go on without it."""


def run_rounds(
    workload: str,
    engines: Sequence[str],
    *,
    rows: int,
    repeat: int,
    scratch: Path,
    configured: Workload | None = None,
    limit_seconds: float | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Run]:
    """Prepare the inputs once, then run `repeat` rounds; nothing is left in `scratch` afterwards.

    configured: the workload as the options have it. limit_seconds: an engine that takes longer, building or running, is left out.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    job = configured or load_workload(workload)
    with TemporaryDirectory(prefix="inputs-", dir=scratch) as inputs:
        progress(f"preparing {rows:,} rows")
        job.prepare(Path(inputs), rows=rows)
        present = _build_all(workload, engines, Path(inputs), scratch, limit_seconds, progress) if isinstance(job, Built) else [*engines]
        runs = []
        for number, engine in interleave(engines, repeat):
            if engine not in present:
                continue
            progress(f"round {number + 1} of {repeat}: {engine}")
            try:
                runs.append(run_engine(workload, engine, Path(inputs), scratch, limit_seconds=limit_seconds))
            except LeftOut as error:
                progress(str(error))
                present.remove(engine)
        return [run for run in runs if run.engine in present]


def _build_all(
    workload: str, engines: Sequence[str], inputs: Path, scratch: Path, limit_seconds: float | None, progress: Callable[[str], None]
) -> list[str]:
    """Let each engine build its files; those that could."""
    present = []
    for engine in engines:
        progress(f"{engine} builds its files")
        try:
            _work("build", workload, engine, inputs, scratch, limit_seconds)
            present.append(engine)
        except LeftOut as error:
            progress(str(error))
    return present


def interleave(engines: Sequence[str], repeat: int) -> Iterator[tuple[int, str]]:
    """(round, engine) in the order of running."""
    for number in range(repeat):
        start = number % len(engines)
        yield from ((number, engine) for engine in (*engines[start:], *engines[:start]))


def run_engine(workload: str, engine: str, inputs: Path, scratch: Path, *, limit_seconds: float | None = None) -> Run:
    return parse_run(_work("run", workload, engine, inputs, scratch, limit_seconds).splitlines()[-1])


def _work(verb: str, workload: str, engine: str, inputs: Path, scratch: Path, limit_seconds: float | None) -> str:
    """What the engine's process printed."""
    with TemporaryDirectory(prefix=f"{engine}-", dir=scratch) as folder:
        places = [str(inputs.resolve()), str(Path(folder).resolve())]
        command = [interpreter(engine, scratch), "-m", "benchmarks.worker", verb, workload, engine, *places]
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=False, cwd=Path(__file__).parents[1], timeout=limit_seconds
            )
        except subprocess.TimeoutExpired as error:
            raise LeftOut(f"{engine} is left out: it took more than {limit_seconds} s") from error
    if done.returncode == NOT_HERE:
        raise LeftOut(f"{engine} is left out for the reason above; benchmarks/README.md tells how engines are installed")
    if done.returncode != 0:
        raise EngineFailed(f"{engine} failed in {workload} with exit code {done.returncode}")
    return done.stdout


def interpreter(engine: str, scratch: Path) -> str:
    """That of the engine's own virtual environment, `venvs/feast` for `feast` and `feast_dask`, if there is one; or this one."""
    own = scratch / "venvs" / engine.split("_")[0] / "bin" / "python"
    return str(own.absolute()) if own.exists() else sys.executable


def parse_run(line: str) -> Run:
    seen = json.loads(line)
    return Run(**{**seen, "steps": {name: Step(**step) for name, step in seen["steps"].items()}})

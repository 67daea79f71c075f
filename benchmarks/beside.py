"""Reading processes beside a writer: `python -m benchmarks.beside ENGINE FOLDER FEATURES` says "ready", reads from one line of input to the
next one key after the other, and prints how many it got a second.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.features import Features
from benchmarks.workload import load_engine

KEYS = 20_000


class Readers:
    """So many processes that read an engine's files; in a `with` block, they read from its begin until `finish`."""

    def __init__(self, count: int, engine: str, folder: Path, features: Features) -> None:
        self._command = [sys.executable, "-m", "benchmarks.beside", engine, str(folder), json.dumps(asdict(features))]
        self._count = count
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for number in range(self._count):
            command = [*self._command, str(number)]
            root = Path(__file__).parents[1]
            self._processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root))
        if any(self._answer(process) != "ready" for process in self._processes):
            self.end()
            raise RuntimeError("a reading process did not start; its own message stands above")
        self._tell()
        return self

    def finish(self) -> list[float]:
        """Reads per second of each."""
        self._tell()
        return [float(self._answer(process)) for process in self._processes]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def _tell(self) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

    def _answer(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()


def read(engine: Any, keys: list[int]) -> float:
    """Reads per second until there is input."""
    sys.stdin.readline()
    told: list[str] = []
    threading.Thread(target=lambda: told.append(sys.stdin.readline()), daemon=True).start()
    count, one, started = 0, engine.one, time.perf_counter()
    for key in cycle(keys):
        one(key)
        count += 1
        if told:
            break
    return count / (time.perf_counter() - started)


def main(engine_name: str, folder: str, features: str, number: str) -> None:
    described = Features(**json.loads(features))
    engine: Any = load_engine(engine_name, Path(folder))
    engine.open_to_read(described)
    keys = described.asked(KEYS, seed=100 + int(number))
    engine.one(keys[0])
    print("ready", flush=True)
    print(read(engine, keys), flush=True)
    engine.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

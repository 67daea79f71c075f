"""The meter of one run: seconds, peak memory, bytes on disk and checksums, by name of step, and notes in words.

Lives in the process of the engine it measures. Peak memory is the high-water mark of resident memory above what was
resident before the step; pages of a mapped file count while they are mapped in, though the kernel may drop them at will.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_HIGH_WATER_MARK = "5"


@dataclass(slots=True)
class Step:
    """What was measured of one step: one sample for each time it ran."""

    rows: int = 0
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    cpu_seconds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Meter:
    """Everything one engine showed in one run."""

    steps: dict[str, Step] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def measure(self, name: str, *, rows: int = 0, cpu: bool = False) -> Iterator[None]:
        """Time the body; many samples of one name are summed up by their quantiles. cpu: also the seconds of all its threads."""
        step = self.steps.setdefault(name, Step(rows))
        gc.collect()
        before = reset_peak()
        started, worked = time.perf_counter(), time.process_time()
        yield
        step.seconds.append(time.perf_counter() - started)
        if cpu:
            step.cpu_seconds.append(time.process_time() - worked)
        step.peak_bytes = max(step.peak_bytes, resident_bytes("VmHWM") - before)

    def add(self, name: str, seconds: Sequence[float], *, rows: int = 0) -> None:
        """Note times that the workload took itself, of what is over in microseconds."""
        self.steps.setdefault(name, Step(rows)).seconds.extend(seconds)

    def size(self, name: str, size_bytes: int) -> None:
        """Note how many bytes on disk something takes."""
        self.sizes[name] = size_bytes

    def check(self, name: str, checksum: str) -> None:
        """Note what came out; no table is printed unless all engines say the same."""
        self.checksums[name] = checksum

    def note(self, text: str) -> None:
        """Say something that stands below the table."""
        self.notes.append(text)


def reset_peak() -> int:
    """Forget the high-water mark and return what is resident now; 0 where the kernel keeps no such count."""
    if sys.platform == "linux":
        CLEAR_REFS.write_text(RESET_HIGH_WATER_MARK)
    return resident_bytes("VmRSS")


def resident_bytes(field_name: str) -> int:
    if sys.platform != "linux":
        return 0
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field_name}:"))
    return int(line.split()[1]) * 1024

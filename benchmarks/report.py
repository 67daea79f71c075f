"""From runs to a table: medians, quantiles and ratios. Pure, and the one place that decides whether a table may be shown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.runner import Run

# From so many samples on, a step is a distribution and shows its median and its 99th percentile.
MANY = 20
# And from so many on, the one in a thousand says something.
VERY_MANY = 10_000
# Peaks below are noise of the allocator.
NOTABLE_BYTES = 32_000_000


class ChecksumsDisagree(ValueError):
    """Two runs gave different answers, so that their times cannot be compared."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a quantity of which less is better, by engine."""

    label: str
    unit: str
    values: dict[str, float]


def require_agreement(runs: Iterable[Run]) -> None:
    """Raise ChecksumsDisagree unless every checksum is the same in every run that has it."""
    seen: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for name, checksum in run.checksums.items():
            seen.setdefault(name, {}).setdefault(checksum, []).append(run.engine)
    for name, engines_by_checksum in seen.items():
        if len(engines_by_checksum) > 1:
            told = "; ".join(f"{', '.join(sorted(set(engines)))}: {checksum}" for checksum, engines in engines_by_checksum.items())
            raise ChecksumsDisagree(f"{name}: the engines disagree, so no table is shown ({told})")


def summarize(runs: Sequence[Run]) -> list[Row]:
    """Rows in the order in which the steps first ran. Raises ChecksumsDisagree."""
    require_agreement(runs)
    steps = dict.fromkeys(name for run in runs for name in run.steps)
    sizes = dict.fromkeys(name for run in runs for name in run.sizes)
    return [row for name in steps for row in _step_rows(name, runs)] + [Row(name, "bytes", _median_size(name, runs)) for name in sizes]


def _step_rows(name: str, runs: Sequence[Run]) -> Iterator[Row]:
    steps = [run.steps[name] for run in runs if name in run.steps]
    samples = _pool((run.engine, run.steps[name].seconds) for run in runs if name in run.steps)
    if max(len(step.seconds) for step in steps) >= MANY:
        yield Row(f"{name}, p50", "seconds", {engine: quantile(values, 0.5) for engine, values in samples.items()})
        yield Row(f"{name}, p99", "seconds", {engine: quantile(values, 0.99) for engine, values in samples.items()})
        if rare := {engine: quantile(values, 0.999) for engine, values in samples.items() if len(values) >= VERY_MANY}:
            yield Row(f"{name}, p99.9", "seconds", rare)
        return
    yield Row(name, "seconds", {engine: statistics.median(values) for engine, values in samples.items()})
    if worked := _pool((run.engine, run.steps[name].cpu_seconds) for run in runs if name in run.steps and run.steps[name].cpu_seconds):
        yield Row(f"{name}, CPU", "seconds", {engine: statistics.median(values) for engine, values in worked.items()})
    if rows := max(step.rows for step in steps):
        yield Row(f"{name}, per row", "seconds", {engine: statistics.median(values) / rows for engine, values in samples.items()})
    peaks = _pool((run.engine, [run.steps[name].peak_bytes]) for run in runs if name in run.steps)
    if max(step.peak_bytes for step in steps) >= NOTABLE_BYTES:
        yield Row(f"{name}, peak memory", "bytes", {engine: statistics.median(values) for engine, values in peaks.items()})


def _median_size(name: str, runs: Sequence[Run]) -> dict[str, float]:
    pooled = _pool((run.engine, [run.sizes[name]]) for run in runs if name in run.sizes)
    return {engine: statistics.median(values) for engine, values in pooled.items()}


def _pool(samples: Iterable[tuple[str, Sequence[float]]]) -> dict[str, list[float]]:
    """All samples of one engine together, whichever round they are from."""
    pooled: dict[str, list[float]] = {}
    for engine, values in samples:
        pooled.setdefault(engine, []).extend(values)
    return pooled


def quantile(values: Sequence[float], fraction: float) -> float:
    """The smallest of the values that at least this fraction of them does not exceed."""
    return sorted(values)[max(0, math.ceil(fraction * len(values)) - 1)]


def render(rows: Sequence[Row], engines: Sequence[str]) -> str:
    """A Markdown table; each rival's figure is followed by how many times the first engine's it is."""
    lines = [["", *engines], ["---"] + ["---:"] * len(engines)]
    for row in rows:
        base = row.values.get(engines[0])
        lines.append([row.label, *(_cell(row, engine, base if engine != engines[0] else None) for engine in engines)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(engines) + 1)]
    return "\n".join("| " + " | ".join(_padded(line, widths)) + " |" for line in lines)


def _padded(line: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    yield line[0].ljust(widths[0], "-" if line[0] == "---" else " ")
    for text, width in zip(line[1:], widths[1:], strict=True):
        yield text.rjust(width, "-" if text == "---:" else " ")


def _cell(row: Row, engine: str, base: float | None) -> str:
    if engine not in row.values:
        return ""
    value = row.values[engine]
    ratio = f" ({value / base:.3g}x)" if base else ""
    return (format_seconds(value) if row.unit == "seconds" else format_bytes(value)) + ratio


def format_seconds(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def format_bytes(size: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size:.0f} B"

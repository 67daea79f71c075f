"""Training sets at many sizes: how the time grows with labels and rows, and what string keys and scattered segments cost.

One case is as the options have it; each other case differs from it in one thing. Every engine is compared with itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.history import History
from benchmarks.meter import Meter
from benchmarks.workload import Engine
from benchmarks.workloads.asof import CLOSED, OPENED, add_label_option, build_case, compare, measure_case, prepare_case

BASE = "base"
MORE = 3
CASES = {
    f"{MORE}x rows": lambda base: replace(base, rows=MORE * base.rows),
    "string keys": lambda base: replace(base, keys="string"),
    "many segments": lambda base: replace(base, layout="many"),
    "zipf": lambda base: replace(base, skew="zipf"),
}

Table = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class AsOfMatrix:
    """The workload; see the head of this file."""

    title: str = "point-in-time training sets, case by case"
    engines: tuple[str, ...] = ("mlstore", "floor", "polars", "polars_parquet", "duckdb")
    max_rows: Mapping[str, int] = field(default_factory=dict)
    labels: tuple[int, ...] = (10_000, 100_000)
    cases: tuple[str, ...] = tuple(CASES)

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        add_label_option(parser, self.labels)
        parser.add_argument(
            "--cases", nargs="+", choices=list(CASES), default=self.cases, help="beside the base; all unless told otherwise"
        )

    def configured(self, options: argparse.Namespace) -> AsOfMatrix:
        return replace(self, labels=tuple(sorted(set(options.labels))), cases=tuple(options.cases))

    def prepare(self, inputs: Path, *, rows: int) -> None:
        base = History(rows)
        for number, case in enumerate((BASE, *self.cases)):
            folder = inputs / f"{number} {case}"
            prepare_case(base if case == BASE else CASES[case](base), self.labels, folder)

    def build(self, engine: Engine, inputs: Path) -> None:
        for folder in sorted(inputs.iterdir()):
            build_case(engine, folder)

    def run(self, engine: Engine, inputs: Path, meter: Meter) -> None:
        for folder in sorted(inputs.iterdir()):
            measure_case(engine, folder, meter, prefix=f"{folder.name.partition(' ')[2]}, ")

    def remarks(self, table: Table) -> list[str]:
        """Growth first, then each case beside its floor and rivals."""
        engines = [engine for engine in self.engines if any(engine in row for row in table.values())]
        grown = [remark for engine in engines for state in (CLOSED, OPENED) for remark in self.growth(engine, state, table)]
        return grown + [remark for step in table if step.endswith((CLOSED, OPENED)) for remark in compare(step, table)]

    def growth(self, engine: str, state: str, table: Table) -> Iterator[str]:
        def seconds(case: str, count: int) -> float | None:
            return table.get(f"{case}, {count:,} labels, {state}", {}).get(engine)

        for fewer, more in zip(self.labels, self.labels[1:], strict=False):
            small, large = seconds(BASE, fewer), seconds(BASE, more)
            if small and large:
                yield f"{engine}, {state}: {more / fewer:.3g}x the labels, {fewer:,} to {more:,}, take {large / small:.3g}x the time"
        for case in self.cases:
            for count in self.labels:
                plain, other = seconds(BASE, count), seconds(case, count)
                if plain and other:
                    yield f"{engine}, {state}: {case} takes {other / plain:.3g}x the time of the base, with {count:,} labels"


WORKLOAD = AsOfMatrix()

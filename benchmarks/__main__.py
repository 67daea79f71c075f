"""The command: `python -m benchmarks WORKLOAD --engine mlstore duckdb --rows N --repeat R --json`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import machine_line
from benchmarks.report import ChecksumsDisagree, Row, render, summarize
from benchmarks.runner import EngineFailed, run_rounds
from benchmarks.workload import Optioned, Remarking, Workload, engine_names, load_workload, workload_names


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one workload and print its table; 1 if an engine failed or the answers differ, 2 if the call was wrong."""
    options = parse(arguments)
    workload = configure(load_workload(options.workload), options)
    try:
        engines = choose_engines(workload, options.engine, rows=options.rows)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        runs = run_rounds(
            options.workload,
            engines,
            rows=options.rows,
            repeat=options.repeat,
            scratch=options.scratch,
            configured=workload,
            limit_seconds=options.limit,
            progress=tell_progress,
        )
        rows = summarize(runs)
    except (ChecksumsDisagree, EngineFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not runs:
        print("error: no engine is left", file=sys.stderr)
        return 1
    engines = [engine for engine in engines if any(run.engine == engine for run in runs)]
    notes = [*dict.fromkeys(f"{run.engine}: {note}" for run in runs for note in run.notes), *remarks(workload, rows)]
    machine = machine_line({run.engine: run.version for run in runs})
    if options.json:
        told = {"workload": options.workload, "rows": options.rows, "repeat": options.repeat, "machine": machine}
        print(json.dumps(told | {"table": [asdict(row) for row in rows], "runs": [asdict(run) for run in runs], "notes": notes}))
    else:
        print(f"{workload.title}: {options.rows:,} rows, median of {options.repeat}, all checksums agree\n{machine}\n")
        print(render(rows, engines))
        print("".join(f"\n- {note}" for note in notes))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare engines on one workload.")
    parser.add_argument("workload", choices=workload_names())
    parser.add_argument("--engine", nargs="+", choices=engine_names(), help="who takes part; the others are compared with the first")
    parser.add_argument("--rows", type=positive, default=1_000_000)
    parser.add_argument("--repeat", type=positive, default=3)
    parser.add_argument("--limit", type=positive, default=600, metavar="SECONDS", help="an engine that takes longer is left out")
    parser.add_argument("--json", action="store_true", help="print the table and every run as JSON")
    parser.add_argument("--scratch", type=Path, default=Path(".benchmarks"), help="folder for the files, on the disk to be measured")
    given = sys.argv[1:] if arguments is None else arguments
    workload = load_workload(given[0]) if given and given[0] in workload_names() else None
    if isinstance(workload, Optioned):
        workload.add_options(parser)
    return parser.parse_args(given)


def configure(workload: Workload, options: argparse.Namespace) -> Workload:
    return workload.configured(options) if isinstance(workload, Optioned) else workload


def remarks(workload: Workload, rows: Sequence[Row]) -> list[str]:
    return workload.remarks({row.label: row.values for row in rows}) if isinstance(workload, Remarking) else []


def positive(text: str) -> int:
    value = int(text.replace("_", ""))
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return value


def choose_engines(workload: Workload, asked: Sequence[str] | None, *, rows: int) -> list[str]:
    """Those asked for, or the workload's own, without the ones that are too slow for so many rows."""
    chosen = list(dict.fromkeys(asked or workload.engines))
    strangers = [engine for engine in chosen if engine not in workload.engines]
    if strangers:
        raise ValueError(f"{', '.join(strangers)} cannot do this workload; choose from {', '.join(workload.engines)}")
    kept = [engine for engine in chosen if rows <= workload.max_rows.get(engine, rows)]
    for engine in chosen:
        if engine not in kept:
            tell_progress(f"{engine} is left out above {workload.max_rows[engine]:,} rows")
    if not kept:
        raise ValueError("no engine is left to run; ask for fewer rows")
    return kept


def tell_progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

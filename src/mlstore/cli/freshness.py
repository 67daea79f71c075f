"""The command that tells how old the newest row of each view is."""

from __future__ import annotations

from typing import Annotated

import typer

from mlstore.cli.console import print_json, print_list
from mlstore.cli.opening import open_store
from mlstore.cli.options import AsJson, StorePath
from mlstore.cli.plain import plain_value
from mlstore.cli.texts import parse_time


def freshness(
    store: StorePath,
    threshold: Annotated[
        str | None,
        typer.Option("--threshold", metavar="DURATION", help="How old the newest row may be, such as 6h; else the view's tag or its ttl."),
    ] = None,
    now: Annotated[str | None, typer.Option("--now", metavar="TIME", help="Measure ages from this time.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how old the newest row of each view is; exit code 1 if one is older than it may be."""
    with open_store(store) as opened:
        found = opened.freshness(threshold=threshold, now=None if now is None else parse_time(now, what="--now"))
    views = [
        {
            "name": view.view,
            "newest": plain_value(view.newest),
            "age_seconds": None if view.age is None else view.age.total_seconds(),
            "threshold_seconds": None if view.threshold is None else view.threshold.total_seconds(),
            "rows": view.rows,
            "late_rows": view.late_rows,
            "stale": view.is_stale,
        }
        for view in found.views
    ]
    if as_json:
        print_json({"stale": list(found.stale), "views": views})
    else:
        print_list(
            ["view", "newest", "age", "may be", "rows", "late", ""],
            [
                [
                    view.view,
                    str(plain_value(view.newest) or "-"),
                    str(view.age or "-"),
                    str(view.threshold or "-"),
                    f"{view.rows:,}",
                    f"{view.late_rows:,}",
                    "STALE" if view.is_stale else "",
                ]
                for view in found.views
            ],
            numeric=("rows", "late"),
        )
    if found.stale:
        raise typer.Exit(1)

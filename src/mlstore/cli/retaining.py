"""The command that lets old versions go: retain."""

from __future__ import annotations

from typing import Annotated

import typer

from mlstore.cli.console import print_json, print_line, print_list, progress_bar
from mlstore.cli.opening import open_store
from mlstore.cli.options import AsJson, Message, StorePath


def retain(
    store: StorePath,
    last: Annotated[int | None, typer.Option("--last", min=1, help="Keep the newest N commits of each branch.")] = None,
    within: Annotated[str | None, typer.Option("--within", metavar="SPAN", help="Keep the commits made in this span of time: 30d.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    message: Message = "",
    as_json: AsJson = False,
) -> None:
    """Let old versions go, with the rows that only they saw; snapshots and newest commits stay always."""
    with open_store(store, is_writing=not dry_run) as opened, progress_bar(f"letting old versions of {store} go"):
        done = opened.retain(last=last, within=within, dry_run=dry_run, message=message)
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "versions_kept": done.versions_kept,
                "versions_dropped": done.versions_dropped,
                "rows": done.rows,
                "segments_rewritten": done.segments_rewritten,
                "segments_held": done.segments_held,
            }
        )
        return
    print_line(str(done))
    if done.rows:
        print_list(["table", "rows"], [[name, f"{rows:,}"] for name, rows in sorted(done.rows.items())], numeric=("rows",))
    if not dry_run and done.rows:
        print_line("their bytes stay in free pages until `mlstore compact`")

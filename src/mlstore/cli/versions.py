"""Commands about time travel: snapshot, log."""

from __future__ import annotations

from typing import Annotated

import typer

import mlstore as ml
from mlstore.cli.console import print_json, print_line, print_list
from mlstore.cli.opening import open_store
from mlstore.cli.options import AsJson, AtVersion, StorePath
from mlstore.cli.plain import plain_value


def snapshot(
    store: StorePath,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the version will be called: --at NAME.", show_default=False)],
    message: Annotated[str, typer.Option("--message", "-m", help="Why it is kept.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Name the present state, so that it can be read for ever."""
    with open_store(store, is_writing=True) as opened:
        commit = opened.snapshot(name, message=message)
    if as_json:
        print_json({"snapshot": name, "message": message, "commit": commit.id, "seq": commit.seq})
    else:
        print_line(f"snapshot {name} is commit {commit.id[:12]}")


def log(
    store: StorePath,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Only the newest N commits.")] = None,
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """Show the commits, newest first, with the snapshots that name them."""
    with open_store(store, at=at) as opened:
        commits = opened.history(limit=limit)
        snapshots = opened.info()["snapshots"]
    names = {commit.id: [name for name, named in snapshots.items() if named == commit.id] for commit in commits}
    if as_json:
        print_json({"commits": [{**commit_fields(commit), "snapshots": names[commit.id]} for commit in commits]})
    elif not commits:
        print_line("no commits yet")
    else:
        rows = [[c.id[:12], f"{c.time:%Y-%m-%d %H:%M:%S}Z", ", ".join(names[c.id]), _changes(c), c.author, c.message] for c in commits]
        print_list(["commit", "time", "snapshot", "changes", "author", "message"], rows)


def commit_fields(commit: ml.Commit) -> dict[str, object]:
    """A commit as JSON holds it."""
    return {
        "commit": commit.id,
        "seq": commit.seq,
        "parents": list(commit.parents),
        "time": plain_value(commit.time),
        "author": commit.author,
        "message": commit.message,
        "changes": [{"op": change.op, "table": change.table, "rows": change.rows} for change in commit.changes],
    }


def _changes(commit: ml.Commit) -> str:
    return ", ".join(f"{change.op} {change.table}" + (f" {change.rows:,}" if change.rows else "") for change in commit.changes)

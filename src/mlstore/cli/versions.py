"""Commands about time travel: snapshot, log, diff, rollback."""

from __future__ import annotations

from typing import Annotated

import typer

import mlstore as ml
from mlstore.cli.asking import read_keys
from mlstore.cli.columns import relation_key_types
from mlstore.cli.console import print_json, print_line, print_list
from mlstore.cli.opening import find_version, open_store
from mlstore.cli.options import AsJson, AtVersion, Message, OnBranch, StorePath, complete_tables, complete_versions
from mlstore.cli.plain import plain_value

_VERSION_HELP = "A snapshot, a branch, a commit id, or a time."


def snapshot(
    store: StorePath,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the version will be called: --at NAME.", show_default=False)],
    delete: Annotated[bool, typer.Option("--delete", help="Take the name NAME away, so that `retain` may let its version go.")] = False,
    message: Annotated[str, typer.Option("--message", "-m", help="Why it is kept.", show_default=False)] = "",
    on: OnBranch = "main",
    as_json: AsJson = False,
) -> None:
    """Name the present state, so that it can be read for ever."""
    if delete:
        with open_store(store, is_writing=True) as opened:
            opened.delete_snapshot(name, message=message)
        if as_json:
            print_json({"snapshot": name, "deleted": True})
        else:
            print_line(f"snapshot {name} is deleted")
        return
    with open_store(store, is_writing=True, branch=on) as opened:
        commit = opened.snapshot(name, message=message)
    if as_json:
        print_json({"snapshot": name, "message": message, "commit": commit.id, "seq": commit.seq})
    else:
        print_line(f"snapshot {name} is commit {commit.id[:12]}")


def log(
    store: StorePath,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Only the newest N commits.")] = None,
    table: Annotated[
        str | None, typer.Option("--table", metavar="NAME", help="Only commits that changed it.", autocompletion=complete_tables)
    ] = None,
    key: Annotated[
        list[str],
        typer.Option("--key", "-k", metavar="COLUMN=VALUE", help="Only commits that wrote or deleted rows of this key of --table."),
    ] = [],  # noqa: B006
    since: Annotated[str | None, typer.Option("--since", metavar="VERSION", help="Only commits after this version.")] = None,
    on: OnBranch = "main",
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """Show the commits, newest first, with the snapshots that name them."""
    with open_store(store, at=at, branch=on) as opened:
        commits = opened.history(table=table, key=_key(opened, table, key), since=find_version(opened, since), limit=limit)
        snapshots = opened.info()["snapshots"]
    names = {commit.id: [name for name, named in snapshots.items() if named == commit.id] for commit in commits}
    if as_json:
        print_json({"commits": [{**commit_fields(commit), "snapshots": names[commit.id]} for commit in commits]})
    elif not commits:
        print_line("no commits yet")
    else:
        rows = [[c.id[:12], f"{c.time:%Y-%m-%d %H:%M:%S}Z", ", ".join(names[c.id]), _changes(c), c.author, c.message] for c in commits]
        print_list(["commit", "time", "snapshot", "changes", "author", "message"], rows)


def _key(store: ml.Store, table: str | None, words: list[str]) -> dict[str, object] | None:
    if not words:
        return None
    if table is None:
        raise ml.UsageError("--key needs --table", hint="name the view or table that has the key: --table NAME")
    named = read_keys(words, None, relation_key_types(store, table), as_table=False)
    if not isinstance(named, dict):
        raise ml.UsageError("--key names more than one key", hint="give every key column once")
    return named


def diff(
    store: StorePath,
    before: Annotated[str, typer.Argument(metavar="BEFORE", help=_VERSION_HELP, autocompletion=complete_versions, show_default=False)],
    after: Annotated[
        str | None, typer.Argument(metavar="[AFTER]", help="The same; the newest state unless given.", autocompletion=complete_versions)
    ] = None,
    table: Annotated[
        str | None, typer.Option("--table", metavar="NAME", help="Only this view or table, row by row.", autocompletion=complete_tables)
    ] = None,
    on: OnBranch = "main",
    as_json: AsJson = False,
) -> None:
    """Show what has changed from one version to another: counts, and with --table the rows."""
    with open_store(store, branch=on) as opened:
        first = find_version(opened, before)
        assert first is not None
        found = opened.diff(first, find_version(opened, after), table=table)
    rows = {name: _diff_rows(each) for name, each in found.items()} if table is not None else {}
    if as_json:
        print_json({"definitions": list(found.definitions), "tables": found.summary(), **({"rows": rows} if rows else {})})
        return
    for line in found.definitions:
        print_line(line)
    if not found:
        print_line("nothing has changed")
    elif found.tables:
        names = ["added", "removed", "changed"]
        counted = [[name, *(f"{counts[what]:,}" for what in names)] for name, counts in found.summary().items()]
        print_list(["table", *names], counted, numeric=tuple(names))
    for kinds in rows.values():
        for kind, told in kinds.items():
            if told:
                print_line()
                print_list([kind, *told[0]], [["", *(str(cell) for cell in row.values())] for row in told])


def rollback(
    store: StorePath,
    to: Annotated[str, typer.Argument(metavar="VERSION", help=_VERSION_HELP, autocompletion=complete_versions, show_default=False)],
    message: Message = "",
    on: OnBranch = "main",
    as_json: AsJson = False,
) -> None:
    """Move a branch back to a version; what came after stays readable by commit id for 14 days."""
    with open_store(store, is_writing=True, branch=on) as opened:
        was = opened.history(limit=1)
        version = find_version(opened, to)
        assert version is not None
        commit = opened.rollback(version, message=message)
    before = was[0].id if was else None
    if as_json:
        print_json({"branch": on, "commit": commit.id, "was": before})
    else:
        print_line(f"{on} is back at commit {commit.id[:12]}; it was at {(before or 'nothing')[:12]}")


def _diff_rows(table: ml.TableDiff) -> dict[str, list[dict[str, object]]]:
    parts = {"added": table.added, "removed": table.removed, "changed": table.changed}
    return {kind: [{name: plain_value(value) for name, value in row.items()} for row in rows.to_pylist()] for kind, rows in parts.items()}


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

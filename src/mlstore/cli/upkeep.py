"""Commands about the file itself: info, verify, optimize, compact, backup."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

import mlstore as ml
from mlstore.cli.answers import answer_of, give
from mlstore.cli.console import notes_console, print_fields, print_json, print_line, print_list, progress_bar, show_size
from mlstore.cli.opening import open_store
from mlstore.cli.options import AsJson, AtVersion, StorePath, complete_tables
from mlstore.cli.plain import plain_value

TABLE_COLUMNS = ("name", "version", "kind", "rows", "segments", "size_bytes", "min_time", "max_time")
# What people are shown otherwise, or not at all.
FOR_PROGRAMS = ("tables", "environment", "read_only", "online")
SIZES = ("logical", "exclusive")
NUMBERS = ("version", "rows", "segments", "size")


class Tier(StrEnum):
    """hot columns are raw and read without a copy; cold ones are compressed."""

    HOT = "hot"
    COLD = "cold"


def info(
    store: StorePath,
    at: AtVersion = None,
    versions: Annotated[bool, typer.Option("--versions", help="Also what each branch and snapshot holds, and alone holds.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the file, its tables and its snapshots."""
    with open_store(store, at=at) as opened:
        facts = opened.info()
        sizes = opened.version_sizes().to_pylist() if versions else []
    if as_json:
        print_json(plain_value(facts | ({"versions": sizes} if versions else {})))
        return
    tables = facts["tables"]
    print_fields({name: _show_fact(name, fact) for name, fact in facts.items() if name not in FOR_PROGRAMS})
    if tables:
        print_line()
        names = [name.replace("size_bytes", "size") for name in TABLE_COLUMNS]
        print_list(names, [[str(_show_fact(name, table.get(name))) for name in TABLE_COLUMNS] for table in tables], numeric=NUMBERS)
    if versions:
        print_line()
        rows = [
            [each["version"], each["kind"], f"{each['rows']:,}", *(show_size(each[f"{what}_bytes"]) for what in SIZES)] for each in sizes
        ]
        print_list(["version", "kind", "rows", *SIZES], rows, numeric=("rows", *SIZES))
    if facts["online"]["stale"]:
        print_line((f"stale: {', '.join(facts['online']['stale'])} (see `mlstore freshness`)", "yellow"))


def verify(
    store: StorePath,
    trusted_head: Annotated[
        str | None,
        typer.Option("--trusted-head", metavar="ID", help="An id kept outside the file; proves that no history before it was rewritten."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every checksum and every promise of the file; exit code 1 if one is broken."""
    with open_store(store) as opened, progress_bar(f"verifying {store}"):
        report = opened.verify(trusted_head=trusted_head)
    problems = [str(problem) for problem in report.problems]
    if as_json:
        print_json({"ok": not problems, "checks": plain_value(dict(report.checks)), "problems": problems})
    else:
        print_fields({name: f"{count:,}" for name, count in report.checks.items()})
        print_line(("sound", "green") if not problems else (f"{len(problems)} problems", "bold red"))
        for problem in problems:
            notes_console().print(problem, soft_wrap=True)
    if problems:
        raise typer.Exit(1)


def optimize(
    store: StorePath,
    tier: Annotated[
        Tier | None, typer.Option("--tier", help="cold compresses, hot undoes it; without it segments are only merged.")
    ] = None,
    table: Annotated[
        str | None, typer.Option("--table", metavar="NAME", help="Only this view or table.", autocompletion=complete_tables)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what there is to do.")] = False,
    as_json: AsJson = False,
) -> None:
    """Merge segments, and move them to another tier."""
    if dry_run:
        with open_store(store) as opened:
            give(
                answer_of(opened.optimize(tier=None if tier is None else tier.value, table=table, dry_run=True)),
                output=None,
                chosen=None,
                as_json=as_json,
            )
        return
    with open_store(store, is_writing=True) as opened, progress_bar(f"optimizing {store}"):
        done = opened.optimize(tier=None if tier is None else tier.value, table=table)
    if as_json:
        print_json(plain_value(done))
    else:
        print_fields({name: _show_fact(name, fact) for name, fact in done.items()})


def compact(store: StorePath, as_json: AsJson = False) -> None:
    """Write the file anew at the size of what lives in it; no other process may have it open."""
    with open_store(store, is_writing=True) as opened, progress_bar(f"compacting {store}"):
        done = opened.compact()
    if as_json:
        print_json({"bytes_before": done.bytes_before, "bytes_after": done.bytes_after, "bytes_freed": done.bytes_freed})
    else:
        print_line(f"{store}: {show_size(done.bytes_before)} before, {show_size(done.bytes_after)} now")


def backup(
    store: StorePath,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The file to copy to; it must not exist.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Copy the store to another file while others read and write it."""
    with open_store(store) as opened, progress_bar(f"copying to {target}"):
        opened.backup(target)
    with ml.open(target, read_only=True) as copied:
        facts = copied.info()
    if as_json:
        print_json({"path": target, "size_bytes": facts["size_bytes"], "version": facts["version"]})
    else:
        print_line(f"{target}: {show_size(facts['size_bytes'])}, version {facts['version']}")


def _show_fact(name: str, fact: Any) -> object:
    if fact is None:
        return "-"
    if name.endswith("_bytes") or name == "size":
        return show_size(fact)
    if isinstance(fact, Mapping):
        return ", ".join(str(key) for key in fact) or "none"
    if isinstance(fact, list | tuple):
        return ", ".join(str(part) for part in fact) or "none"
    return f"{fact:,}" if isinstance(fact, int) and not isinstance(fact, bool) else plain_value(fact)

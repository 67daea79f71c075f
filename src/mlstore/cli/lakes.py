"""Commands that speak to lakes: export to Parquet folders and Delta tables, import from them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import mlstore as ml
from mlstore.cli.console import count_rows, print_json, print_line, progress_bar
from mlstore.cli.opening import open_store
from mlstore.cli.options import AsJson, AtVersion, OnBranch, StorePath
from mlstore.integrations import parquet

Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="A folder of Parquet files, or a Delta table.", show_default=False)]


class Kind(StrEnum):
    """What a folder is made into."""

    PARQUET = "parquet"
    DELTA = "delta"


def export(
    store: StorePath,
    folder: Folder,
    tables: Annotated[
        list[str], typer.Option("--table", metavar="NAME", help="Only this view or table; repeat it for more.", show_default=False)
    ] = [],  # noqa: B006  typer reads it, nobody changes it
    kind: Annotated[
        Kind, typer.Option("--as", help="parquet: one version, whole. delta: each snapshot of one table as a version.")
    ] = Kind.PARQUET,
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """Write rows and definitions as a folder of Parquet files; or, --as delta, the versions of a table as a Delta table."""
    if kind is Kind.DELTA and (len(tables) != 1 or at is not None):
        raise ml.UsageError("a Delta table has all versions of one view or table", hint="give one --table NAME, and no --at")
    with open_store(store, at=at) as opened, progress_bar(f"writing {folder}"):
        if kind is Kind.DELTA:
            from mlstore.integrations import delta

            told: dict[str, int] = {"versions": delta.export(opened, tables[0], folder)}
        else:
            told = parquet.export(opened, folder, tables=tables or None)
    if as_json:
        print_json(told)
    elif kind is Kind.DELTA:
        print_line(f"{told['versions']} new versions of {tables[0]} in {folder}")
    else:
        print_line(f"{count_rows(sum(told.values()))} of {', '.join(told)} in {folder}")


def load(
    store: StorePath,
    folder: Folder,
    into: Annotated[
        str | None, typer.Option("--into", metavar="NAME", help="The view or table that takes the rows.", show_default=False)
    ] = None,
    all_versions: Annotated[bool, typer.Option("--all-versions", help="Each version of a Delta table as a commit of its own.")] = False,
    on: OnBranch = "main",
    as_json: AsJson = False,
) -> None:
    """Write the rows of a folder that export made, definitions too; or, --into NAME, of any Parquet dataset or Delta table."""
    is_delta = (Path(folder) / "_delta_log").is_dir()
    if is_delta and into is None:
        raise ml.UsageError(f"{folder} is a Delta table, which has no definitions", hint="give --into NAME")
    if all_versions and not is_delta:
        raise ml.UsageError(f"{folder} is no Delta table, and has one version", hint="leave --all-versions out")
    with open_store(store, is_writing=True, branch=on) as opened, progress_bar(f"reading {folder}"):
        if is_delta and into is not None:
            from mlstore.integrations import delta

            commits = delta.load(opened, folder, into=into, versions="all" if all_versions else "newest")
            told = {into: sum(change.rows for commit in commits for change in commit.changes if change.op != "delete")}
        else:
            told = parquet.load(opened, folder, into=into)
    if as_json:
        print_json(told)
    else:
        print_line(f"{count_rows(sum(told.values()))} into {', '.join(told) or 'nothing'}")

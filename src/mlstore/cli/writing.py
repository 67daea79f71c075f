"""The command that puts rows in: write."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from mlstore.cli.columns import table_types
from mlstore.cli.console import count_rows, print_json, print_line, progress_bar
from mlstore.cli.incoming import open_rows
from mlstore.cli.opening import open_store
from mlstore.cli.options import AsJson, InputFormat, NullTexts, OnBranch, StorePath, TableName


class Mode(StrEnum):
    """append adds rows; upsert replaces those of the same key and time."""

    APPEND = "append"
    UPSERT = "upsert"


def write(
    store: StorePath,
    name: TableName,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Rows as .parquet .csv .arrow .jsonl (.csv.gz too), or - for a pipe.", show_default=False)
    ],
    file_format: InputFormat = None,
    mode: Annotated[Mode, typer.Option("--mode", help="append adds rows; upsert replaces rows of the same key and time.")] = Mode.APPEND,
    message: Annotated[str, typer.Option("--message", "-m", help="What the commit says.", show_default=False)] = "",
    author: Annotated[str, typer.Option("--author", help="Who the commit names.", show_default=False)] = "",
    null: NullTexts = [],  # noqa: B006  typer reads it, nobody changes it
    on: OnBranch = "main",
    as_json: AsJson = False,
) -> None:
    """Write the rows of a file: one commit, all or nothing."""
    with (
        open_store(store, is_writing=True, branch=on) as opened,
        open_rows(file, chosen=file_format, types=table_types(opened, name), nulls=null) as incoming,
        progress_bar(f"writing {name}", total=incoming.total) as bar,
    ):
        commit = opened.write(name, incoming.reader, mode=mode.value, message=message, author=author, progress=bar.advance_to)
    rows = sum(change.rows for change in commit.changes)
    if as_json:
        print_json({"name": name, "mode": mode.value, "rows": rows, "commit": commit.id, "seq": commit.seq})
    else:
        print_line(f"{count_rows(rows)} into {name}, commit {commit.id[:12]}")

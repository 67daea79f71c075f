"""Commands for a file that is damaged: salvage, dump."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

import mlstore as ml
from mlstore.cli.console import notes_console, print_json, print_line, progress_bar
from mlstore.cli.options import AsJson, StorePath
from mlstore.cli.plain import plain_value


def salvage(
    store: StorePath,
    target: Annotated[str, typer.Argument(metavar="OUT", help="The new file; it must not exist.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Take everything readable of a damaged file into a fresh one, and tell what was lost; exit code 1 if anything was."""
    with progress_bar(f"salvaging {store}"):
        told = ml.salvage(store, target)
    if as_json:
        print_json({"records": told.records, "rows": told.rows, "lost": list(told.lost), "problems": list(told.problems)})
    else:
        print_line(f"{target}: {told.records:,} records", *(f"; {rows:,} rows of {name}" for name, rows in told.rows.items()))
        for loss in told.lost:
            notes_console().print(f"lost: {loss}", soft_wrap=True)
        for problem in told.problems:
            notes_console().print(f"still wrong: {problem}", soft_wrap=True)
    if told.lost or told.problems:
        raise typer.Exit(1)


def dump(
    store: StorePath,
    keyspace: Annotated[
        str | None, typer.Argument(metavar="[KEYSPACE]", help="Only these records, such as commits, segments, tail.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Only the first N records.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the records of a file, whole or damaged, one a line; docs/format.md tells what they mean."""
    for record in islice(ml.dump(store, keyspace), limit):
        told = {
            "keyspace": record.keyspace,
            "key": plain_value(dict(record.key)),
            "value": plain_value(record.value),
            "size_bytes": record.size_bytes,
            "is_readable": record.is_readable,
        }
        if as_json:
            print_json(told)
        else:
            print_line(
                f"{record.keyspace or 'lost'} {told['key']}", f" = {told['value']}", ("" if record.is_readable else " (damaged)", "red")
            )

"""The command that erases keys for good: forget."""

from __future__ import annotations

from typing import Annotated

import typer

from mlstore.cli.asking import read_keys
from mlstore.cli.columns import entity_key_types
from mlstore.cli.console import count_rows, print_json, print_line, progress_bar, show_size
from mlstore.cli.opening import open_store
from mlstore.cli.options import AsJson, StorePath


def forget(
    store: StorePath,
    entity: Annotated[
        str, typer.Argument(metavar="ENTITY", help="An entity, whose views are all searched, or a table.", show_default=False)
    ],
    key: Annotated[
        list[str],
        typer.Option("--key", "-k", metavar="COLUMN=VALUE", help="One key column; repeat it for composite keys and for more keys."),
    ] = [],  # noqa: B006
    keys: Annotated[str | None, typer.Option("--keys", metavar="FILE", help="Many keys from a file, or - for a pipe.")] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Also give the freed pages back to the disk.")] = False,
    message: Annotated[str, typer.Option("--message", "-m", help="What the commit says; do not name the keys.", show_default=False)] = "",
    author: Annotated[str, typer.Option("--author", help="Who the commit names.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Erase keys from every view, version and branch, for good."""
    with open_store(store, is_writing=True) as opened, progress_bar(f"forgetting in {store}"):
        named = read_keys(key, keys, entity_key_types(opened, entity), as_table=True)
        done = opened.forget(entity, named, compact=compact, message=message, author=author)
    sizes = done.compacted
    if as_json:
        print_json(
            {
                "commit": done.commit.id,
                "rows": done.rows,
                "segments_rewritten": done.segments_rewritten,
                "segments_held": done.segments_held,
                "bytes_before": None if sizes is None else sizes.bytes_before,
                "bytes_after": None if sizes is None else sizes.bytes_after,
                "skipped": list(done.skipped),
            }
        )
        return
    print_line(f"{count_rows(sum(done.rows.values()))} erased from {', '.join(done.rows) or 'no view'}, commit {done.commit.id[:12]}")
    if done.skipped:
        print_line((f"not searched, for they have another key on their branch: {', '.join(done.skipped)}", "yellow"))
    if sizes is None:
        print_line("their bytes stay in free pages until `mlstore compact`")
    else:
        print_line(f"{store}: {show_size(sizes.bytes_before)} before, {show_size(sizes.bytes_after)} now")

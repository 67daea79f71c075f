"""Commands about proof: audit, seal."""

from __future__ import annotations

from typing import Annotated

import typer

from mlstore.cli.answers import HEAD_ROWS, answer_of, check_output, give
from mlstore.cli.console import print_json, print_line
from mlstore.cli.opening import open_store
from mlstore.cli.options import AsJson, Output, OutputFormat, StorePath, complete_versions

ON_TERMINAL = ["time", "author", "action", "subject", "rows", "message", "id"]


def audit(
    store: StorePath,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="VERSION", help="Only what was done after this version.", autocompletion=complete_versions),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Only the newest N entries.")] = None,
    output: Output = None,
    output_format: OutputFormat = None,
    as_json: AsJson = False,
) -> None:
    """Show or export who did what and when, oldest first; each entry's id vouches for all before it."""
    check_output(output, chosen=output_format, as_json=as_json)
    with open_store(store) as opened:
        entries = opened.audit(since=since)
    if limit is not None:
        entries = entries.slice(max(entries.num_rows - limit, 0))
    if output is None and not as_json:
        entries = entries.select(ON_TERMINAL)
    give(answer_of(entries), output=output, chosen=output_format, as_json=as_json, head=max(HEAD_ROWS, entries.num_rows))


def seal(
    store: StorePath,
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="A snapshot or a commit id.", show_default=False, autocompletion=complete_versions),
    ],
    message: Annotated[str, typer.Option("--message", "-m", help="Why it is sealed.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Write a digest of all rows of a version into the audit; keep the id and give it to verify --trusted-head."""
    with open_store(store, is_writing=True) as opened:
        sealed = opened.seal(version, message=message)
    if as_json:
        print_json({"version": version, "message": message, "id": sealed})
    else:
        print_line(f"{version} is sealed by {sealed}")

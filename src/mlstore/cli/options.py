"""Options that several commands share, and what the shell completes for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

import mlstore as ml
from mlstore.cli.formats import Format


def complete_tables(ctx: typer.Context) -> list[tuple[str, str]]:
    """Views and tables of the store named before, for the shell."""
    return _complete(ctx, ("view", "table"))


def complete_features(ctx: typer.Context) -> list[tuple[str, str]]:
    """Views, their features, and services of the store named before, for the shell."""
    return _complete(ctx, ("view", "window", "service"))


def complete_versions(ctx: typer.Context) -> list[tuple[str, str]]:
    """Snapshots of the store named before, for the shell."""
    with _store_before(ctx) as store:
        return [] if store is None else [(str(name), "snapshot") for name in store.info()["snapshots"]]


def complete_branches(ctx: typer.Context) -> list[tuple[str, str]]:
    """Branches of the store named before, for the shell."""
    with _store_before(ctx) as store:
        return [] if store is None else [(branch.name, "branch") for branch in store.branches()]


def _complete(ctx: typer.Context, kinds: tuple[str, ...]) -> list[tuple[str, str]]:
    words = []
    with _store_before(ctx) as store:
        for entry in [] if store is None else store.catalog():
            if entry.kind not in kinds:
                continue
            words.append((entry.name, entry.definition.description or entry.kind))
            if isinstance(entry.definition, ml.FeatureView) and "service" in kinds:
                words += [(f"{entry.name}:{feature}", str(dtype)) for feature, dtype in entry.definition.schema.items()]
            if isinstance(entry.definition, ml.WindowView):
                words += [(f"{entry.name}:{feature}", "over events") for feature in entry.definition.output_names]
    return words


@contextmanager
def _store_before(ctx: typer.Context) -> Iterator[ml.Store | None]:
    """The store on the line that is being completed; None if it cannot be opened: a shell that completes must not complain."""
    # Before the value of an option the line is not parsed: its words are left in args.
    path = ctx.params.get("store") or next(iter(ctx.args), None)
    if not path or not Path(path).is_file():
        yield None
        return
    try:
        store = ml.open(path, read_only=True)
    except ml.MlstoreError:
        yield None
        return
    with store:
        yield store


StorePath = Annotated[str, typer.Argument(metavar="STORE", help="The file of the store, for instance flights.mls.", show_default=False)]
TableName = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A view or table; an older version of it as name@1.", autocompletion=complete_tables, show_default=False
    ),
]
Features = Annotated[
    list[str],
    typer.Argument(
        metavar="FEATURE...",
        help="What to ask for: view, view:feature, view@2:feature, or one feature service.",
        autocompletion=complete_features,
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON on standard output, and nothing else there.")]
AtVersion = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="VERSION",
        help="Read the store as it was: a snapshot, a branch, a commit id, or a time.",
        autocompletion=complete_versions,
    ),
]
OnBranch = Annotated[str, typer.Option("--on", metavar="BRANCH", help="The branch to work on.", autocompletion=complete_branches)]
Message = Annotated[str, typer.Option("--message", "-m", help="Why.", show_default=False)]
FullNames = Annotated[bool, typer.Option("--full-names", help="Name every feature view__feature.")]
WithStatus = Annotated[bool, typer.Option("--status", help="Add per view why a value is what it is, and the event time it is from.")]
InputFormat = Annotated[Format | None, typer.Option("--format", help="The format of the file; needed for a pipe that does not tell.")]
OutputFormat = Annotated[Format | None, typer.Option("--format", help="The format to write; needed for -o -.")]
Output = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file (.parquet .csv .arrow .jsonl), or - for a pipe.")
]
NullTexts = Annotated[
    list[str], typer.Option("--null", metavar="TEXT", help="A CSV text that means null, beside the empty field. May be repeated.")
]

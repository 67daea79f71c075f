"""Commands about copies that follow a store: clone, push, pull, detach."""

from __future__ import annotations

from typing import Annotated

import typer

from mlstore.cli.console import print_json, print_line, progress_bar, show_size
from mlstore.cli.opening import open_store
from mlstore.cli.options import AsJson, StorePath

Target = Annotated[str, typer.Argument(metavar="MIRROR", help="The file that follows the store.", show_default=False)]


def clone(store: StorePath, target: Target, as_json: AsJson = False) -> None:
    """Copy the store to a new file that follows it and only reads; push or pull brings it up to date."""
    with open_store(store) as opened, progress_bar(f"copying to {target}"):
        opened.clone(target)
    if as_json:
        print_json({"mirror": target, "of": store})
    else:
        print_line(f"{target} follows {store}")


def push(store: StorePath, target: Target, as_json: AsJson = False) -> None:
    """Bring a mirror up to date from here; only what it lacks travels."""
    with open_store(store) as opened, progress_bar(f"updating {target}"):
        done = opened.push(target)
    _show(done.commits, done.extents, done.extent_bytes, done.records, target, as_json=as_json)


def pull(
    store: Annotated[str, typer.Argument(metavar="MIRROR", help="The file that follows another one.", show_default=False)],
    origin: Annotated[
        str | None, typer.Argument(metavar="[ORIGIN]", help="What it follows, if that is not where it was the last time.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a mirror up to date from the store that it follows, or from a newer clone that was carried here."""
    with open_store(store, is_writing=True) as opened, progress_bar(f"updating {store}"):
        done = opened.pull(origin)
    _show(done.commits, done.extents, done.extent_bytes, done.records, store, as_json=as_json)


def detach(
    store: Annotated[str, typer.Argument(metavar="MIRROR", help="The file that follows another one.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Make a mirror a store of its own, which can be written and follows nobody any more."""
    with open_store(store, is_writing=True) as opened:
        opened.detach()
    if as_json:
        print_json({"store": store})
    else:
        print_line(f"{store} is a store of its own")


def _show(commits: int, extents: int, extent_bytes: int, records: int, mirror: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"mirror": mirror, "commits": commits, "extents": extents, "extent_bytes": extent_bytes, "records": records})
    else:
        print_line(f"{mirror}: {commits:,} commits, {show_size(extent_bytes)} of segments, {records:,} records")

"""Commands about branches: branch (make, list, rename, delete, protect) and merge."""

from __future__ import annotations

from typing import Annotated

import typer

import mlstore as ml
from mlstore.cli.console import print_json, print_line, print_list
from mlstore.cli.opening import find_version, open_store
from mlstore.cli.options import AsJson, AtVersion, Message, OnBranch, StorePath, complete_branches
from mlstore.cli.plain import plain_value
from mlstore.cli.versions import commit_fields

COLUMNS = ("branch", "commit", "time", "protected", "message")


def branch(
    store: StorePath,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The branch to make; without it they are listed.", show_default=False)
    ] = None,
    at: AtVersion = None,
    on: OnBranch = "main",
    rename: Annotated[str | None, typer.Option("--rename", metavar="NEW", help="Give the branch NAME another name.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Take the name NAME away; its commits stay for 14 days.")] = False,
    protect: Annotated[bool | None, typer.Option("--protect/--unprotect", help="Refuse to delete, rename or roll back NAME.")] = None,
    message: Message = "",
    as_json: AsJson = False,
) -> None:
    """Make a branch: a writable line of its own. Without a name, list them."""
    if name is None:
        with open_store(store) as opened:
            _show(opened.branches(), as_json=as_json)
        return
    with open_store(store, is_writing=True, branch=on) as opened:
        if rename is not None:
            opened.rename_branch(name, rename)
            done = f"branch {name} is now {rename}"
        elif delete:
            opened.delete_branch(name)
            done = f"branch {name} is deleted"
        elif protect is not None:
            opened.protect_branch(name, protected=protect)
            done = f"branch {name} is {'protected' if protect else 'not protected'}"
        else:
            opened.branch(name, at=find_version(opened, at), message=message)
            done = f"branch {name} is made"
        known = opened.branches()
    if as_json:
        _show(known, as_json=True)
    else:
        print_line(done)


def merge(
    store: StorePath,
    name: Annotated[str, typer.Argument(metavar="BRANCH", help="What to bring in.", autocompletion=complete_branches, show_default=False)],
    on: OnBranch = "main",
    strategy: Annotated[
        str | None, typer.Option("--strategy", metavar="ours|theirs", help="Whose cell stays where both changed it. Else that is refused.")
    ] = None,
    message: Message = "",
    as_json: AsJson = False,
) -> None:
    """Bring what another branch has changed into a branch; exit code 2 and a list if both changed the same."""
    with open_store(store, is_writing=True, branch=on) as opened:
        try:
            commit = opened.merge(name, strategy=strategy, message=message)
        except ml.MergeConflictError as error:
            if not as_json and error.conflicts is not None:
                rows = [["" if cell is None else str(plain_value(cell)) for cell in row.values()] for row in error.conflicts.to_pylist()]
                print_list(error.conflicts.column_names, rows)
            raise
    if as_json:
        print_json({"branch": on, **commit_fields(commit)})
    else:
        print_line(f"{on} is at commit {commit.id[:12]}")


def _show(branches: list[ml.Branch], *, as_json: bool) -> None:
    if as_json:
        told = [
            {
                "branch": each.name,
                "commit": None if each.head is None else each.head.id,
                "time": None if each.head is None else plain_value(each.head.time),
                "created": plain_value(each.created),
                "protected": each.is_protected,
                "message": each.message,
            }
            for each in branches
        ]
        print_json({"branches": told})
        return
    rows = []
    for each in branches:
        head = each.head
        shown = ["-", "-"] if head is None else [head.id[:12], f"{head.time:%Y-%m-%d %H:%M:%S}Z"]
        rows.append([each.name, *shown, "yes" if each.is_protected else "", each.message])
    print_list(list(COLUMNS), rows)

"""The command `mlstore`: its groups of commands put together, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

import mlstore as ml
from mlstore.cli import (
    asking,
    branching,
    consuming,
    defining,
    demo,
    forgetting,
    freshness,
    lakes,
    mirroring,
    proof,
    recovery,
    retaining,
    upkeep,
    versions,
    writing,
)
from mlstore.cli.doorway import Doorway

app = typer.Typer(
    cls=Doorway,
    name="mlstore",
    help="One file for the data of machine learning: ask it now (online), then (as of a time), and as it was (a version).",
    epilog="Start with `mlstore demo`. Every command takes --json and --help; exit codes: 0 done, 1 the job failed, 2 the call was wrong.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlstore {ml.__version__}")
        raise typer.Exit


@app.callback()
def shared(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""


COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Begin": {"demo": demo.demo, "init": defining.init, "apply": defining.apply, "catalog": defining.catalog},
    "Data": {
        "write": writing.write,
        "consume": consuming.consume,
        "online": asking.online,
        "training-set": asking.training_set,
        "read": asking.read,
    },
    "Versions": {
        "snapshot": versions.snapshot,
        "log": versions.log,
        "branch": branching.branch,
        "merge": branching.merge,
        "diff": versions.diff,
        "rollback": versions.rollback,
    },
    "Lakes": {"export": lakes.export, "import": lakes.load},
    "Proof": {"audit": proof.audit, "seal": proof.seal},
    "Copies that follow": {"clone": mirroring.clone, "push": mirroring.push, "pull": mirroring.pull, "detach": mirroring.detach},
    "The file": {
        "info": upkeep.info,
        "freshness": freshness.freshness,
        "verify": upkeep.verify,
        "optimize": upkeep.optimize,
        "compact": upkeep.compact,
        "retain": retaining.retain,
        "forget": forgetting.forget,
        "backup": upkeep.backup,
        "salvage": recovery.salvage,
        "dump": recovery.dump,
    },
}

for panel, commands in COMMANDS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)

"""Commands about what a store holds: init, apply, catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import mlstore as ml
from mlstore.cli.console import print_json, print_line, print_list
from mlstore.cli.loading import load_definitions
from mlstore.cli.opening import open_store
from mlstore.cli.options import AsJson, AtVersion, OnBranch, StorePath
from mlstore.cli.plain import plain_value

SIGNS = {"create": ("+", "green"), "evolve": ("~", "yellow"), "new_version": ("!", "magenta"), "unchanged": ("=", "dim")}


def init(store: StorePath, as_json: AsJson = False) -> None:
    """Create an empty store; an existing one is left as it is."""
    is_new = not Path(store).exists()
    with ml.open(store):
        pass
    if as_json:
        print_json({"path": store, "created": is_new})
    else:
        print_line(f"created {store}" if is_new else f"{store} is a store already")


def apply(
    store: StorePath,
    definitions: Annotated[
        Path, typer.Argument(metavar="DEFINITIONS.PY", help="A Python file that defines entities, views, tables, services.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    on: OnBranch = "main",
    as_json: AsJson = False,
) -> None:
    """Register or change definitions from a Python file: all or nothing."""
    found = load_definitions(definitions)
    with open_store(store, is_writing=not dry_run, branch=on) as opened:
        plan = opened.plan(*found) if dry_run else opened.apply(*found)
    if as_json:
        changes = [{"action": c.action, "kind": c.kind, "name": c.name, "details": [str(d) for d in c.details]} for c in plan.changes]
        print_json({"applied": not dry_run, "changes": changes})
        return
    for change in plan.changes:
        sign, color = SIGNS.get(change.action, ("?", ""))
        details = f": {'; '.join(str(detail) for detail in change.details)}" if change.details else ""
        print_line((f"{sign} {change.action.replace('_', ' '):11} ", color), f"{change.kind:7} {change.name}{details}")
    if not plan:
        print_line("nothing to change")
    elif dry_run:
        print_line("nothing was written: this is a dry run")


def catalog(
    store: StorePath,
    search: Annotated[
        str | None, typer.Argument(help="Only definitions whose name or description holds this text.", show_default=False)
    ] = None,
    tag: Annotated[
        str | None, typer.Option("--tag", metavar="KEY=VALUE", help="Only those with this tag; KEY alone: whatever its value.")
    ] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Only those of this owner.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", metavar="entity|view|window|table|service", help="Only those of this kind.")] = None,
    lineage: Annotated[bool, typer.Option("--lineage", help="Show what they are made from, and what is made from them.")] = False,
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """List and search what is defined."""
    with open_store(store, at=at) as opened:
        entries = opened.catalog(search, tag=tag, owner=owner, kind=kind)
        edges = entries.lineage.edges if lineage else ()
    if lineage and as_json:
        print_json({"edges": [_edge_fields(edge) for edge in edges]})
    elif lineage and entries:
        rows = [[str(edge.source), edge.by, ", ".join(edge.names) or "all", str(edge.target)] for edge in edges]
        print_list(["from", "by", "which", "to"], rows)
    elif as_json:
        print_json({"entries": [_entry_fields(entry) for entry in entries]})
    elif not entries:
        print_line("nothing found" if search or tag or owner or kind else "nothing is defined yet: mlstore apply STORE DEFINITIONS.PY")
    else:
        rows = [
            [e.kind, _label(e), _columns(e.definition), e.definition.owner, _tags(e.definition), e.definition.description] for e in entries
        ]
        print_list(["kind", "name", "columns", "owner", "tags", "description"], rows)


def _edge_fields(edge: ml.Edge) -> dict[str, Any]:
    return {"from": edge.source._asdict(), "to": edge.target._asdict(), "by": edge.by, "names": list(edge.names)}


def _entry_fields(entry: ml.CatalogEntry) -> dict[str, Any]:
    definition = entry.definition
    return {
        "kind": entry.kind,
        "name": entry.name,
        "version": entry.version,
        "created": plain_value(entry.created),
        "description": definition.description,
        "owner": definition.owner,
        "tags": dict(definition.tags),
        "columns": _typed_columns(definition),
    }


def _label(entry: ml.CatalogEntry) -> str:
    return entry.name if entry.version == 1 else f"{entry.name}@{entry.version}"


def _typed_columns(definition: Any) -> dict[str, str] | list[str]:
    if isinstance(definition, ml.FeatureService):
        return [str(feature) for feature in definition.features]
    if isinstance(definition, ml.WindowView):
        return list(definition.output_names)
    schema = definition.keys if isinstance(definition, ml.Entity) else definition.schema
    return {name: str(dtype) for name, dtype in schema.items()}


def _columns(definition: Any) -> str:
    columns = _typed_columns(definition)
    return ", ".join(columns)


def _tags(definition: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in dict(definition.tags).items())

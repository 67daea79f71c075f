"""The columns a definition declares, as Arrow types: what text files and words of the command line are read as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

import mlstore as ml

Types = dict[str, pa.DataType]


def table_types(store: ml.Store, name: str) -> Types:
    """Every column of a view or table, in the order `read` shows them: keys, event time, created, values."""
    definition = find_relation(store, name)
    if isinstance(definition, ml.Table):
        return _row_types(definition)
    instant = pa.timestamp(definition.time_unit, "UTC")
    types = view_key_types(store, definition)
    types[definition.timestamp] = instant
    types[definition.created_timestamp or "created"] = instant
    return types | _arrow_types(definition.schema)


def key_types(store: ml.Store, features: Iterable[str]) -> Types:
    """The key columns that these features, or this service, are asked by."""
    types: Types = {}
    for reference in features:
        name = reference.partition(":")[0]
        service = find_service(store, name)
        if service is not None:
            types |= key_types(store, service.references)
        else:
            definition = find_relation(store, name)
            if isinstance(definition, ml.FeatureView):
                types |= view_key_types(store, definition)
    return types


def view_key_types(store: ml.Store, view: ml.FeatureView) -> Types:
    """The key columns of one view; none for a global one."""
    if view.entity_name is None:
        return {}
    entity = next(entry.definition for entry in reversed(store.catalog(kind="entity")) if entry.name == view.entity_name)
    return _arrow_types(entity.keys)


def find_relation(store: ml.Store, name: str) -> ml.FeatureView | ml.Table:
    """The definition of a view or table, `weather` (the newest) or `weather@2`."""
    bare, _, version = name.partition("@")
    entries = [entry for entry in store.catalog() if entry.kind in ("view", "table") and entry.name == bare]
    chosen = [entry for entry in entries if version in ("", str(entry.version))]
    if not chosen:
        known = sorted({entry.name for entry in store.catalog() if entry.kind in ("view", "table")})
        raise ml.UnknownNameError(
            f"no view or table {name!r}", hint=f"there is {', '.join(known)}" if known else "`mlstore apply` registers definitions"
        )
    return max(chosen, key=lambda entry: entry.version).definition


def find_service(store: ml.Store, name: str) -> ml.FeatureService | None:
    """The newest feature service of that name."""
    entries = [entry for entry in store.catalog(kind="service") if entry.name == name]
    return max(entries, key=lambda entry: entry.version).definition if entries else None


def _row_types(table: ml.Table) -> Types:
    types = _arrow_types(table.schema)
    for name in (table.timestamp, table.created_timestamp):
        if name is not None:
            types[name] = pa.timestamp(table.time_unit, "UTC")
    return types


def _arrow_types(schema: Mapping[str, ml.DType]) -> Types:
    return {name: dtype.arrow for name, dtype in schema.items()}

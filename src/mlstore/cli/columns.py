"""The columns a definition declares, as Arrow types: what text files and words of the command line are read as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

import pyarrow as pa

import mlstore as ml

Types = dict[str, pa.DataType]


def table_types(store: ml.Store, name: str) -> Types:
    """Every column of a view or table, in the order `read` shows them: keys, event time, created, values."""
    definition = find_relation(store, name)
    if isinstance(definition, ml.Table):
        return _row_types(definition)
    if isinstance(definition, ml.WindowView):
        return view_key_types(store, definition)  # no rows: what they are asked for says so
    instant = pa.timestamp(definition.time_unit, "UTC")
    types = view_key_types(store, definition)
    types[definition.timestamp] = instant
    types[definition.created_timestamp or "created"] = instant
    return types | _arrow_types(definition.schema)


def key_types(store: ml.Store, features: Iterable[str]) -> Types:
    """The key columns that these features, or this service, are asked by."""
    types: Types = {}
    for text in features:
        reference = ml.ref(text)
        service = find_service(store, text)
        if service is not None:
            types |= key_types(store, service.references)
            continue
        definition = find_relation(store, reference.view if reference.version is None else f"{reference.view}@{reference.version}")
        if isinstance(definition, ml.FeatureView | ml.WindowView):
            columns = dict(reference.keys)
            types |= {columns.get(key, key): arrow for key, arrow in view_key_types(store, definition).items()}
    return types


def view_key_types(store: ml.Store, view: ml.FeatureView | ml.WindowView) -> Types:
    """The key columns of one view; none for a global one."""
    for entry in store.catalog(kind="entity"):
        if entry.name == view.entity_name and isinstance(entry.definition, ml.Entity):
            return _arrow_types(entry.definition.keys)
    return {}


def entity_key_types(store: ml.Store, name: str) -> Types:
    """The key columns of an entity, or of a table."""
    for entry in store.catalog(kind="entity"):
        if entry.name == name and isinstance(entry.definition, ml.Entity):
            return _arrow_types(entry.definition.keys)
    tables = {entry.name: entry.definition for entry in store.catalog(kind="table") if isinstance(entry.definition, ml.Table)}
    if name not in tables:
        known = sorted({*tables, *(entry.name for entry in store.catalog(kind="entity"))})
        raise ml.UnknownNameError(
            f"no entity or table {name!r}", hint=f"there is {', '.join(known[:10])}" if known else "there is none yet"
        )
    return {column: tables[name].schema[column].arrow for column in tables[name].key}


def find_relation(store: ml.Store, name: str) -> ml.FeatureView | ml.WindowView | ml.Table:
    """The definition of a view or table, `weather` (the newest) or `weather@2`."""
    bare, _, version = name.partition("@")
    known = {}
    for entry in store.catalog():
        if isinstance(entry.definition, ml.FeatureView | ml.WindowView | ml.Table):
            known[entry.name, str(entry.version)] = entry.definition
    versions = [int(found) for other, found in known if other == bare and version in ("", found)]
    if not versions:
        close = get_close_matches(bare, [other for other, _ in known], n=1)
        names = ", ".join(sorted({other for other, _ in known})[:10])
        hint = f"did you mean {close[0]!r}?" if close else f"there is {names}" if names else "`mlstore apply` registers definitions"
        raise ml.UnknownNameError(f"no view or table {name!r}", hint=hint)
    return known[bare, str(max(versions))]


def find_service(store: ml.Store, name: str) -> ml.FeatureService | None:
    """The newest feature service of that name, or the version asked for, `model@2`."""
    bare, _, version = name.partition("@")
    newest = None
    for entry in store.catalog(kind="service"):  # in order of version
        if entry.name == bare and version in ("", str(entry.version)) and isinstance(entry.definition, ml.FeatureService):
            newest = entry.definition
    return newest


def _row_types(table: ml.Table) -> Types:
    types = _arrow_types(table.schema)
    for name in (table.timestamp, table.created_timestamp):
        if name is not None:
            types[name] = pa.timestamp(table.time_unit, "UTC")
    return types


def _arrow_types(schema: Mapping[str, ml.DType]) -> Types:
    return {name: dtype.arrow for name, dtype in schema.items()}

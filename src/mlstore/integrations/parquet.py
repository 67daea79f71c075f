"""Parquet datasets: a store's rows and definitions as a folder of files that anything can read, and such folders as rows of a store."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import mlstore as ml

_MANIFEST = "mlstore.json"
_ROWS_PER_GROUP = 1 << 20


def export(store: ml.Store, folder: Path | str, *, tables: Sequence[str] | None = None) -> dict[str, int]:
    """Write one version of a store as a folder: `<view or table>/part-0.parquet` (zstd), and `mlstore.json` with the definitions.

    The folder appears whole or not at all. Rows are streamed. What a view knows of when its rows became known is a column
    (`created`); it is taken back by `load` only where the view declares it (`created_timestamp=`).

    Parameters
    ----------
    store
        All tables are of the version it shows: `store.at("v1")` for another.
    folder
        New, or empty.
    tables
        Which views and tables; all that hold rows unless given.

    Returns
    -------
    dict
        Rows written, by view or table.

    Raises
    ------
    AlreadyExistsError
        There is something in the folder.
    UnknownNameError

    Examples
    --------
    >>> import tempfile
    >>> import mlstore as ml
    >>> from mlstore.integrations import parquet
    >>> store = ml.open(":memory:")
    >>> _ = store.apply(ml.Table("orders", schema={"order": ml.int64, "amount": ml.float64}, key="order"))
    >>> _ = store.write("orders", {"order": [1, 2], "amount": [9.5, 3.0]})
    >>> folder = tempfile.mkdtemp()
    >>> parquet.export(store, folder)
    {'orders': 2}
    >>> parquet.load(ml.open(":memory:"), folder)
    {'orders': 2}
    """
    version = store.info()["version"]
    shown = store.at(version)
    entries = sorted(shown.catalog(), key=lambda entry: entry.seq)
    labels = [entry.label for entry in entries if entry.kind in ("view", "table")] if tables is None else list(tables)
    rows = {}
    with _appearing(Path(folder)) as target:
        for label in labels:
            (target / label).mkdir()
            rows[label] = _write_file(shown.read(label), target / label / "part-0.parquet")
        told = {
            "mlstore": ml.__version__,
            "commit": version,
            "definitions": [ml.to_record(entry.definition) for entry in entries],
            "tables": rows,
        }
        (target / _MANIFEST).write_text(json.dumps(told, indent=1))
    return rows


def load(store: ml.Store, folder: Path | str, *, into: str | None = None, message: str = "", author: str = "") -> dict[str, int]:
    """Write what a folder of Parquet files holds; a commit for each table, streamed.

    Parameters
    ----------
    store
        Where to.
    folder
        What `export` wrote: its definitions are applied first. With `into`, any Parquet file or dataset, `name=value` folders included.
    into
        The view or table that takes the rows; columns it does not have are left out.

    Returns
    -------
    dict
        Rows written, by view or table.

    Raises
    ------
    NotAStoreError
        Without `into`: `export` did not write this folder.
    AlreadyExistsError
        Without `into`: a table of that name holds rows already.
    SchemaMismatchError, InvalidDataError
        The rows do not fit.
    """
    place = Path(folder)
    if not place.exists():
        raise ml.StoreError(f"{place} does not exist", hint="check the path")
    if into is not None:
        return {into: _write_table(store, place, into, message=message, author=author)}
    manifest = _manifest(place)
    filled = [table["name"] for table in store.info()["tables"] if table["rows"] and table["name"] in manifest["tables"]]
    if filled:
        raise ml.AlreadyExistsError(
            f"{filled[0]!r} holds rows already", hint=f"load into a new store, or give into={filled[0]!r} to add to them"
        )
    store.apply(*map(ml.from_record, manifest["definitions"]), message=message, author=author)
    return {name: _write_table(store, place / name, name, message=message, author=author) for name in manifest["tables"]}


def _write_file(rows: ml.Rows, path: Path) -> int:
    count = 0
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as file:
        for batch in rows.batches():
            file.write_batch(batch, row_group_size=_ROWS_PER_GROUP)
            count += batch.num_rows
    return count


def _write_table(store: ml.Store, place: Path, into: str, *, message: str, author: str) -> int:
    try:
        dataset = ds.dataset(place, format="parquet", partitioning="hive")
    except (pa.ArrowException, OSError) as cause:
        raise ml.InvalidDataError(f"{place} is no Parquet dataset: {cause}", hint="name a Parquet file, or a folder of them") from cause
    commit = store.write(into, scan(store, into, dataset), message=message or f"load {place}", author=author)
    return sum(change.rows for change in commit.changes)


def scan(store: ml.Store, name: str, dataset: ds.Dataset) -> pa.RecordBatchReader:
    """The rows of a dataset with those columns that a view or table is written with."""
    wanted = {}
    for field in _written_fields(store, name):
        if field.name in dataset.schema.names:
            # Lakes without unsigned integers hold those of 64 bits as decimals.
            is_wide = pa.types.is_decimal(dataset.schema.field(field.name).type) and pa.types.is_integer(field.type)
            wanted[field.name] = pc.field(field.name).cast(field.type) if is_wide else pc.field(field.name)
    return dataset.scanner(columns=wanted).to_reader()


def _written_fields(store: ml.Store, name: str) -> list[pa.Field]:
    """Those it is read with, but for the time of writing that a view keeps by itself."""
    schema = store.read(name).schema
    definition = next(entry.definition for entry in store.catalog() if name in (entry.label, f"{entry.name}@{entry.version}"))
    if isinstance(definition, ml.FeatureView) and definition.created_timestamp is None:
        return list(schema.remove(schema.get_field_index(definition.timestamp) + 1))
    return list(schema)


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder that gets its name once it is full."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ml.AlreadyExistsError(f"{target} is there already, and not empty", hint="name a new folder")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _manifest(place: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads((place / _MANIFEST).read_text())
        if isinstance(found["definitions"], list) and isinstance(found["tables"], dict):
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ml.NotAStoreError(
        f"{place} has no {_MANIFEST} that tells its definitions", hint="give into= to load its rows into a table of yours"
    )

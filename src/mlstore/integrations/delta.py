"""Delta Lake tables: the versions of a view or table as versions of a Delta table, and the versions of a Delta table as commits.

Delta has no branches, no unsigned integers, no vectors and no other clock than microseconds: what it lacks travels as what it has,
and comes back as what the view or table declares.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import deltalake
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake.exceptions import DeltaError, TableNotFoundError

import mlstore as ml
from mlstore.integrations.parquet import scan

_COMMIT, _VERSION = "mlstore.commit", "mlstore.version"
_WIDER = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.decimal128(20, 0)}

Versions = Literal["newest", "all"]
Mode = Literal["append", "overwrite"]


def export(store: ml.Store, name: str, path: Path | str, *, versions: Sequence[str] | None = None) -> int:
    """Write versions of a view or table as versions of a Delta table, oldest first. Run again, it goes on after the last one written.

    A version that only adds rows to the one before is an append; any other replaces the whole table. Each Delta commit tells the mlstore
    commit it shows (`mlstore.commit`, `mlstore.version` in its metadata), and is made once: Delta's own transaction number is the commit's.

    Parameters
    ----------
    store
        Where from.
    name
        The view or table.
    path
        The folder of the Delta table; made if it is not there.
    versions
        Snapshots or commit ids; unless given, the snapshots that know the table, then the newest commit.

    Returns
    -------
    int
        How many Delta versions were written.

    Raises
    ------
    UsageError
        The folder holds a Delta table that was not exported from this view or table.
    InvalidDataError
        Values that Delta cannot hold, such as times between two microseconds.
    """
    store.read(name)  # what has no rows, or is not known, is refused
    application = f"mlstore:{store.history()[-1].id}:{name}"
    shown = _versions_of(store, name) if versions is None else [(version, _commit_of(store, version)) for version in versions]
    done, last = _exported(path, application)
    written = 0
    for version, commit in sorted(shown, key=lambda each: each[1].seq):
        if commit.seq <= done:
            continue
        added = _only_added(store, name, last, commit)
        if added is None or added.num_rows:
            rows = store.at(commit).read(name) if added is None else added
            _write_version(path, rows, application, version, commit, mode="overwrite" if added is None else "append")
            written, last = written + 1, commit.id
    return written


def load(
    store: ml.Store, path: Path | str, *, into: str, versions: Versions = "newest", message: str = "", author: str = ""
) -> list[ml.Commit]:
    """Write the rows of a Delta table into a view or table, streamed: its newest version, or each version as a commit of its own.

    Of "all" versions, one that only adds files adds their rows; any other replaces the rows, in one commit, which must fit in memory.
    Versions that only reorganise files are passed over, and so are those that Delta has vacuumed or cleaned up.

    Returns
    -------
    list of Commit
        A commit for each version, oldest first; its message names the version.

    Raises
    ------
    NotAStoreError
        There is no Delta table.
    UsageError
        "all" versions into a table that holds rows already.
    SchemaMismatchError, InvalidDataError
        The rows do not fit.
    """
    newest = _open(path)
    if newest is None:
        raise ml.NotAStoreError(f"{path} is no Delta table", hint="name the folder that holds its _delta_log")
    if versions == "newest":
        return [_append(store, into, _dataset_of(newest), message or f"Delta version {newest.version()}", author)]
    if any(table["rows"] for table in store.info()["tables"] if table["name"] == into):
        raise ml.UsageError(
            f"{into!r} holds rows already, which the versions of {path} are not about", hint="load them into an empty table"
        )
    commits: list[ml.Commit] = []
    held: set[str] = set()
    for record in sorted(newest.history(), key=lambda record: int(record["version"])):
        version = int(record["version"])
        table = _open(path, version)
        files = set() if table is None else set(table.file_uris())
        if table is None or files == held or not _are_there(dataset := _dataset_of(table)):
            continue
        if record["operation"] != "OPTIMIZE" or not held:
            told = message or f"Delta version {version}"
            if held <= files:
                commits.append(_append(store, into, _only(dataset, files - held), told, author))
            else:
                commits.append(_replace(store, into, dataset, told, author))
        held = files
    return commits


# ---------------------------------------------------------------- going out


def _versions_of(store: ml.Store, name: str) -> list[tuple[str, ml.Commit]]:
    """The snapshots that know a view or table, and the newest commit, oldest first; each with its name, "" for none."""
    named = {commit: tag for tag, commit in store.info()["snapshots"].items()}
    newest = store.history(limit=1)[0].id
    shown = [(named.get(commit.id, ""), commit) for commit in store.history() if commit.id in named or commit.id == newest]
    return [(tag, commit) for tag, commit in reversed(shown) if _knows(store.at(commit), name)]


def _commit_of(store: ml.Store, version: str) -> ml.Commit:
    return store.at(version).history(limit=1)[0]


def _knows(shown: ml.Store, name: str) -> bool:
    return any(name in (entry.label, f"{entry.name}@{entry.version}") for entry in shown.catalog())


def _exported(path: Path | str, application: str) -> tuple[int, str | None]:
    """The seq and the id of the last commit that was exported to a Delta table: -1 and None for a new one."""
    table = _open(path)
    if table is None:
        return -1, None
    seq = table.transaction_version(application)
    if seq is None:
        raise ml.UsageError(
            f"{path} is a Delta table that does not come from this store's {application.split(':')[-1]!r}", hint="name a new folder"
        )
    return seq, next((record[_COMMIT] for record in table.history() if _COMMIT in record), None)


def _only_added(store: ml.Store, name: str, before: str | None, after: ml.Commit) -> pa.Table | None:
    """The rows added since, if nothing else has changed; None: it has, or nothing is known of what was."""
    if before is None:
        return None
    try:
        changes = store.diff(before, after, table=name)
    except ml.UnknownVersionError:
        return None  # `retain` has let it go
    if changes.definitions:
        return None
    if not changes:
        return pa.table({})
    table = changes[name]
    return None if table.removed.num_rows or table.changed.num_rows else table.added


def _write_version(path: Path | str, rows: ml.Rows | pa.Table, application: str, version: str, commit: ml.Commit, *, mode: Mode) -> None:
    told = {_COMMIT: commit.id, _VERSION: version, "userName": commit.author, "userMetadata": commit.message}
    unfit: list[pa.ArrowInvalid] = []  # an error that passes through deltalake comes out as text
    try:
        deltalake.write_deltalake(
            path,
            _as_delta(rows, unfit),
            mode=mode,
            schema_mode="overwrite" if mode == "overwrite" else None,
            commit_properties=deltalake.CommitProperties(told, app_transactions=[deltalake.Transaction(application, commit.seq)]),
        )
    except DeltaError as cause:
        if unfit:
            raise ml.InvalidDataError(
                f"Delta cannot hold a value of {commit.id[:12]}: {unfit[0]}", hint="export to Parquet instead"
            ) from cause
        raise ml.StoreError(f"{path}: {cause}", hint="export again goes on after the last version that was written") from cause


def _as_delta(rows: ml.Rows | pa.Table, unfit: list[pa.ArrowInvalid]) -> pa.RecordBatchReader:
    """The rows in the types that Delta has; a value that is none there is added to `unfit`, and ends them."""
    schema = pa.schema([field.with_type(_delta_type(field.type)) for field in rows.schema])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows.batches():
            try:
                yield batch.cast(schema)
            except pa.ArrowInvalid as error:
                unfit.append(error)
                raise

    return pa.RecordBatchReader.from_batches(schema, batches())


def _delta_type(arrow: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(arrow):
        return pa.timestamp("us", arrow.tz)
    if pa.types.is_fixed_size_list(arrow) or pa.types.is_list(arrow):
        return pa.list_(_delta_type(arrow.value_type))
    if pa.types.is_struct(arrow):
        return pa.struct([field.with_type(_delta_type(field.type)) for field in arrow])
    if pa.types.is_map(arrow):
        return pa.map_(_delta_type(arrow.key_type), _delta_type(arrow.item_type))
    return _WIDER.get(arrow, arrow)


# ---------------------------------------------------------------- coming in


def _open(path: Path | str, version: int | None = None) -> deltalake.DeltaTable | None:
    """The table; None: there is none, or, of an old version, no more."""
    try:
        return deltalake.DeltaTable(path, version=version)
    except TableNotFoundError:
        return None
    except DeltaError as cause:
        if version is not None:
            return None
        raise ml.StoreError(f"{path}: {cause}", hint="check the table with the tools of Delta Lake") from cause


def _dataset_of(table: deltalake.DeltaTable) -> ds.FileSystemDataset:
    try:
        return table.to_pyarrow_dataset()
    except DeltaError as cause:
        raise ml.StoreError(f"the Delta table cannot be read: {cause}", hint="rewrite it without the feature it names") from cause


def _are_there(dataset: ds.FileSystemDataset) -> bool:
    infos = dataset.filesystem.get_file_info([fragment.path for fragment in dataset.get_fragments()])
    return all(info.is_file for info in infos)


def _only(dataset: ds.FileSystemDataset, files: Collection[str]) -> ds.FileSystemDataset:
    """The part of a dataset that lies in some files, which are told by longer paths; names of data files are unique."""
    names = {PurePosixPath(file).name for file in files}
    fragments = [fragment for fragment in dataset.get_fragments() if PurePosixPath(fragment.path).name in names]
    return ds.FileSystemDataset(fragments, dataset.schema, dataset.format, dataset.filesystem)


def _append(store: ml.Store, into: str, dataset: ds.Dataset, message: str, author: str) -> ml.Commit:
    return store.write(into, scan(store, into, dataset), message=message, author=author)


def _replace(store: ml.Store, into: str, dataset: ds.Dataset, message: str, author: str) -> ml.Commit:
    with store.transaction(message=message, author=author) as step:
        step.delete(into, where=ml.lit(value=True))
        step.write(into, scan(store, into, dataset))
    return store.history(limit=1)[0]

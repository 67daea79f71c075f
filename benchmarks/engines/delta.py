"""Delta Lake through delta-rs: one table; a version for each write, whose number stands for its name, an upsert by MERGE."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake


class Engine:
    """A table in a folder. Delta has no names for versions: a snapshot is a number remembered here, which costs nothing."""

    version = f"deltalake {version('deltalake')}"
    bears_many = True

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "readings")
        self._names: dict[str | None, int | None] = {None: None}

    def begin(self, table: pa.Table) -> None:
        write_deltalake(self._path, table)
        self.reopen()

    def append(self, table: pa.Table) -> None:
        write_deltalake(self._table, table, mode="append")

    def upsert(self, table: pa.Table) -> None:
        matched = "old.event_timestamp = new.event_timestamp and old.entity = new.entity"
        merge = self._table.merge(table, predicate=matched, source_alias="new", target_alias="old")
        merge.when_matched_update_all().when_not_matched_insert_all().execute()

    def snapshot(self, name: str) -> None:
        self._names[name] = self._table.version()

    def read_version(self, name: str | None, columns: Sequence[str], span: tuple[int, int] | None = None) -> pa.Table:
        table = self._table if name is None else DeltaTable(self._path, version=self._names[name])
        filters = None
        if span is not None:
            start, end = (pa.scalar(time, pa.timestamp("us", "UTC")).as_py() for time in span)
            filters = [("event_timestamp", ">=", start), ("event_timestamp", "<", end)]
        return table.to_pyarrow_table(columns=list(columns), filters=filters)

    def reopen(self) -> None:
        self._table = DeltaTable(self._path)

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in Path(self._path).rglob("*") if path.is_file())

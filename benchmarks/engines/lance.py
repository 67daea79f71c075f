"""Lance: one dataset; a version for each write, tags for their names, an upsert by merge_insert on entity and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.compute as pc

KEYS = ["entity", "event_timestamp"]


class Engine:
    """A dataset in a folder. Lance does not promise that a write is on the disk when it returns."""

    version = f"lance {lance.__version__}"
    bears_many = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "readings.lance"

    def begin(self, table: pa.Table) -> None:
        self._dataset = lance.write_dataset(table, self._folder)

    def append(self, table: pa.Table) -> None:
        self._dataset = lance.write_dataset(table, self._dataset, mode="append")

    def upsert(self, table: pa.Table) -> None:
        self._dataset.merge_insert(KEYS).when_matched_update_all().when_not_matched_insert_all().execute(table)

    def snapshot(self, name: str) -> None:
        self._dataset.tags.create(name, self._dataset.version)

    def read_version(self, name: str | None, columns: Sequence[str], span: tuple[int, int] | None = None) -> pa.Table:
        dataset = self._dataset if name is None else self._dataset.checkout_version(name)
        if span is None:
            return dataset.to_table(columns=list(columns))
        start, end = (pa.scalar(time, pa.timestamp("us", "UTC")) for time in span)
        time = pc.field("event_timestamp")
        return dataset.to_table(columns=list(columns), filter=(time >= start) & (time < end))

    def reopen(self) -> None:
        self._dataset = lance.dataset(self._folder)

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())

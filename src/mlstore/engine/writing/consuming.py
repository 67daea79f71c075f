"""Consuming: events fetched from a source outside, each written exactly once, however often the process is killed.

Invariant: the position behind some events is stored by the transaction that stores their rows. A source may give events again, and does.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.session import Session
from mlstore.engine.writing import upkeep
from mlstore.engine.writing.appending import take_together
from mlstore.engine.writing.batch import Mode
from mlstore.engine.writing.consumers import ConsumerState, Position, Progress, find_progress
from mlstore.engine.writing.ingest import write_packed
from mlstore.engine.writing.packing import Entry, Packed
from mlstore.errors import InvalidDataError, MlstoreError, SchemaMismatchError, UsageError
from mlstore.schema.declarations import check_name


@dataclass(frozen=True, slots=True)
class Refused:
    """Something from a source that cannot be stored: what it was, why, and the position behind the batch it came with."""

    row: Any
    error: MlstoreError
    position: Position


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """Rows from a source (a list of dicts, or whatever else `Store.write` takes) and the source's position behind them.

    unreadable: what lay among them and is no row, each with the reason.
    """

    rows: Any
    position: Position
    unreadable: Sequence[tuple[Any, MlstoreError]] = ()


@runtime_checkable
class Source(Protocol):
    """Where events come from, and come from again, behind any position that the source once gave."""

    def batches(self, position: Position, *, max_rows: int, max_seconds: float) -> Iterator[SourceBatch]:
        """The events behind a position (None: all), a batch as soon as `max_rows` or `max_seconds` have come together.

        A source that waits for more gives what it has, or an empty batch, every `max_seconds`: between batches its consumer can be stopped.
        """


@dataclass(frozen=True, slots=True)
class Pull:
    """How a consumer fetches; see Store.consume."""

    mode: Mode
    max_rows: int
    max_seconds: float
    limit: int | None
    refuse: Callable[[Refused], None] | None
    should_stop: Callable[[], bool] | None
    author: str
    message: str

    def __post_init__(self) -> None:
        if not 0 < self.max_rows < limits.BATCH_ROWS or self.max_seconds < 0:
            hint = f"take 1 to {limits.BATCH_ROWS - 1} rows, and 0 or more seconds"
            raise UsageError(f"max_rows={self.max_rows}, max_seconds={self.max_seconds}", hint=hint)

    def is_over(self, rows: int) -> bool:
        return (self.limit is not None and rows >= self.limit) or (self.should_stop is not None and self.should_stop())


def consume(session: Session, name: str, table: str, source: Source | Iterable[Any], pull: Pull) -> ConsumerState:
    """Fetch and write until the source ends or is to stop; see Store.consume."""
    session.require_outside("consuming")
    check_name(name, "consumer")
    fetch = source if isinstance(source, Source) else _Items(source)
    with session.writing() as context:  # refuses at once if this handle may not write
        relation = context.catalog.stored(table, doing="consume into")
        progress = find_progress(context, relation, name)
    rows_before, label = progress.rows, relation.label
    for batch in fetch.batches(progress.position, max_rows=pull.max_rows, max_seconds=pull.max_seconds):
        if batch.position != progress.position:
            progress = _store(session, label, progress, batch, pull)
        if pull.is_over(progress.rows - rows_before):
            break
    return progress.shown(label)


def _store(session: Session, label: str, progress: Progress, batch: SourceBatch, pull: Pull) -> Progress:
    """One commit: the rows that fit, and the position behind the batch."""
    while True:
        with session.reading() as reading:
            relation = reading.catalog.stored(label, doing="consume into")
        rows, refused = _sift(relation, batch)
        # Told before the commit that passes over them: after a crash perhaps again, but never not at all.
        for refusal in refused:
            if pull.refuse is None:
                raise refusal.error
            pull.refuse(refusal)
        with session.writing() as context:
            if not context.catalog.stored(label, doing="consume into").is_same(relation):
                continue  # it has evolved since the rows were made to fit
            changes = [] if rows is None else [write_packed(context, relation, rows, pull.mode)]
            written = sum(change.rows for change in changes)
            progress = progress.advance(context, batch.position, rows=written, refused=len(refused))
            owed = upkeep.run(context, relation, written)
            context.commit(*changes, author=pull.author, message=pull.message or f"consumer {progress.name}")
        upkeep.pay(session, relation, owed)
        return progress


def _sift(relation: Relation, batch: SourceBatch) -> tuple[Packed | None, list[Refused]]:
    """The rows of a batch that fit (None: none at all), and what does not."""
    refused = [Refused(row, error, batch.position) for row, error in batch.unreadable]
    fitting = _fit(relation, batch.rows, batch.position, refused)
    return (Packed(relation, fitting) if fitting else None), refused


def _fit(relation: Relation, rows: Any, position: Position, refused: list[Refused]) -> list[Entry]:
    """The rows made to fit; where some do not, by halves, until those are alone."""
    try:
        return take_together(relation, rows).entries
    except (InvalidDataError, SchemaMismatchError) as error:
        halves = _halves(rows)
        if not halves:
            refused.append(Refused(rows[0] if isinstance(rows, list) else rows, error, position))
    return [entry for half in halves for entry in _fit(relation, half, position, refused)]


def _halves(rows: Any) -> tuple[Any, ...]:
    """Two parts of some rows; none of what is a single row, or cannot be cut."""
    if isinstance(rows, list) and len(rows) > 1:
        return rows[: len(rows) // 2], rows[len(rows) // 2 :]
    if isinstance(rows, pa.Table | pa.RecordBatch) and rows.num_rows > 1:
        return rows.slice(0, rows.num_rows // 2), rows.slice(rows.num_rows // 2)
    return ()


class _Items:
    """Any iterable as a source: of rows (dicts), of batches of rows, or of None, which says that nothing is there at present.

    Its position is the number of items taken. It must give the same items again.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items

    def batches(self, position: Position, *, max_rows: int, max_seconds: float) -> Iterator[SourceBatch]:
        taken = 0 if position is None else int(position)
        rows: list[Any] = []
        due = 0.0
        for item in islice(self._items, taken, None):
            is_row = isinstance(item, Mapping)
            if rows and (not is_row or len(rows) >= max_rows or time.monotonic() >= due):
                yield SourceBatch(rows, taken)
                rows = []
            taken += 1
            if is_row:
                due = due if rows else time.monotonic() + max_seconds
                rows.append(item)
            else:
                yield SourceBatch([] if item is None else item, taken)
        if rows:
            yield SourceBatch(rows, taken)

"""Staging: segments of a bulk load written ahead in transactions of bounded size, seen by nobody until published.

The owner holds a lease on each staged segment. Whatever is staged and not leased belongs to a load that died: it is swept.
A load that fits one transaction is staged in memory only, and written by the transaction that publishes it. A larger one is written
by a thread of its own, so that the disk works while the next columns are sorted.
"""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Lock
from types import TracebackType

from mlstore.engine import limits
from mlstore.engine.history.extents import drop_extents, put_extent
from mlstore.engine.session import Session
from mlstore.engine.versions import commit_time, take_numbers
from mlstore.format.manifest import SegmentEntry
from mlstore.format.packed import FixedFields
from mlstore.format.segment import Bytes
from mlstore.storage.keyspace import declare
from mlstore.storage.lease import Lease
from mlstore.storage.transaction import Writer

STAGED = declare("staged")

Extent = tuple[int, int, Bytes]  # segment (its own number), extent, value

_SEGMENT = FixedFields(">Q")


class Stage:
    """The segments of one bulk load, by numbers of its own until they reach the file; given up at exit unless published."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: list[Extent] = []
        self._waiting_bytes = 0
        self._numbers: dict[int, int] = {}  # own number -> number in the file
        self._written_ahead: list[int] = []  # numbers that are in the file; those of a failed transaction are anybody's again
        self._leases: list[Lease | None] = []
        self._runs: list[list[SegmentEntry]] = []
        self._is_published = False
        self._scribe: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None
        self._lock = Lock()
        self.next_segment = 0
        self.now_us = 0

    def __enter__(self) -> "Stage":
        with self._session.reading() as context:
            self.now_us = commit_time(context.reader, self._session.clock_us())
            is_littered = next(iter(context.reader.scan(STAGED)), None) is not None
        if is_littered:
            with self._session.writing() as context:
                sweep(context.writer)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._scribe is not None:
            self._scribe.shutdown(wait=True)
        if not self._is_published and self._written_ahead:
            with self._session.writing() as context:
                _give_up(context.writer, self._written_ahead)
        self._leases.clear()

    def put(self, segment: int, extent: int, value: Bytes) -> None:
        """Take an extent; from any thread."""
        with self._lock:
            self._waiting.append((segment, extent, value))
            self._waiting_bytes += value.size
            # Within a transaction nobody else can write ahead: all waits in memory until it is published.
            if self._waiting_bytes >= limits.STAGE_BYTES and self._session.lends:
                self._begin_writing()

    def _begin_writing(self) -> None:
        self.settle()
        self._scribe = self._scribe or ThreadPoolExecutor(1, "mlstore-stage")
        self._writing = self._scribe.submit(self._write_ahead, self._waiting)
        self._waiting, self._waiting_bytes = [], 0

    def add_run(self, entries: list[SegmentEntry]) -> None:
        self._runs.append(entries)
        self.next_segment += len(entries)

    def publish(self, writer: Writer) -> list[list[SegmentEntry]]:
        """Write what still waits, and hand all over to this transaction: the entries with their numbers in the file."""
        self._place(writer, self._waiting)
        for number in self._written_ahead:
            writer.delete(STAGED, _SEGMENT.pack(number))
        writer.on_commit(self._mark_published)
        first_run = take_numbers(writer, "run", max(1, len(self._runs)))
        return [
            [replace(entry, segment=self._numbers[entry.segment], run=run) for entry in entries]
            for run, entries in enumerate(self._runs, first_run)
        ]

    def _mark_published(self) -> None:
        self._is_published = True

    def settle(self) -> None:
        """Wait until all that was written ahead has reached the disk: before the transaction that publishes it."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write_ahead(self, extents: list[Extent]) -> None:
        """In the thread of its own: one transaction of staged extents."""
        with self._session.writing() as context:
            new = self._place(context.writer, extents)
            for number in new:
                context.writer.put(STAGED, _SEGMENT.pack(number), b"")
                self._leases.append(context.writer.leases.acquire(number))
        self._written_ahead += new

    def _place(self, writer: Writer, extents: list[Extent]) -> list[int]:
        """Put extents under their segments' numbers in the file; the numbers newly given."""
        new = sorted({segment for segment, _, _ in extents} - self._numbers.keys())
        first = take_numbers(writer, "segment", len(new)) if new else 0
        self._numbers.update(zip(new, range(first, first + len(new)), strict=True))
        for segment, extent, value in extents:
            put_extent(writer, self._numbers[segment], extent, value)
        return list(range(first, first + len(new)))


def sweep(writer: Writer) -> int:
    """Remove what loads left behind whose process is gone; how many segments."""
    if not writer.leases.is_supported:
        return 0  # nobody can tell a load under way from one that died
    staged = [_SEGMENT.unpack(key)[0] for key, _ in writer.scan(STAGED)]
    with writer.leases.collecting(staged) as abandoned:
        _give_up(writer, abandoned)
        return len(abandoned)


def _give_up(writer: Writer, segments: Iterable[int]) -> None:
    for segment in segments:
        drop_extents(writer, segment)
        writer.delete(STAGED, _SEGMENT.pack(segment))

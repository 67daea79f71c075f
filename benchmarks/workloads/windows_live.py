"""Live windows: events come in, one by one and by the thousand, and sixteen windows of a key are asked for meanwhile and afterwards.

Every event is on the disk when its group or batch returns. The windows are those of `windows`. Redis keeps counters per tile of five
minutes, an hour and a day, so its windows move in steps of five minutes; the answers that are compared are asked for at a full five
minutes, where that is no difference. What is asked of keys with few and many events is asked after all was written.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from benchmarks.events import AMOUNT, DAY_US, OUTPUTS, SPAN_US, Events
from benchmarks.history import CLOCK, EPOCH_US, KEY, TIME
from benchmarks.meter import Meter
from benchmarks.workload import Engine
from benchmarks.workloads.online import Serving, timed

BATCH_ROWS = 1000
HELD = (10, 1000, 100_000)
CHECKED, READS = 200, 5000
STEP_US = 300_000_000

Windows = Mapping[str, float | None]


@runtime_checkable
class Live(Engine, Protocol):
    """Keeps windows up to date while events come in."""

    def open_live(self, store: Path) -> None:
        """Begin in an empty folder, or with nothing in it."""

    def append_events(self, rows: Sequence[dict[str, Any]]) -> None:
        """Events one by one, in groups of the engine's own size; a group is durable when it is answered."""

    def flush_events(self) -> None:
        """All that was appended is durable."""

    def write_events(self, table: pa.Table) -> None:
        """Durable when it returns."""

    def windows_of(self, key: int, now_us: int) -> Windows:
        """The sixteen windows of a key, by their names."""

    def close(self) -> None: ...


@runtime_checkable
class Plain(Live, Protocol):
    """Has online features that are no windows, to compare with."""

    def put_plain(self, key: int, values: Mapping[str, float]) -> None: ...

    def plain(self, key: int) -> Mapping[str, Any]:
        """The sixteen values of a key that were put."""


@dataclass(frozen=True, slots=True)
class WindowsLive:
    """The workload; see the head of this file."""

    title: str = "live windows"
    engines: tuple[str, ...] = ("mlstore", "redis_tiles")
    max_rows: Mapping[str, int] = field(default_factory=dict)

    def prepare(self, inputs: Path, *, rows: int) -> None:
        Events(rows).save(inputs)

    def run(self, engine: Engine, inputs: Path, meter: Meter) -> None:
        if not isinstance(engine, Live):
            raise TypeError(f"{type(engine).__module__} keeps no windows")
        events = Events.load(inputs)
        try:
            measure_appends(engine, events, inputs.parent, meter)
            measure_batches(engine, events, inputs.parent, meter)
            measure_held(engine, events, meter)
            engine.close()
        finally:
            if isinstance(engine, Serving):
                engine.stop()

    def remarks(self, table: Mapping[str, Mapping[str, float]]) -> list[str]:
        told = []
        for step in ("events one by one", "events by the thousand"):
            rates = {engine: 1 / seconds for engine, seconds in table.get(f"{step}, per row", {}).items()}
            told.append(f"{step}: " + ", ".join(f"{engine} {rate:,.0f} events/s" for engine, rate in rates.items()))
        plain = table.get("a plain row of 16 values, p50", {})
        for held in HELD:
            windows = table.get(f"16 windows of {held:,} events, p50", {})
            told += [
                f"{engine}: 16 windows of {held:,} events take {seconds / plain[engine]:.3g}x a plain row"
                for engine, seconds in windows.items()
                if engine in plain
            ]
        return told


WORKLOAD = WindowsLive()


def measure_appends(engine: Live, events: Events, scratch: Path, meter: Meter) -> None:
    """One event after the other, and a read behind every thousandth."""
    engine.open_live(scratch)
    seconds = 0.0
    for piece in pieces(events):
        rows = piece.to_pylist()
        started = time.perf_counter()
        engine.append_events(rows)
        engine.windows_of(rows[-1][KEY], micros(piece)[-1])
        seconds += time.perf_counter() - started
    started = time.perf_counter()
    engine.flush_events()
    meter.add("events one by one", [seconds + time.perf_counter() - started], rows=events.rows)
    meter.check("events one by one", checksum(engine, events))
    engine.close()


def measure_batches(engine: Live, events: Events, scratch: Path, meter: Meter) -> None:
    """A commit for every thousand events, and a read behind it."""
    engine.open_live(scratch)
    seconds = 0.0
    for piece in pieces(events):
        started = time.perf_counter()
        engine.write_events(piece)
        engine.windows_of(piece[KEY][-1].as_py(), micros(piece)[-1])
        seconds += time.perf_counter() - started
    meter.add("events by the thousand", [seconds], rows=events.rows)
    meter.check("events by the thousand", checksum(engine, events))
    keys = np.random.default_rng(3).integers(0, events.entities, READS).tolist()
    meter.add("16 windows of any key", timed(lambda key: engine.windows_of(key, now_us()), keys))


def measure_held(engine: Live, events: Events, meter: Meter) -> None:
    """The same question to keys with few events and with many."""
    for number, held in enumerate(HELD):
        key = events.entities + 1 + number
        for table in crowd(key, held):
            engine.write_events(table)
        meter.check(f"16 windows of {held:,} events", digest([engine.windows_of(key, now_us())]))
        meter.add(f"16 windows of {held:,} events", timed(lambda key: engine.windows_of(key, now_us()), [key] * READS))
    if isinstance(engine, Plain):
        values = {f"value_{number}": number / 4 for number in range(len(OUTPUTS))}
        engine.put_plain(1, values)
        meter.check("a plain row of 16 values", repr(sum(float(engine.plain(1)[name]) for name in values)))
        meter.add("a plain row of 16 values", timed(engine.plain, [1] * READS))


def pieces(events: Events) -> Iterator[pa.Table]:
    """All events in the order of time, by the thousand."""
    for piece in events.pieces():
        table = pa.Table.from_batches([piece])
        for start in range(0, table.num_rows, BATCH_ROWS):
            yield table.slice(start, BATCH_ROWS)


def crowd(key: int, held: int) -> Iterator[pa.Table]:
    """So many events of one key over the last thirty days."""
    random = np.random.default_rng(held)
    times = np.sort(now_us() - 1 - random.integers(0, 30 * DAY_US - 2, held))
    table = pa.table({KEY: np.full(held, key), TIME: pa.array(times, CLOCK), AMOUNT: random.integers(0, 4000, held) / 4})
    for start in range(0, held, 10 * BATCH_ROWS):
        yield table.slice(start, 10 * BATCH_ROWS)


def now_us() -> int:
    """The first full five minutes after all events."""
    return -(-(EPOCH_US + SPAN_US) // STEP_US) * STEP_US


def micros(table: pa.Table) -> list[int]:
    times: list[int] = table[TIME].cast(pa.int64()).to_pylist()
    return times


def checksum(engine: Live, events: Events) -> str:
    keys = np.random.default_rng(1).integers(0, events.entities + 1, CHECKED).tolist()
    return digest([engine.windows_of(key, now_us()) for key in keys])


def digest(answers: Sequence[Windows]) -> str:
    """Of every window, in order; nothing is NaN."""
    values = [np.nan if answer[output] is None else float(answer[output] or 0.0) for answer in answers for output in OUTPUTS]
    return hashlib.blake2b(np.array(values).tobytes(), digest_size=8).hexdigest()

"""Online features: a value of each key put in, then asked for one at a time and many at a time, and written to meanwhile.

A user has twenty features: ten floats, five integers, two booleans, three strings. Of the keys asked for a few are unknown. Answers to one
key are dicts, answers to many are Arrow tables in the order asked. Stores of bytes keep rows in msgpack and nothing but the newest values;
mlstore and Feast keep event times, mlstore the history, versions and a change feed as well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, get_args, runtime_checkable

import pyarrow as pa

from benchmarks.beside import Readers
from benchmarks.features import KEY, Answer, Durability, Features, Pair, Values, checksum_dicts, checksum_table, encode_key, load_features
from benchmarks.meter import Meter
from benchmarks.workload import Engine

# How often a step is asked for, and after how many seconds it is enough: some need milliseconds where others need microseconds.
SINGLES, BATCHES, ENOUGH_SECONDS = 20_000, {100: 400, 1000: 150}, 5.0
WARMING, WARMING_SECONDS = 50, 0.5
CHECKED = 200
SINGLE_WRITES = 200
PACKED_ROWS = 50_000
# Beside two readers: so many writes of so many rows.
BESIDE_WRITES, BESIDE_ROWS, READERS = 100, 100, 2
# The steps draw their newer rows from days of their own.
SINGLE_DAYS: Mapping[Durability, int] = {"full": 1, "normal": 2}
APPEND_DAY, BESIDE_DAY = 10, 1000

LOAD, VALUES_ALONE, FETCHED = "bulk load", "bulk load, values alone", "1000 keys, fetched and not decoded"
APPENDED, READ_BESIDE, WRITTEN_BESIDE = "stream of appends", "one key, read by two beside a writer", "writes of 100 rows beside two readers"


@runtime_checkable
class Online(Engine, Protocol):
    """Gives the newest features of a key: the least an engine must do to take part."""

    durabilities: tuple[Durability, ...]

    def open_online(self, features: Features, durability: Durability) -> None:
        """Open what is there, made if it is not."""

    def close(self) -> None: ...

    def one(self, key: int) -> Answer:
        """All features of a key; None for each if it is unknown."""

    def many(self, keys: Sequence[int]) -> pa.Table:
        """All features of many keys, in their order."""

    def write_row(self, row: dict[str, Any]) -> None:
        """A newer row of one key."""

    def size_bytes(self) -> int:
        """Bytes of all files of the store."""


@runtime_checkable
class LoadsTables(Online, Protocol):
    """Takes an Arrow table as it is."""

    def load_table(self, table: pa.Table) -> None:
        """Durable when it returns."""


@runtime_checkable
class LoadsPairs(Online, Protocol):
    """Takes a key and bytes, which have to be packed before."""

    def pack(self, table: pa.Table) -> list[Pair]: ...

    def load(self, pairs: Sequence[Pair]) -> None: ...

    def finish_load(self) -> None:
        """From now on all of it is durable."""


@runtime_checkable
class Fetching(Online, Protocol):
    """Can leave the values packed: no rival, but a floor."""

    def fetch(self, keys: Sequence[bytes]) -> list[bytes | None]: ...


@runtime_checkable
class Streamed(Online, Protocol):
    """Takes rows one by one, and makes them durable by the group."""

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """All are durable when it returns."""


@runtime_checkable
class Shared(Online, Protocol):
    """Can be read by other processes while this one writes."""

    folder: Path

    def open_to_read(self, features: Features) -> None: ...

    def write_many(self, table: pa.Table) -> None:
        """Newer rows of many keys, each once."""


@runtime_checkable
class Serving(Protocol):
    """Has a server of its own."""

    def stop(self) -> None: ...


@runtime_checkable
class InMemory(Protocol):
    """Needs memory for all that it keeps."""

    def memory_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class OnlineWorkload:
    """The workload; see the head of this file."""

    title: str = "online features"
    engines: tuple[str, ...] = (
        "mlstore", "lmdb_msgpack", "rocksdict", "sqlite_msgpack", "redis", "redis_strings", "feast_sqlite", "feast_redis",
    )  # fmt: skip
    max_rows: Mapping[str, int] = field(default_factory=lambda: {"feast_sqlite": 100_000, "feast_redis": 100_000})
    values: Values = "named"
    appends: int | None = None

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--keys", type=whole, dest="rows", default=argparse.SUPPRESS, help="how many keys there are: the same as --rows"
        )
        parser.add_argument("--appends", type=whole, help="rows appended to a stream; as many as there are keys unless given")
        parser.add_argument("--values", choices=get_args(Values), default=self.values, help="how stores of bytes keep a row in msgpack")

    def configured(self, options: argparse.Namespace) -> OnlineWorkload:
        return replace(self, values=options.values, appends=options.appends)

    def prepare(self, inputs: Path, *, rows: int) -> None:
        Features(rows, self.values, self.appends or rows).save(inputs)

    def run(self, engine: Engine, inputs: Path, meter: Meter) -> None:
        if not isinstance(engine, Online):
            raise TypeError(f"{type(engine).__module__} is no online store")
        try:
            measure_online(engine, load_features(inputs), meter)
        finally:
            if isinstance(engine, Serving):
                engine.stop()

    def remarks(self, table: Mapping[str, Mapping[str, float]]) -> list[str]:
        return remark(table)


WORKLOAD = OnlineWorkload()


def measure_online(engine: Online, features: Features, meter: Meter) -> None:
    """All steps that the engine offers, in the order of a store's life."""
    engine.open_online(features, "full")
    measure_load(engine, features, meter)
    engine.close()
    meter.size("size per row", engine.size_bytes() // features.keys)
    engine.open_online(features, "full")
    if isinstance(engine, InMemory):
        meter.size("memory of the server per row", engine.memory_bytes() // features.keys)
    measure_reads(engine, features, meter)
    for durability in engine.durabilities:
        with reopened(engine, features, durability):
            measure_single_writes(engine, features, durability, meter)
    if isinstance(engine, Streamed):
        measure_stream(engine, features, meter)
    if isinstance(engine, Shared):
        measure_beside(engine, features, meter)
    engine.close()


@contextmanager
def reopened(engine: Online, features: Features, durability: Durability) -> Iterator[None]:
    """With another durability for a while."""
    engine.close()
    engine.open_online(features, durability)
    yield
    engine.close()
    engine.open_online(features, "full")


def measure_load(engine: Online, features: Features, meter: Meter) -> None:
    """Stores of bytes are shown twice: with the packing of the rows, and what is left without it."""
    table = features.table()
    if isinstance(engine, LoadsTables):
        with meter.measure(LOAD, rows=features.keys):
            engine.load_table(table)
        meter.add(VALUES_ALONE, meter.steps[LOAD].seconds, rows=features.keys)
        return
    if not isinstance(engine, LoadsPairs):
        raise TypeError(f"{type(engine).__module__} cannot be loaded")
    loaded_seconds = 0.0
    with meter.measure(LOAD, rows=features.keys):
        for start in range(0, features.keys, PACKED_ROWS):
            pairs = engine.pack(table.slice(start, PACKED_ROWS))
            started = time.perf_counter()
            engine.load(pairs)
            loaded_seconds += time.perf_counter() - started
        started = time.perf_counter()
        engine.finish_load()
        loaded_seconds += time.perf_counter() - started
    meter.add(VALUES_ALONE, [loaded_seconds], rows=features.keys)


def measure_reads(engine: Online, features: Features, meter: Meter) -> None:
    singles = features.asked(SINGLES, seed=2)
    meter.check("one key", checksum_dicts([engine.one(key) for key in singles[:CHECKED]]))
    meter.add("one key to a dict", timed(engine.one, singles))
    for size, calls in BATCHES.items():
        batches = [features.asked(size, seed=size + number) for number in range(calls)]
        meter.check(f"{size} keys", checksum_table(engine.many(batches[0])))
        meter.add(f"{size} keys to a table", timed(engine.many, batches))
    if isinstance(engine, Fetching):
        meter.add(FETCHED, timed(engine.fetch, [[encode_key(key) for key in batch] for batch in batches]))


def timed(ask: Callable[[Any], object], questions: Sequence[Any], *, warming: int = WARMING) -> list[float]:
    """The seconds that each question took, until it is enough; before, the first ones are asked without a look at the clock."""
    clock, seconds = time.perf_counter, []
    enough = clock() + WARMING_SECONDS
    for question in questions[:warming]:
        ask(question)
        if clock() > enough:
            break
    enough = clock() + ENOUGH_SECONDS
    for question in questions:
        started = clock()
        ask(question)
        done = clock()
        seconds.append(done - started)
        if done > enough:
            break
    return seconds


def measure_single_writes(engine: Online, features: Features, durability: Durability, meter: Meter) -> None:
    rows = features.updates(min(SINGLE_WRITES, features.keys), day=SINGLE_DAYS[durability]).to_pylist()
    meter.add(f"one row written, {durability}", timed(engine.write_row, rows, warming=0))
    meter.check(f"one row written, {durability}", checksum_table(engine.many([row[KEY] for row in rows])))


def measure_stream(engine: Streamed, features: Features, meter: Meter) -> None:
    """Rows are dicts already; they are appended in pieces, since not all of them need fit in memory at once."""
    seconds, start, day = 0.0, 0, APPEND_DAY
    while start < features.appends:
        rows = features.updates(min(features.keys, features.appends - start, PACKED_ROWS), day=day).to_pylist()
        started = time.perf_counter()
        engine.append(rows)
        seconds += time.perf_counter() - started
        start, day = start + len(rows), day + 1
    meter.add(APPENDED, [seconds], rows=features.appends)
    meter.check(APPENDED, checksum_table(engine.many([row[KEY] for row in rows[-1000:]])))


def measure_beside(engine: Shared, features: Features, meter: Meter) -> None:
    """One process writes, two others read one key after the other until it is done."""
    tables = [features.updates(min(BESIDE_ROWS, features.keys), day=BESIDE_DAY + number) for number in range(BESIDE_WRITES)]
    with Readers(READERS, engine_name(engine), engine.folder, features) as readers:
        started = time.perf_counter()
        for table in tables:
            engine.write_many(table)
        seconds = time.perf_counter() - started
        reads = readers.finish()
    meter.add(WRITTEN_BESIDE, [seconds / BESIDE_WRITES])
    meter.add(READ_BESIDE, [1 / sum(reads)])
    meter.check(WRITTEN_BESIDE, checksum_table(engine.many(tables[-1][KEY].to_pylist())))


def engine_name(engine: Engine) -> str:
    return type(engine).__module__.rsplit(".", 1)[-1]


def remark(table: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What the table says of the floor, and rates, which are easier to grasp than seconds."""
    told = []
    ours, floor = table.get("1000 keys to a table, p50", {}), table.get(f"{FETCHED}, p50", {})
    for engine, value in ours.items():
        if floor and engine not in floor:
            told.append(f"{engine}: 1000 keys to a table take {value / min(floor.values()):.2f}x what raw py-lmdb takes to fetch them")
    for label, what in ((LOAD, "rows/s loaded"), (APPENDED, "rows/s appended"), (READ_BESIDE, "reads/s by two processes beside a writer")):
        rates = table.get(f"{label}, per row", table.get(label, {}))
        if rates:
            told.append(f"{what}: " + ", ".join(f"{engine} {1 / value:,.0f}" for engine, value in rates.items()))
    return told


def whole(text: str) -> int:
    value = int(text.replace("_", ""))
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return value

"""A made-up history of two views of one entity, and labels that ask for it: what the as-of workloads work on.

Nothing is kept on the disk: an engine that builds its files draws the same rows again, piece by piece, in the order of their event times.
No two rows of a view share a time, so every engine must find the same winner whatever it does with ties.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

KEY, TIME, ROW = "entity", "event_timestamp", "row"
CLOCK = pa.timestamp("us", "UTC")
EPOCH_US = 1_700_000_000_000_000
YEAR_US = 365 * 86_400_000_000
MAX_ENTITIES, MIN_ROWS_PER_ENTITY = 100_000, 10
PIECE_ROWS = 1 << 20
# One label in so many asks for a key that has no history; one falls on the very time of an event.
ODD_LABELS = 64
# With layout "many", one row in so many arrives late, after the bulk.
LATE = 10
NAME_PREFIX = "customer-"

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class View:
    """One of the two: its name, how many rows it has, and its features."""

    name: str
    rows: int
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class History:
    """What the rows look like; two equal ones draw equal rows."""

    rows: int
    keys: Literal["int", "string"] = "int"
    skew: Literal["uniform", "zipf"] = "uniform"
    layout: Literal["one", "many"] = "one"

    @property
    def views(self) -> tuple[View, View]:
        """Ten features of all rows, and five of a fifth as many."""
        ten, five = (tuple(f"{name}{number}" for number in range(count)) for name, count in (("a", 10), ("b", 5)))
        return View("a", self.rows, ten), View("b", max(1, self.rows // 5), five)

    @property
    def features(self) -> list[str]:
        return [feature for view in self.views for feature in view.features]

    @property
    def entities(self) -> int:
        return max(1, min(MAX_ENTITIES, self.rows // MIN_ROWS_PER_ENTITY))

    def schema(self, view: View) -> pa.Schema:
        key = pa.int64() if self.keys == "int" else pa.string()
        return pa.schema([(KEY, key), (TIME, CLOCK), *((feature, pa.float64()) for feature in view.features)])

    def pieces(self, view: View) -> Iterator[pa.RecordBatch]:
        """All rows, in the order of time."""
        for start in range(0, view.rows, PIECE_ROWS):
            yield self._piece(view, start, min(PIECE_ROWS, view.rows - start))

    def reader(self, view: View) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.schema(view), self.pieces(view))

    def table(self, view: View) -> pa.Table:
        return pa.Table.from_batches(list(self.pieces(view)), self.schema(view))

    def punctual(self, view: View) -> pa.RecordBatchReader:
        """The rows that arrive with the bulk."""
        parts = (piece.filter(pa.array(~_is_late(piece.num_rows))) for piece in self.pieces(view))
        return pa.RecordBatchReader.from_batches(self.schema(view), parts)

    def late(self, view: View) -> pa.Table:
        """The others, from all over the year, in the order of arrival."""
        parts = [piece.filter(pa.array(_is_late(piece.num_rows))) for piece in self.pieces(view)]
        table = pa.Table.from_batches(parts, self.schema(view))
        return table.take(pa.array(np.random.default_rng(3).permutation(table.num_rows)))

    def labels(self, count: int) -> pa.Table:
        """Random keys at random times, in no order; `row` numbers them."""
        random = np.random.default_rng(count)
        keys, times = self._draw_keys(random, count), EPOCH_US + random.integers(0, YEAR_US, count)
        known_keys, known_times = self._draw_events(self.views[0], 0, min(PIECE_ROWS, self.rows))
        exact, unknown = np.arange(1, count, ODD_LABELS), np.arange(2, count, ODD_LABELS)
        chosen = random.integers(0, len(known_keys), len(exact))
        keys[exact], times[exact] = known_keys[chosen], known_times[chosen]
        keys[unknown] += self.entities
        return pa.table({KEY: self._key_column(keys), TIME: pa.array(times, CLOCK), ROW: np.arange(count)})

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "history.json").write_text(json.dumps(asdict(self)))

    @staticmethod
    def load(folder: Path) -> History:
        return History(**json.loads((folder / "history.json").read_text()))

    def _piece(self, view: View, start: int, count: int) -> pa.RecordBatch:
        keys, times = self._draw_events(view, start, count)
        random = np.random.default_rng([7, view.rows, start])
        columns = [self._key_column(keys), pa.array(times, CLOCK)]
        columns += [pa.array(random.random(count)) for _ in view.features]
        return pa.record_batch(columns, schema=self.schema(view))

    def _draw_events(self, view: View, start: int, count: int) -> tuple[Int64, Int64]:
        """Each row has a slot of the year to itself."""
        random = np.random.default_rng([5, view.rows, start])
        slot = YEAR_US // view.rows
        times = EPOCH_US + np.arange(start, start + count) * slot + random.integers(0, slot, count)
        return self._draw_keys(random, count), times

    def _draw_keys(self, random: np.random.Generator, count: int) -> Int64:
        if self.skew == "uniform":
            return random.integers(0, self.entities, count)
        popular, total = _popularity(self.entities)
        return popular[np.searchsorted(total, random.random(count), side="right")]

    def _key_column(self, keys: Int64) -> pa.Array:
        return pa.array(keys) if self.keys == "int" else _names(2 * self.entities).take(pa.array(keys))


def key_numbers(column: pa.ChunkedArray) -> Int64:
    """The numbers behind keys of either type."""
    if pa.types.is_string(column.type):
        column = pc.utf8_slice_codeunits(column, len(NAME_PREFIX)).cast(pa.int64())
    numbers: Int64 = column.to_numpy()
    return numbers


def _is_late(count: int) -> NDArray[np.bool_]:
    is_late: NDArray[np.bool_] = np.arange(count) % LATE == LATE - 1
    return is_late


@cache
def _names(count: int) -> pa.Array:
    return pa.array([f"{NAME_PREFIX}{number:09}" for number in range(count)])


@cache
def _popularity(entities: int) -> tuple[Int64, NDArray[np.float64]]:
    """Zipf's law with exponent 1: entities from the most to the least popular, and the share of each with all before it."""
    total = np.cumsum(1 / np.arange(1, entities + 1))
    return np.random.default_rng(11).permutation(entities), total[:-1] / total[-1]

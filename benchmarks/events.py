"""Made-up events of one kind, and labels that ask what the last hour, day, week and month before them held.

Nothing is kept on the disk: an engine that builds its files draws the same events again. Amounts are quarters, and so few that every sum
of them is exact in a double: however an engine adds them up, it must find the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.history import CLOCK, EPOCH_US, KEY, ROW, TIME

AMOUNT = "amount"
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
LENGTHS_US: Mapping[str, int] = {"1h": HOUR_US, "1d": DAY_US, "7d": 7 * DAY_US, "30d": 30 * DAY_US}
FUNCTIONS = ("count", "sum", "mean", "max")
OUTPUTS = tuple(f"{AMOUNT}_{function}_{window}" for window in LENGTHS_US for function in FUNCTIONS)
SPAN_US, ASKED_FROM_US = 60 * DAY_US, 30 * DAY_US
EVENTS_OF_A_KEY = 1000
MAX_QUARTERS = 4000
PIECE_ROWS = 1 << 20
# One label in so many asks for a key that has no events; one falls on the very time of an event.
ODD_LABELS = 64


@dataclass(frozen=True, slots=True)
class Events:
    """So many events of a thousandth as many keys, over sixty days; two equal ones draw equal rows."""

    rows: int

    @property
    def entities(self) -> int:
        return max(1, self.rows // EVENTS_OF_A_KEY)

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(KEY, pa.int64()), (TIME, CLOCK), (AMOUNT, pa.float64())])

    def pieces(self) -> Iterator[pa.RecordBatch]:
        """All events, in the order of time."""
        for start in range(0, self.rows, PIECE_ROWS):
            yield self._piece(start, min(PIECE_ROWS, self.rows - start))

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.schema, self.pieces())

    def table(self) -> pa.Table:
        return pa.Table.from_batches(list(self.pieces()), self.schema)

    def labels(self, count: int) -> pa.Table:
        """Random keys at random times of the second month, in no order; `row` numbers them."""
        random = np.random.default_rng(count)
        keys = random.integers(0, self.entities, count)
        times = EPOCH_US + random.integers(ASKED_FROM_US, SPAN_US, count)
        piece = self._piece(0, min(PIECE_ROWS, self.rows))
        exact = np.arange(1, count, ODD_LABELS)
        chosen = random.integers(0, piece.num_rows, len(exact))
        keys[exact] = piece[KEY].to_numpy()[chosen]
        times[exact] = piece[TIME].cast(pa.int64()).to_numpy()[chosen]
        keys[2::ODD_LABELS] += self.entities
        return pa.table({KEY: keys, TIME: pa.array(times, CLOCK), ROW: np.arange(count)})

    def save(self, folder: Path) -> None:
        (folder / "events.json").write_text(json.dumps(asdict(self)))

    @staticmethod
    def load(folder: Path) -> Events:
        return Events(**json.loads((folder / "events.json").read_text()))

    def _piece(self, start: int, count: int) -> pa.RecordBatch:
        random = np.random.default_rng([13, self.rows, start])
        slot = SPAN_US // self.rows
        times = EPOCH_US + np.arange(start, start + count) * slot + random.integers(0, slot, count)
        keys = random.integers(0, self.entities, count)
        amounts = random.integers(0, MAX_QUARTERS, count) / 4
        return pa.record_batch([pa.array(keys), pa.array(times, CLOCK), pa.array(amounts)], schema=self.schema)

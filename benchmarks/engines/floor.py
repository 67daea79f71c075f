"""The floor under every join as of a time: which row wins is known beforehand, and only the winners' features are fetched.

Each feature is a raw array on the disk, in the order of (key, time), mapped into memory. What is measured reads and writes the same
bytes as a join must, on all cores, and does nothing else. It goes through the labels in the order of their winners: a value is then
read from near the last one, which is faster than reading all over the file, although the answers have to be put in their places.

Windows are no floor but what a few lines of NumPy can do: searches and running sums.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.events import AMOUNT, LENGTHS_US, Events
from benchmarks.history import EPOCH_US, KEY, ROW, TIME, History, Int64, key_numbers

# A key's number and a time of the year in one number: the year has fewer microseconds than this.
TIMES_OF_A_KEY = 1 << 45


@dataclass(frozen=True, slots=True)
class Winners:
    """Of one view: rows, ascending, the label that each is for, and a bit for each label that has one; row 0 stands for none."""

    rows: Int64
    places: Int64
    validity: pa.Buffer


class Engine:
    """numpy.take on each feature."""

    version = f"numpy {np.__version__}"
    keeps_open = True

    def __init__(self, folder: Path) -> None:
        self._views: dict[str, dict[str, NDArray[np.float64]]] = {}
        self._winners: dict[str, Winners] = {}
        self._events: tuple[NDArray[np.int64], NDArray[np.float64]] = (np.empty(0, np.int64), np.empty(0))
        self._store = folder

    def build_views(self, history: History, store: Path) -> None:
        for view in history.views:
            (store / view.name).mkdir()
            table = history.table(view)
            moments = to_moments(table)
            order = np.argsort(moments, kind="stable")
            np.save(store / f"{view.name}.npy", moments[order])
            for feature in view.features:
                np.save(store / view.name / f"{feature}.npy", table[feature].to_numpy()[order])

    def open_views(self, store: Path) -> None:
        self._store = store
        self._views = {
            folder.name: {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.iterdir())}
            for folder in sorted(store.iterdir())
            if folder.is_dir()
        }

    def foresee(self, labels: pa.Table) -> None:
        asked = to_moments(labels)
        self._winners = {view: find_winners(np.load(self._store / f"{view}.npy"), asked) for view in self._views}

    def join(self, labels: pa.Table) -> pa.Table:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            columns = {
                name: threads.submit(fetch, values, self._winners[view])
                for view, features in self._views.items()
                for name, values in features.items()
            }
        return pa.table(dict(zip(labels.column_names, labels.columns, strict=True)) | {name: job.result() for name, job in columns.items()})

    def build_events(self, events: Events, store: Path) -> None:
        table = events.table()
        moments = to_moments(table)
        order = np.argsort(moments, kind="stable")
        np.save(store / "moments.npy", moments[order])
        np.save(store / "amount.npy", table[AMOUNT].to_numpy()[order])

    def open_events(self, store: Path) -> None:
        self._events = (np.load(store / "moments.npy", mmap_mode="r"), np.load(store / "amount.npy", mmap_mode="r"))

    def aggregate(self, labels: pa.Table) -> pa.Table:
        """Two searches a window, and differences of running sums: exact here because all sums are, and no way for a store."""
        moments, amounts = self._events
        asked = to_moments(labels)
        own, places = np.unique(asked, return_inverse=True)
        ends = np.searchsorted(moments, own, side="right")
        begins = np.searchsorted(moments, own // TIMES_OF_A_KEY * TIMES_OF_A_KEY)
        running, padded = np.concatenate([[0.0], np.cumsum(amounts)]), np.append(amounts, 0.0)
        answer: dict[str, pa.Array | pa.ChunkedArray] = {ROW: labels[ROW]}
        for window, length in LENGTHS_US.items():
            starts = np.maximum(begins, np.searchsorted(moments, own - length, side="right"))
            counts = ends - starts
            sums = running[ends] - running[starts]
            greatest = np.maximum.reduceat(padded, np.column_stack([starts, ends]).ravel())[::2]
            is_empty = (counts == 0)[places]
            means = np.divide(sums, counts, out=np.zeros(len(own)), where=counts > 0)
            answer[f"{AMOUNT}_count_{window}"] = pa.array(counts[places])
            for function, values in (("sum", sums), ("mean", means), ("max", greatest)):
                answer[f"{AMOUNT}_{function}_{window}"] = pa.array(values[places], mask=is_empty)
        return pa.table(answer)

    def close(self) -> None:
        self._views = {}


def to_moments(table: pa.Table) -> Int64:
    """A number for each row, in the order of (key, time)."""
    moments: Int64 = key_numbers(table[KEY]) * TIMES_OF_A_KEY + table[TIME].cast(pa.int64()).to_numpy() - EPOCH_US
    return moments


def find_winners(moments: Int64, asked: Int64) -> Winners:
    rows = np.searchsorted(moments, asked, side="right") - 1
    found = (rows >= 0) & (moments[rows] // TIMES_OF_A_KEY == asked // TIMES_OF_A_KEY)
    rows = np.where(found, rows, 0)
    places = np.argsort(rows, kind="stable")
    return Winners(rows[places], places, pa.py_buffer(np.packbits(found, bitorder="little")))


def fetch(values: NDArray[np.float64], winners: Winners) -> pa.Array:
    answer = np.empty(len(winners.rows))
    answer[winners.places] = values.take(winners.rows, mode="clip")
    return pa.Array.from_buffers(pa.float64(), len(answer), [winners.validity, pa.py_buffer(answer)])

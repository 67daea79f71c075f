"""Cells: a store that holds one number for each of a few cells, and every way to ask for them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

import mlstore as ml
from tests.support.processes import Parent

CELL = ml.Entity("cell", keys={"cell_id": ml.int64})
VALUES = ml.FeatureView("value", entity=CELL, schema={"value": ml.int64})
NUMBERS = range(8)
DAY, LATER = datetime(2024, 5, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)

KEYS = {"cell_id": list(NUMBERS)}
LABELS = pa.table(KEYS | {"event_timestamp": pa.array([LATER] * len(NUMBERS), pa.timestamp("us", "UTC"))})

Cells = dict[int, int]


def put(store: ml.Store, held: Cells) -> None:
    times = pa.array([DAY] * len(held), pa.timestamp("us", "UTC"))
    store.write("value", pa.table({"cell_id": list(held), "event_timestamp": times, "value": list(held.values())}), mode="upsert")


def _online(store: ml.Store) -> Cells:
    return _filled(store.online_features(["value"], KEYS)["value"].to_pylist())


def _trained(store: ml.Store) -> Cells:
    return _filled(store.training_set(LABELS, ["value"])["value"].to_pylist())


def _read(store: ml.Store) -> Cells:
    rows = store.read("value", columns=["cell_id", "value"]).to_pylist()
    assert len({row["cell_id"] for row in rows}) == len(rows)
    return {row["cell_id"]: row["value"] for row in rows}


def _filled(values: list[int | None]) -> Cells:
    return {cell: value for cell, value in zip(NUMBERS, values, strict=True) if value is not None}


WAYS = (_online, _read, _trained)
TURNS = (_online, _read, _online, _trained, _online, _read)  # those that cost less more often


def see(store: ml.Store) -> list[Cells]:
    """The cells in every way there is to ask."""
    return [ask(store) for ask in WAYS]


def serve(parent: Parent, path: Path) -> None:
    """In another process: put and see on a branch, as told."""
    with ml.open(path, durability="normal") as store:
        while (word := parent.hear()) != "stop":
            branch, held = word
            place = store.checkout(branch)
            if held:
                put(place, held)
            parent.tell(see(place))

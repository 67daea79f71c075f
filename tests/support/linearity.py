"""Histories of what several processes wrote and read, and whether they could have happened at one point each, one after the other.

A register is a key whose one row is replaced by each write; every write has a value of its own, and the sequence of its commit says where
it stands among all writes. Then a history is linearizable if that order and the reads fit the times at which calls began and ended.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import mlstore as ml
from tests.support.crash_limits import shrink_limits
from tests.support.processes import Parent

REGISTERS = 6
CELL = ml.Entity("cell", keys={"cell_id": ml.int64})
REGISTER = ml.FeatureView("register", entity=CELL, schema={"value": ml.int64})
DAY = "2024-05-01"


@dataclass(frozen=True, slots=True)
class Write:
    """One commit that gave these registers a value, the same for all: when it began and ended, and its place among the commits."""

    began: int
    ended: int
    value: int
    registers: tuple[int, ...]
    seq: int


@dataclass(frozen=True, slots=True)
class Read:
    """What one call saw of all registers."""

    began: int
    ended: int
    values: tuple[int | None, ...]


def create(path: Path) -> None:
    with ml.open(path) as store:
        store.apply(CELL, REGISTER)


def take_part(parent: Parent, path: Path, number: int, deeds: int, *, read_only: bool = False) -> tuple[list[Write], list[Read]]:
    """In a process: write and read at random; what it did."""
    shrink_limits()
    dice, writes, reads = random.Random(number), list[Write](), list[Read]()
    with ml.open(path, durability="normal", read_only=read_only) as store:
        ways = [read_online, read_training, read_history]
        for deed in range(deeds):
            if not read_only and dice.random() < 0.4:
                chosen = tuple(sorted(dice.sample(range(REGISTERS), dice.randint(1, 3))))
                writes.append(write(store, number * 1_000_000 + deed, chosen))
            else:
                reads.append(dice.choice(ways)(store))
            if not read_only and dice.random() < 0.02:
                store.optimize()
    return writes, reads


def write(store: ml.Store, value: int, registers: tuple[int, ...]) -> Write:
    rows = {"cell_id": list(registers), "event_timestamp": [DAY] * len(registers), "value": [value] * len(registers)}
    began = time.monotonic_ns()
    commit = store.write("register", rows, mode="upsert")
    return Write(began, time.monotonic_ns(), value, registers, commit.seq)


def read_online(store: ml.Store) -> Read:
    began = time.monotonic_ns()
    found = store.online_features(["register"], {"cell_id": list(range(REGISTERS))})["value"].to_pylist()
    return Read(began, time.monotonic_ns(), tuple(found))


def read_training(store: ml.Store) -> Read:
    labels = {"cell_id": list(range(REGISTERS)), "event_timestamp": ["2030-01-01"] * REGISTERS}
    began = time.monotonic_ns()
    found = store.training_set(labels, ["register"])["value"].to_pylist()
    return Read(began, time.monotonic_ns(), tuple(found))


def read_history(store: ml.Store) -> Read:
    began = time.monotonic_ns()
    rows = store.read("register", columns=["cell_id", "value"]).to_pylist()
    ended = time.monotonic_ns()
    assert len({row["cell_id"] for row in rows}) == len(rows), f"two rows of one register: {rows}"
    held = {row["cell_id"]: row["value"] for row in rows}
    return Read(began, ended, tuple(held.get(register) for register in range(REGISTERS)))


def find_violations(writes: Sequence[Write], reads: Sequence[Read]) -> Iterator[str]:
    """Why the history cannot have happened at one point each; nothing if it can."""
    ordered = sorted(writes, key=lambda each: each.seq)
    latest_began = 0
    for each in ordered:
        latest_began = max(latest_began, each.began)
        if each.ended < latest_began:
            yield f"{each} was over before a write began that stands before it"
    by_value = {each.value: each for each in ordered}
    moments = []
    for read in reads:
        unknown = [value for value in read.values if value is not None and value not in by_value]
        if unknown:
            yield f"{read}: nobody wrote {unknown}"
            continue
        low = max((by_value[value].seq for value in read.values if value is not None), default=0)
        high = min(_next_seq(ordered, register, read.values[register], by_value) for register in range(len(read.values)))
        if low >= high:
            yield f"{read}: its values were never there together"
        overdue = [each for each in ordered if each.ended < read.began and each.seq >= high]
        if overdue:
            yield f"{read}: does not see {overdue[0]}, which was over before"
        if any(by_value[value].began > read.ended for value in read.values if value is not None):
            yield f"{read}: sees what was not yet begun"
        moments.append((read, low, high))
    yield from _find_backward(moments)


def _find_backward(moments: Sequence[tuple[Read, int, int]]) -> Iterator[str]:
    """A read never sees less than one that was over before it began."""
    ended = sorted(moments, key=lambda moment: moment[0].ended)
    highest, place = 0, 0
    for read, _, high in sorted(moments, key=lambda moment: moment[0].began):
        while place < len(ended) and ended[place][0].ended < read.began:
            highest = max(highest, ended[place][1])
            place += 1
        if high <= highest:
            yield f"{read}: time went backwards"


def _next_seq(ordered: Sequence[Write], register: int, value: int | None, by_value: dict[int, Write]) -> int:
    """Where the register gets its next value after this one."""
    since = 0 if value is None else by_value[value].seq
    return next((each.seq for each in ordered if each.seq > since and register in each.registers), 1 << 62)


def overlaps(writes: Sequence[Write]) -> int:
    """How many writes were under way together with the one after them: a history without any shows nothing."""
    ordered = sorted(writes, key=lambda each: each.began)
    return sum(first.ended > second.began for first, second in pairwise(ordered))

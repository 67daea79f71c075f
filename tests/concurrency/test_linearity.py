"""Writes and reads of several processes happen as if at one point each, one after the other, and reads see all registers at one point."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.linearity import REGISTERS, Read, Write, create, find_violations, overlaps, take_part
from tests.support.processes import Child, Method
from tests.support.soaking import report, scaled, soak_seed

PROCESSES = 4


def run_processes(path: Path, method: Method, *, deeds: int, seed: int) -> tuple[list[Write], list[Read]]:
    create(path)
    children = [Child(take_part, path, seed % 1000 + number, deeds, method=method) for number in range(PROCESSES)]
    try:
        done = [child.result() for child in children]
    finally:
        for child in children:
            child.__exit__(None, None, None)
    return [write for writes, _ in done for write in writes], [read for _, reads in done for read in reads]


@pytest.mark.slow
def test_writes_and_reads_of_processes_are_linearizable(tmp_path: Path):
    writes, reads = run_processes(tmp_path / "cells.mls", "forkserver", deeds=60, seed=1)

    assert list(find_violations(writes, reads)) == []
    assert overlaps(writes) > 5


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_long_histories_are_linearizable(tmp_path: Path, method: Method):
    seed, rounds, violations, calls = soak_seed(), scaled(20), list[str](), 0
    for number in range(rounds):
        writes, reads = run_processes(tmp_path / f"{number}.mls", method, deeds=300, seed=seed + number)
        violations += find_violations(writes, reads)
        calls += len(writes) + len(reads)

    report(f"linearizability, {method}", seed, f"{rounds} histories of {calls} calls", violations)
    assert violations == []


WRITES = [Write(10, 20, 1, (0, 1), 5), Write(30, 40, 2, (0,), 6), Write(35, 60, 3, (1,), 7)]
EMPTY = (None,) * (REGISTERS - 2)


@pytest.mark.parametrize(
    ("read", "violation"),
    [
        (Read(0, 5, (1, 1, *EMPTY)), "not yet begun"),
        (Read(50, 55, (1, 1, *EMPTY)), "does not see"),
        (Read(70, 80, (2, 1, *EMPTY)), "does not see"),
        (Read(36, 38, (1, 3, *EMPTY)), "never there together"),
        (Read(36, 38, (9, 1, *EMPTY)), "nobody wrote"),
    ],
)
def test_a_read_that_cannot_be_is_found(read: Read, violation: str):
    assert violation in " ".join(find_violations(WRITES, [read]))


def test_reads_that_can_be_are_not_complained_of():
    reads = [Read(0, 15, (None, None, *EMPTY)), Read(12, 18, (1, 1, *EMPTY)), Read(36, 50, (2, 3, *EMPTY)), Read(45, 50, (2, 1, *EMPTY))]

    assert list(find_violations(WRITES, reads)) == []


def test_time_that_goes_backwards_is_found():
    reads = [Read(36, 37, (2, 3, *EMPTY)), Read(38, 39, (2, 1, *EMPTY))]

    assert "time went backwards" in " ".join(find_violations(WRITES, reads))


def test_a_write_in_the_wrong_order_is_found():
    assert "stands before it" in " ".join(find_violations([Write(10, 20, 1, (0,), 9), Write(30, 40, 2, (0,), 6)], []))

"""Processes killed in the middle of their work: what they promised is there, nothing is half there, and the next one goes on."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mlstore as ml
from tests.support.crash_child import Account, Append, Done, create, ledger_rows, live, perform, recount, stream, take_stock
from tests.support.crash_limits import shrink_limits
from tests.support.processes import Child, Parent
from tests.support.soaking import Patience, report, scaled, soak_seed

LIVES = 8
LIVES_OF_A_SOAK = 2000
LIVES_OF_A_FILE = 25
MOST_WORDS = 12
LONGEST_PAUSE_SECONDS = 0.03  # an act takes about so long


def end_lives(path: Path, lives: int, *, seed: int) -> int:
    """Start and kill one child after the other, and hold the store to account after each; the acts seen."""
    dice = random.Random(seed)
    account, commits, acts = Account(), set[str | None](), 0
    for life in range(1, lives + 1):
        with Child(live, path, life, dice.choice(["full", "normal"])) as child:
            words = [child.hear() for _ in range(dice.randint(1, MOST_WORDS))]
            time.sleep(dice.uniform(0, LONGEST_PAUSE_SECONDS))
            words += child.kill()
        mine = Append(life * 100_000 - 1, 3)
        with ml.open(path) as store:
            store.verify()
            # The act under way counts from the next commit on, if the kill came between writing it and saying so to readers.
            commits |= {perform(store, mine), *(word.commit for word in words if isinstance(word, Done))}
            found = take_stock(store)
            assert found in [candidate.after(mine) for candidate in recount(account, words)], f"life {life} of seed {seed}"
            assert commits - {None} <= {commit.id for commit in store.history()}, f"life {life} of seed {seed}"
        account = found
        acts += sum(isinstance(word, Done) for word in words)
    with ml.open(path) as store:
        store.verify()
    return acts


@pytest.mark.slow
def test_killed_writers_keep_their_promises(tmp_path: Path):
    path = tmp_path / "killed.mls"
    create(path)

    acts = end_lives(path, LIVES, seed=1)

    assert acts > LIVES


@pytest.mark.slow
def test_killed_writers_keep_their_promises_to_a_process_that_has_the_store_open(tmp_path: Path):
    path = tmp_path / "killed.mls"
    create(path)

    with ml.open(path):
        acts = end_lives(path, LIVES, seed=2)

    assert acts > LIVES


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_killed_writers_keep_their_promises_many_times(soak_path: Path):
    seed, files, patience = soak_seed(), -(-scaled(LIVES_OF_A_SOAK) // LIVES_OF_A_FILE), Patience.begin()

    def end_lives_of(file: int) -> int:
        path = soak_path / f"killed-{file}.mls"
        create(path)
        return end_lives(path, LIVES_OF_A_FILE, seed=seed + file) if patience.lasts() else 0

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        acts = [number for number in workers.map(end_lives_of, range(files)) if number]

    report("kills at any time", seed, f"{len(acts) * LIVES_OF_A_FILE} kills, {sum(acts)} acknowledged acts", [])
    assert acts


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_staging(parent: Parent, path: Path) -> None:
    """The load dies in its middle, when another handle can see that something is staged."""
    shrink_limits()

    def look(done: int, total: int | None) -> None:
        while done > 2500 and not staged_segments(watcher):
            time.sleep(0.001)
        if done > 2500:
            die()

    with ml.open(path) as store, ml.open(path) as watcher:
        stream(store, 1, 5000, look)


def die_while_publishing(parent: Parent, path: Path) -> None:
    """The load dies in the transaction that would have made it seen."""
    from mlstore.engine import session

    shrink_limits()
    session.record_commit = lambda *args, **options: die()
    with ml.open(path) as store:
        stream(store, 1, 5000)


def staged_segments(store: ml.Store) -> int:
    return int(store.info()["environment"]["keyspaces"]["staged"])


@pytest.mark.parametrize("way_to_die", [die_while_staging, die_while_publishing])
def test_a_killed_bulk_load_leaves_no_rows_and_the_next_one_sweeps_its_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way_to_die: Callable[[Parent, Path], None]
):
    path = tmp_path / "killed.mls"
    create(path)
    with Child(way_to_die, path) as child:
        child.process.join()
        assert child.process.exitcode == -signal.SIGKILL
    monkeypatch.setattr("mlstore.engine.limits.DIRECT_ROWS", 200)

    with ml.open(path) as store:
        littered = staged_segments(store)
        rows_before = store.read("ledger").num_rows
        store.write("ledger", ledger_rows(2, 300))

        assert littered > 0
        assert rows_before == 0
        assert staged_segments(store) == 0
        assert take_stock(store).batches == {2: 300}
        store.verify()

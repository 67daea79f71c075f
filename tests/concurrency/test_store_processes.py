"""Several processes and one store: readers beside a writer, loads side by side, and stores that are handed over."""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest

import mlstore as ml
from tests.support import bank
from tests.support.crash_limits import shrink_limits
from tests.support.processes import Child, Method, Parent

READERS = 3
LEAST_COMMITS = 30
ENOUGH = 5  # different rounds for each reader to see
LOAD_ROUNDS = 40  # of ACCOUNTS rows each: several pieces, each of several segments


def stream(numbers: range) -> pa.RecordBatchReader:
    """Rounds that are written piece by piece, staged in many transactions, and published by one."""
    return bank.rounds(numbers).to_reader(max_chunksize=5 * bank.ACCOUNTS)


def staged_segments(store: ml.Store) -> int:
    return int(store.info()["environment"]["keyspaces"]["staged"])


@pytest.mark.slow
def test_readers_of_other_processes_never_see_half_a_commit(path: Path):
    with ExitStack() as stack, ml.open(path, durability="normal") as store:
        readers = [stack.enter_context(Child(bank.watch_until_called, path, ENOUGH, method="spawn")) for _ in range(READERS)]
        for reader in readers:
            reader.hear()

        written = 0
        for commit in itertools.count():
            if commit >= LEAST_COMMITS and all(reader.has_told() for reader in readers):
                break
            block = range(written + 1, written + (16 if commit % 7 == 3 else 2))
            store.write("bank", stream(block) if commit % 14 == 3 else bank.rounds(block))
            written = block[-1]
            if commit % 11 == 9:
                store.optimize(tier="cold" if commit % 2 else "hot")
        for reader in readers:
            reader.say("stop")
        looks = [reader.result() for reader in readers]

        assert min(looks) >= ENOUGH
        assert bank.audit(store) == list(range(written + 1))
        store.verify()


def load_when_told(parent: Parent, path: Path, loads: list[range]) -> list[str]:
    shrink_limits()
    with ml.open(path) as store:
        parent.tell("ready")
        parent.hear()
        return [store.write("bank", stream(load)).id for load in loads]


@pytest.mark.slow
def test_loads_of_two_processes_go_side_by_side(path: Path):
    loads = [[range(start, start + LOAD_ROUNDS) for start in range(first, 400, 2 * LOAD_ROUNDS)] for first in (1, 1 + LOAD_ROUNDS)]

    with Child(load_when_told, path, loads[0], method="spawn") as one, Child(load_when_told, path, loads[1], method="spawn") as other:
        for child in (one, other):
            child.hear()
        for child in (one, other):
            child.say("go")
        promised = {*one.result(), *other.result()}

    with ml.open(path) as store:
        assert promised <= {commit.id for commit in store.history()}
        assert bank.audit(store) == sorted([0, *itertools.chain(*loads[0], *loads[1])])
        assert staged_segments(store) == 0
        store.verify()


def load_and_wait_in_the_middle(parent: Parent, path: Path) -> str:
    shrink_limits()

    def wait(done: int, total: int | None) -> None:
        if done > LOAD_ROUNDS * bank.ACCOUNTS // 2 and not waited:
            waited.append(done)
            while not staged_segments(watcher):
                pass
            parent.tell("staged")
            parent.hear()

    waited: list[int] = []
    with ml.open(path) as store, ml.open(path) as watcher:
        return store.write("bank", stream(range(1, 1 + LOAD_ROUNDS)), progress=wait).id


def test_a_load_does_not_sweep_what_another_process_is_staging(path: Path):
    with Child(load_and_wait_in_the_middle, path) as slow, ml.open(path) as store:
        slow.hear()
        staged = staged_segments(store)

        store.write("bank", stream(range(100, 100 + LOAD_ROUNDS)))
        store.optimize()
        still_staged = staged_segments(store)
        slow.say("go on")
        promised = slow.result()

        assert 0 < staged <= still_staged
        assert promised == store.history(limit=1)[0].id
        assert bank.audit(store) == [0, *range(1, 1 + LOAD_ROUNDS), *range(100, 100 + LOAD_ROUNDS)]
        assert staged_segments(store) == 0
        store.verify()


def test_a_load_that_fails_while_publishing_leaves_the_segments_of_others_alone(path: Path, monkeypatch: pytest.MonkeyPatch):
    # The numbers given to segments in a transaction that failed are given again, to the next writer. The load that failed
    # took them for its own still, and removed the extents of the other's segments.
    from mlstore.engine import session
    from mlstore.engine.history import staging

    monkeypatch.setattr("mlstore.engine.limits.STAGE_BYTES", 1 << 26)
    with ml.open(path) as store:
        with monkeypatch.context() as patches:
            patches.setattr(session, "record_commit", Mock(side_effect=KeyboardInterrupt))
            leave = staging.Stage.__exit__

            def leave_late(stage: staging.Stage, *error: object) -> None:
                # What another process may do between the failure and the cleaning up.
                patches.undo()
                store.write("bank", bank.rounds(range(100, 100 + LOAD_ROUNDS)))
                leave(stage, *error)

            patches.setattr(staging.Stage, "__exit__", leave_late)
            with pytest.raises(KeyboardInterrupt):
                store.write("bank", bank.rounds(range(1, 1 + LOAD_ROUNDS)))

        store.verify()
        assert bank.audit(store) == [0, *range(100, 100 + LOAD_ROUNDS)]


def write_and_wait_in_the_transaction(parent: Parent, path: Path) -> str:
    from mlstore.engine import session

    record_commit = session.record_commit

    def wait(*args: Any, **options: Any) -> ml.Commit:
        parent.tell("writing")
        parent.hear()
        return record_commit(*args, **options)

    session.record_commit = wait
    with ml.open(path) as store:
        return store.write("bank", bank.rounds([1])).id


def test_a_store_opened_while_another_process_writes_reads_at_once_and_writes_afterwards(path: Path):
    with Child(write_and_wait_in_the_transaction, path) as writer:
        writer.hear()

        with ml.open(path) as store:
            before = bank.watch(store)
            writer.say("go on")
            promised = writer.result()
            store.write("bank", bank.rounds([2]))

            assert before == 0
            assert promised in {commit.id for commit in store.history()}
            assert bank.audit(store) == [0, 1, 2]
            store.verify()


def ask(parent: Parent, store: ml.Store, old: ml.Store) -> dict[str, object]:
    """What a process finds that was handed a store, and the same at a snapshot."""
    refusal = ""
    try:
        old.write("bank", bank.rounds([9]))
    except ml.ReadOnlyError as error:
        refusal = error.kind
    store.write("bank", bank.rounds([2]))
    return {"pid": os.getpid(), "now": bank.watch(store), "then": bank.watch(old), "refusal": refusal, "path": store.path}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_store_travels_to_another_process_with_its_version(path: Path, method: Method):
    with ml.open(path) as store:
        store.snapshot("first")
        store.write("bank", bank.rounds([1]))

        with Child(ask, store, store.at("first"), method=method) as child:
            answer = child.result()

        assert answer.pop("pid") != os.getpid()
        assert answer == {"now": 2, "then": 0, "refusal": ml.ReadOnlyError.kind, "path": store.path}
        assert bank.watch(store) == 2
        assert bank.watch(store.at("first")) == 0


def try_to_write(parent: Parent, store: ml.Store) -> str:
    bank.watch(store)
    try:
        store.write("bank", bank.rounds([1]))
    except ml.ReadOnlyError as error:
        return error.kind
    return "written"


def test_a_read_only_store_stays_so_in_another_process(path: Path):
    with ml.open(path, read_only=True) as store, Child(try_to_write, store) as child:
        assert child.result() == ml.ReadOnlyError.kind

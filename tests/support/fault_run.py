"""Faults: deeds done while a call to the system fails, to be run as `python -m tests.support.fault_run` under the fault shim.

For every deed, kind of call and number n: a fresh copy of a store is opened, the nth such call of the deed fails, once or for ever.
Whatever the deed then says: nothing acknowledged is lost, nothing is half there, and the error names the file and a cure.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlstore as ml
from tests.support import golden
from tests.support.crash_limits import shrink_limits
from tests.support.hostile_run import tell_fault
from tests.support.soaking import Patience

CALLS = {"write": 1, "sync": 2, "open": 3, "mmap": 4, "malloc": 5, "disk": 6}
ERRORS = {
    "write": (errno.EIO, errno.ENOSPC),
    "sync": (errno.EIO,),
    "open": (errno.EMFILE, errno.EACCES),
    "mmap": (errno.ENOMEM,),
    "malloc": (errno.ENOMEM,),
    "disk": (errno.ENOSPC,),
}
MOST_CALLS = 400

Deed = Callable[[ml.Store], object]

DEEDS: dict[str, Deed] = {
    "small write": lambda store: store.write("sales", golden.sales([1, 2, 300], [70])),
    "bulk write": lambda store: store.write("delays", golden.delays(range(500, 820))),
    "upsert": lambda store: store.write("prices", golden.prices(range(20), 9.0), mode="upsert"),
    "stream": lambda store: store.write("sales", golden.sales(range(30), range(80, 90)).to_reader(max_chunksize=100)),
    "delete": lambda store: store.delete("sales", keys={"shop_id": [1, 8]}),
    "snapshot": lambda store: store.snapshot("after"),
    "branch": lambda store: store.branch("other"),
    "merge": lambda store: store.merge("try"),
    "rollback": lambda store: store.rollback("late"),
    "optimize": lambda store: store.optimize(tier="cold"),
    "forget": lambda store: store.forget("shop", {"shop_id": [9]}),
    "compact": lambda store: store.compact(),
    "backup": lambda store: store.backup(f"{store.path}-backup"),
    "transaction": lambda store: transact(store),
    "open": lambda store: reopen(store),
}


def transact(store: ml.Store) -> None:
    with store.transaction(message="two at once") as both:
        both.write("sales", golden.sales([1], [75]))
        both.write("prices", golden.prices([3], 4.0), mode="upsert")


def reopen(store: ml.Store) -> None:
    store.close()
    with ml.open(store.path) as again:
        again.write("sales", golden.sales([1], [76]))


@dataclass(frozen=True, slots=True)
class State:
    """What a store holds, apart from clocks and ids: commit messages and rows, snapshots and branches."""

    commits: tuple[str, ...]
    rows: tuple[str, ...]
    names: tuple[str, ...]


def state_of(store: ml.Store) -> State:
    columns = {"sales": ["shop_id", "event_timestamp", "amount", "note"], "delays": ["number", "event_timestamp", "raw"], "prices": None}
    rows = tuple(golden.digest(sorted(_texts(store, table, names))) for table, names in columns.items())
    names = [*store.info()["snapshots"], *(branch.name for branch in store.branches())]
    told = tuple(f"{commit.message}: {[(change.op, change.table, change.rows) for change in commit.changes]}" for commit in store.history())
    return State(told, rows, tuple(sorted(names)))


def _texts(store: ml.Store, table: str, names: list[str] | None) -> list[str]:
    names = names or ["item", "price"]
    return [repr(row) for row in store.read(table, columns=names).to_pylist()]


class Shim:
    """The shim in this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.fault_arm.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        self._library.fault_reached.restype = ctypes.c_long

    def arm(self, call: str, nth: int, error: int, *, forever: bool, room: int) -> None:
        self._library.fault_arm(CALLS[call], nth, error, forever, room)

    def disarm(self) -> int:
        """How often a call has failed."""
        reached = int(self._library.fault_reached())
        self._library.fault_arm(0, 0, 0, 0, 0)
        return reached


def try_all(shim: Shim, original: Path, place: Path, share: float, seed: int) -> tuple[Counter[str], list[str]]:
    """A share of all faults of all deeds; how many ended how, and what was wrong."""
    ends, violations, dice, patience = Counter[str](), list[str](), random.Random(seed), Patience.begin()
    with ml.open(original) as store:
        before = state_of(store)
    after = {name: done(original, place, deed) for name, deed in DEEDS.items()}
    rows = [(name, *way) for name in DEEDS for way in _ways()]
    dice.shuffle(rows)  # patience may end before all are done
    for name, call, error, forever in rows[: max(1, round(30 * share * len(rows)))]:
        for nth in range(MOST_CALLS):
            if not patience.lasts():
                return ends, violations
            if dice.random() > share and nth:
                continue
            told = f"{name}, {call} {nth} fails with {errno.errorcode[error]}{' for ever' if forever else ''}"
            end, found = try_one(shim, original, place, DEEDS[name], call, nth, error, forever, (before, after[name]))
            if end == "not reached":
                break
            ends[f"{call}: {end}"] += 1
            violations += [f"{told}: {problem}" for problem in found]
    return ends, violations


def _ways() -> Iterator[tuple[str, int, bool]]:
    for call, errors in ERRORS.items():
        for error in errors:
            yield from ((call, error, forever) for forever in ((True,) if call == "disk" else (False, True)))


def done(original: Path, place: Path, deed: Deed) -> State:
    """What the deed makes of the store when nothing fails."""
    fresh(original, place)
    with ml.open(place) as store:
        deed(store)
    with ml.open(place) as store:
        return state_of(store)


def fresh(original: Path, place: Path) -> None:
    for old in place.parent.glob(f"{place.name}*"):
        old.unlink()
    shutil.copy(original, place)


def try_one(
    shim: Shim, original: Path, place: Path, deed: Deed, call: str, nth: int, error: int, forever: bool, expected: tuple[State, State]
) -> tuple[str, list[str]]:
    fresh(original, place)
    _, after = expected
    found: list[str] = []
    failure: BaseException | None = None
    store = ml.open(place)
    # A full disk has room for so many pages more.
    shim.arm(call, nth, error, forever=forever, room=place.stat().st_size + 4096 * (nth - 2))
    try:
        deed(store)
    except ml.MlstoreError as told:
        failure = told
        if not told.hint or (str(place) not in told.message and place.name not in told.message):
            found.append(f"the error names no place or no cure: {told!r}")
    except MemoryError as told:
        failure = told  # Python's own name for it
    except BaseException as told:  # noqa: BLE001 - this is what is looked for
        failure = told
        found.append(tell_fault("the deed", told))
    reached = shim.disarm()
    if not reached:
        store.close()
        return "not reached", found
    if failure is None and state_differs(place, (after,)):
        found.append("it is said to be done, and is not")
    found += _look_at_handle(store, expected)
    store.close()
    found += _look_again(place, expected)
    return "said to be done" if failure is None else f"told as {getattr(failure, 'kind', 'a fault')}", found


def state_differs(place: Path, expected: tuple[State, ...]) -> bool:
    with ml.open(place, read_only=True) as store:
        return state_of(store) not in expected


def _look_at_handle(store: ml.Store, expected: tuple[State, State]) -> list[str]:
    """Through the handle that heard of the fault: it reads what is whole, and writes whole or says why not."""
    found = []
    try:
        if state_of(store) not in expected:
            found.append("the handle sees what never was")
    except ml.ClosedError:
        return []
    except Exception as error:  # noqa: BLE001
        return [tell_fault("reading afterwards", error)]
    try:
        store.write("prices", golden.prices([90], 1.0))
        store.delete("prices", keys={"item": ["item 90"]})
    except ml.StoreError as error:
        if "open it again" not in str(error):
            found.append(f"the handle refuses to write, without a cure: {error}")
    except Exception as error:  # noqa: BLE001
        found.append(tell_fault("writing afterwards", error))
    return found


def _look_again(place: Path, expected: tuple[State, State]) -> list[str]:
    """Opened anew: whole, and as it was before or after the deed."""
    try:
        with ml.open(place) as store:
            store.verify()
            found = state_of(store)
            if (found.rows, found.names) not in [(state.rows, state.names) for state in expected]:
                return ["opened again it holds what never was"]
            store.write("sales", golden.sales([1], [99]))
            store.optimize()
            store.verify()
    except Exception as error:  # noqa: BLE001
        return [tell_fault("opened again", error)]
    return []


def main(original: str, place: str, share: str, seed: str) -> None:
    shrink_limits()
    ends, violations = try_all(Shim(), Path(original), Path(place), float(share), int(seed))
    json.dump({"ends": ends, "violations": violations}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])

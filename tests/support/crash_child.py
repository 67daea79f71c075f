"""A store's random life, told act by act to a parent that will end it, and the parent's account of what must then be there.

Before an act its child tells what it intends, after it what was promised. So when it dies, everything promised must be there,
what was intended last may be, and nothing in between.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

import mlstore as ml
from tests.support.crash_limits import shrink_limits
from tests.support.processes import Parent

ACCOUNT = ml.Entity("account", keys={"account_id": ml.int64})
LEDGER = ml.FeatureView("ledger", entity=ACCOUNT, schema={"batch": ml.int64, "size": ml.int64, "note": ml.string})
SLOT = ml.Entity("slot", keys={"slot_id": ml.int64})
STATE = ml.FeatureView("state", entity=SLOT, schema={"generation": ml.int64})
GROUPS = {"small": range(20), "large": range(1000, 1300)}

STREAMED_ROWS = 1000  # a batch of at least so many is written as a stream
DAY = "2024-05-01"


@dataclass(frozen=True, slots=True)
class Append:
    """A batch of rows, each of which tells its number and size."""

    batch: int
    size: int


@dataclass(frozen=True, slots=True)
class Replace:
    """All slots of a group get a generation, by one upsert."""

    group: str
    generation: int


@dataclass(frozen=True, slots=True)
class Halve:
    """The upper half of a group is deleted."""

    group: str


@dataclass(frozen=True, slots=True)
class Name:
    """A snapshot."""

    snapshot: str


@dataclass(frozen=True, slots=True)
class Tidy:
    """An optimize, which changes nothing to be seen."""


Act: TypeAlias = Append | Replace | Halve | Name | Tidy


@dataclass(frozen=True, slots=True)
class Done:
    """An act is over, and this commit was returned, if the act makes one."""

    commit: str | None


def create(path: Path) -> None:
    with ml.open(path) as store:
        store.apply(ACCOUNT, LEDGER, SLOT, STATE)


def live(parent: Parent, path: Path, life: int, durability: str) -> None:
    """Act at random until killed; no two lives use the same numbers."""
    shrink_limits()
    dice = random.Random(life)
    with ml.open(path, durability=durability) as store:
        for number in itertools.count(life * 100_000):
            act = choose(dice, number)
            parent.tell(act)
            parent.tell(Done(perform(store, act)))


def choose(dice: random.Random, number: int) -> Act:
    acts: dict[Callable[[], Act], int] = {
        lambda: Append(number, dice.randint(1, 60)): 4,
        lambda: Append(number, dice.randint(200, 2000)): 4,
        lambda: Replace(dice.choice(list(GROUPS)), number): 3,
        lambda: Halve(dice.choice(list(GROUPS))): 2,
        lambda: Name(f"snapshot {number}"): 1,
        lambda: Tidy(): 1,
    }
    return dice.choices(list(acts), list(acts.values()))[0]()


def perform(store: ml.Store, act: Act) -> str | None:
    """Do it; the commit that it made."""
    match act:
        case Append(batch, size):
            return store.write("ledger", ledger_rows(batch, size)).id if size < STREAMED_ROWS else stream(store, batch, size).id
        case Replace(group, generation):
            return store.write("state", state_rows(group, generation), mode="upsert").id
        case Halve(group):
            return store.delete("state", keys={"slot_id": upper_half(group)}).id
        case Name(snapshot):
            store.snapshot(snapshot)
        case Tidy():
            store.optimize()
    return None


def stream(store: ml.Store, batch: int, size: int, progress: Callable[[int, int | None], None] | None = None) -> ml.Commit:
    """Write a batch piece by piece: several sorted runs, in one commit."""
    return store.write("ledger", pa.table(ledger_rows(batch, size)).to_reader(max_chunksize=150), progress=progress)


def ledger_rows(batch: int, size: int) -> dict[str, list[object]]:
    return {
        "account_id": [(batch * 7 + row) % 500 for row in range(size)],
        "event_timestamp": [DAY] * size,
        "batch": [batch] * size,
        "size": [size] * size,
        "note": [f"row {row} of batch {batch}" for row in range(size)],
    }


def state_rows(group: str, generation: int) -> dict[str, list[object]]:
    slots = list(GROUPS[group])
    return {"slot_id": slots, "event_timestamp": [DAY] * len(slots), "generation": [generation] * len(slots)}


def upper_half(group: str) -> list[int]:
    slots = GROUPS[group]
    return list(slots[len(slots) // 2 :])


@dataclass(frozen=True, slots=True)
class Account:
    """What a store holds: sizes of batches, generation and number of rows of each group, snapshots."""

    batches: dict[int, int] = field(default_factory=dict)
    groups: dict[str, tuple[int, int]] = field(default_factory=dict)
    snapshots: frozenset[str] = frozenset()

    def after(self, act: Act) -> Account:
        """What it holds after an act."""
        match act:
            case Append(batch, size):
                return replace(self, batches=self.batches | {batch: size})
            case Replace(group, generation):
                return replace(self, groups=self.groups | {group: (generation, len(GROUPS[group]))})
            case Halve(group) if group in self.groups:
                half = len(GROUPS[group]) - len(upper_half(group))
                return replace(self, groups=self.groups | {group: (self.groups[group][0], half)})
            case Name(snapshot):
                return replace(self, snapshots=self.snapshots | {snapshot})
        return self


def take_stock(store: ml.Store) -> Account:
    """The account of a store as it is; rows that belong to half a batch or to two generations at once are an AssertionError."""
    ledger = store.read("ledger").table().group_by(["batch", "size"]).aggregate([([], "count_all")]).to_pylist()
    broken = [row for row in ledger if row["size"] != row["count_all"]]
    assert not broken, f"half a batch: {broken}"
    groups = {}
    for group, slots in GROUPS.items():
        online = store.online_features(["state"], {"slot_id": list(slots)})["generation"].to_pylist()
        history = {row["slot_id"]: row["generation"] for row in store.read("state", columns=["slot_id", "generation"]).to_pylist()}
        assert online == [history.get(slot) for slot in slots], f"online and history of group {group} differ"
        generations = set(online) - {None}
        assert len(generations) <= 1, f"group {group} is of several generations: {generations}"
        if generations:
            groups[group] = generations.pop(), sum(generation is not None for generation in online)
    return Account({row["batch"]: row["size"] for row in ledger}, groups, frozenset(store.info()["snapshots"]))


def recount(account: Account, words: list[Act | Done]) -> Iterator[Account]:
    """What the store may hold after a life that told these words: with, and without, the act under way when it ended."""
    acts = [word for word in words if not isinstance(word, Done)]
    before = reduce(Account.after, acts[:-1], account)
    if acts and not isinstance(words[-1], Done):
        yield before
    yield reduce(Account.after, acts, account)

"""What a store must be after a power cut, whatever the disk made of its last writes: whole, and true to what it had promised."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import mlstore as ml
from tests.support.crash_images import Cut, Event, image, promised
from tests.support.processes import Child, Parent
from tests.support.soaking import Patience


@dataclass(frozen=True, slots=True)
class Promise:
    """What was done, and the digest of all that the store then held."""

    did: str
    state: str


def parse_promises(marks: Iterable[str]) -> list[Promise]:
    return [Promise(**json.loads(mark)) for mark in marks]


def digest_state(store: ml.Store) -> str:
    """A digest of what every branch and snapshot holds, and of how it came to be, in an order that does not depend on where rows lie."""
    told: list[object] = [sorted(store.info()["snapshots"].items()), store.audit().to_pylist()]
    places = [store.checkout(branch.name) for branch in store.branches()]
    for place in [*places, *(store.at(name) for name in sorted(store.info()["snapshots"]))]:
        told.append([commit.id for commit in place.history()])
        told += [f"{entry.label}@{entry.revision}" for entry in place.catalog()]
        for table in [entry.label for entry in place.catalog() if entry.kind in ("view", "table")]:
            told += sorted(map(repr, place.read(table).to_pylist()))
    return hashlib.blake2b(repr(told).encode(), digest_size=16).hexdigest()


def check_cuts(
    events: Sequence[Event], cuts: Sequence[Cut], folder: Path, *, may_forget: bool, patience: Patience | None = None
) -> tuple[int, list[str]]:
    """How many images were looked at while patience lasted, and what is wrong after each cut; nothing if the store holds what it promised.

    `may_forget`: the last deeds, but nothing else.
    """
    looked = 0
    promises = parse_promises(promised(events, Cut(len(events), "kept")))

    def check(cut: Cut) -> list[str]:
        nonlocal looked
        if patience is not None and not patience.lasts():
            return []
        looked += 1
        path = folder / f"{cut.place}-{cut.fate}-{cut.seed}.mls"
        path.write_bytes(image(events, cut))
        kept = len(promised(events, cut))
        # In a process of its own: looking at a file that ends too early can be the end of it.
        with Child(find_problems, path, promises, kept, may_forget) as child:
            try:
                found = child.result()
            except AssertionError as error:
                found = [str(error)]
        for leftover in folder.glob(f"{path.name}*"):
            leftover.unlink()
        return [f"{cut}: {problem}" for problem in found]

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        problems = list(chain.from_iterable(workers.map(check, cuts)))
    return looked, problems


def find_problems(parent: Parent, path: Path, promises: Sequence[Promise], kept: int, may_forget: bool) -> list[str]:
    """Judge one image: runs in a child. `kept` promises were given before the cut."""
    try:
        with ml.open(path, durability="normal") as store:
            store.verify()
            problems = list(compare(digest_state(store), promises, kept, may_forget=may_forget))
            write_on(store)
            store.verify()
            return problems
    except ml.NotAStoreError as error:
        # A file of which nothing was promised yet may be left unfinished, and is told apart from a store.
        return [f"refused: {error}"] if kept > (1 if may_forget else 0) else []
    except (ml.MlstoreError, AssertionError) as error:
        return [f"{type(error).__name__}: {error}"]


def compare(state: str, promises: Sequence[Promise], kept: int, *, may_forget: bool) -> Iterable[str]:
    """The state is that of the last promise, or of the deed under way; of an earlier one only if the last deeds may be forgotten."""
    places = [place for place, promise in enumerate(promises) if promise.state == state]
    doing = promises[kept].did if kept < len(promises) else "nothing"
    if not places:
        yield f"the store is in a state that never was, during {doing}"
    elif min(places) > kept:
        yield f"the store is ahead of what was done, during {doing}"
    elif max(places) < kept - 1 and not may_forget:
        yield f"{promises[kept - 1].did} was promised and is gone"


def write_on(store: ml.Store) -> None:
    """The store is of use still: small and large writes."""
    entity = ml.Entity("survivor", keys={"survivor_id": ml.int64})
    view = ml.FeatureView("after", entity=entity, schema={"value": ml.int64})
    store.apply(entity, view)
    for rows in (1, 1000):
        column = list(range(rows))
        store.write("after", {"survivor_id": column, "event_timestamp": ["2030-01-01"] * rows, "value": column})
    assert store.online_features(["after"], {"survivor_id": 999})["value"] == 999

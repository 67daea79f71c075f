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

Contents = dict[str, str]


@dataclass(frozen=True, slots=True)
class Truth:
    """The life of a store that no cut ended: its commits, oldest first, what it held at each, and its snapshots."""

    commits: tuple[str, ...]
    contents: dict[str, Contents]
    snapshots: dict[str, str]


@dataclass(frozen=True, slots=True)
class Promises:
    """What the program was told before the cut."""

    commits: tuple[str, ...]
    snapshots: tuple[str, ...]


def learn_truth(path: Path) -> Truth:
    with ml.open(path) as store:
        commits = [commit.id for commit in reversed(store.history())]
        return Truth(tuple(commits), {commit: contents(store.at(commit)) for commit in commits}, store.info()["snapshots"])


def contents(store: ml.Store) -> Contents:
    """A digest of all rows of each view and table, in an order that does not depend on where they lie."""
    tables = [entry.label for entry in store.catalog() if entry.kind in ("view", "table")]
    return {table: _digest(store.read(table).to_pylist()) for table in tables}


def parse_promises(marks: Iterable[str]) -> Promises:
    parsed = [json.loads(mark) for mark in marks]
    commits = tuple(mark["commit"] for mark in parsed if "commit" in mark)
    snapshots = tuple(mark["snapshot"] for mark in parsed if "snapshot" in mark)
    return Promises(commits, snapshots)


def check_cuts(events: Sequence[Event], cuts: Iterable[Cut], truth: Truth, folder: Path, *, may_forget: bool) -> list[str]:
    """What is wrong after each cut; nothing if the store holds what it says. `may_forget`: the last commits, but nothing else."""

    def check(cut: Cut) -> list[str]:
        path = folder / f"{cut.place}-{cut.fate}-{cut.seed}.mls"
        path.write_bytes(image(events, cut))
        promises = parse_promises(promised(events, cut))
        # In a process of its own: looking at a file that ends too early can be the end of it.
        with Child(find_problems, path, promises, truth, may_forget) as child:
            try:
                found = child.result()
            except AssertionError as error:
                found = [str(error)]
        for leftover in folder.glob(f"{path.name}*"):
            leftover.unlink()
        return [f"{cut}: {problem}" for problem in found]

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        return list(chain.from_iterable(workers.map(check, cuts)))


def find_problems(parent: Parent, path: Path, promises: Promises, truth: Truth, may_forget: bool) -> list[str]:
    """Judge one image: runs in a child."""
    try:
        with ml.open(path, durability="normal") as store:
            store.verify()
            problems = [*compare(store, truth), *([] if may_forget else find_missing(store, promises))]
            write_on(store)
            store.verify()
            return problems
    except ml.NotAStoreError as error:
        # A file of which nothing was promised yet may be left unfinished, and is told apart from a store.
        return [f"refused: {error}"] if promises.commits else []
    except (ml.MlstoreError, AssertionError) as error:
        return [f"{type(error).__name__}: {error}"]


def compare(store: ml.Store, truth: Truth) -> Iterable[str]:
    """The history is a part of the true one from its beginning, and the rows are those of its last commit."""
    history = tuple(commit.id for commit in reversed(store.history()))
    if history != truth.commits[: len(history)]:
        yield f"the history {history} never was"
    elif history and contents(store) != truth.contents[history[-1]]:
        yield f"the rows are not those of commit {history[-1]}"
    snapshots = store.info()["snapshots"]
    yield from (f"snapshot {name} never was" for name, commit in snapshots.items() if truth.snapshots.get(name) != commit)


def find_missing(store: ml.Store, promises: Promises) -> Iterable[str]:
    """Nothing promised is missing."""
    history = {commit.id for commit in store.history()}
    snapshots = store.info()["snapshots"]
    yield from (f"commit {commit} was promised and is gone" for commit in promises.commits if commit not in history)
    yield from (f"snapshot {name} was promised and is gone" for name in promises.snapshots if name not in snapshots)


def write_on(store: ml.Store) -> None:
    """The store is of use still: small and large writes."""
    entity = ml.Entity("survivor", keys={"survivor_id": ml.int64})
    view = ml.FeatureView("after", entity=entity, schema={"value": ml.int64})
    store.apply(entity, view)
    for rows in (1, 1000):
        column = list(range(rows))
        store.write("after", {"survivor_id": column, "event_timestamp": ["2030-01-01"] * rows, "value": column})
    assert store.online_features(["after"], {"survivor_id": 999})["value"] == 999


def _digest(rows: list[dict[str, object]]) -> str:
    packed = "\n".join(sorted(map(repr, rows))).encode()
    return f"{len(rows)} rows {hashlib.blake2b(packed, digest_size=8).hexdigest()}"

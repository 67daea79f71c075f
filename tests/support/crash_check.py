"""What stores must be after a power cut, whatever the disk made of its last writes: whole, and true to what was promised."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlstore as ml
from tests.support.crash_images import Cut, Event, image, promised
from tests.support.soaking import Patience
from tests.support.trials import Say, put_on_trial

STORE, MIRROR = "store.mls", "mirror.mls"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Promise:
    """What was done, and the digests of all that the store and its mirror, if there is one, then held."""

    did: str
    states: dict[str, str]


def parse_promises(marks: Iterable[str]) -> list[Promise]:
    return [Promise(**json.loads(mark)) for mark in marks]


def digest_state(store: ml.Store) -> str:
    """A digest of what every branch and snapshot holds, and of how it came to be, in an order that does not depend on where rows lie."""
    told: list[object] = [sorted(store.info()["snapshots"].items()), store.audit().to_pylist()]
    places = [store.checkout(branch.name) for branch in store.branches()]
    for place in [*places, *(store.at(name) for name in sorted(store.info()["snapshots"]))]:
        entries = place.catalog()
        told.append([commit.id for commit in place.history()])
        told += [f"{entry.label}@{entry.revision}" for entry in entries]
        for table in [entry.label for entry in entries if entry.kind in ("view", "table")]:
            told += sorted(map(repr, place.read(table).to_pylist()))
        for window in [entry.label for entry in entries if entry.kind == "window"]:
            told += place.online_features([window], {"shop_id": list(range(9))}, now=NOW).to_pylist()
    return hashlib.blake2b(repr(told).encode(), digest_size=16).hexdigest()


def check_cuts(
    events: Sequence[Event], cuts: Sequence[Cut], folder: Path, *, may_forget: bool, patience: Patience | None = None
) -> tuple[int, list[str]]:
    """How many images were looked at while patience lasted, and what is wrong after each cut; nothing if all is as promised.

    `may_forget`: the last deeds, but nothing else.
    """
    promises = parse_promises(promised(events, Cut(len(events), "kept")))
    looked, problems = 0, list[str]()
    for verdict in put_on_trial(judge, cuts, events, promises, folder, may_forget, patience=patience):
        looked += 1
        found = verdict.answer if verdict.death is None else [verdict.death]
        problems += [f"{verdict.case}: {problem}" for problem in found]
    return looked, problems


def judge(say: Say, cut: Cut, events: Sequence[Event], promises: Sequence[Promise], folder: Path, may_forget: bool) -> list[str]:
    """In a child: looking at a file that ends too early can be the end of it."""
    place = folder / f"{cut.place}-{cut.fate}-{cut.seed}"
    place.mkdir()
    try:
        for name, data in image(events, cut).items():
            (place / name).write_bytes(data)
        return list(find_problems(place, promises, len(promised(events, cut)), may_forget, goes_on=cut.seed % 3 == 0))
    finally:
        shutil.rmtree(place)


def find_problems(place: Path, promises: Sequence[Promise], kept: int, may_forget: bool, *, goes_on: bool) -> Iterator[str]:
    """Judge one image. `kept` promises were given before the cut; `goes_on`: the store is then written to."""
    for name in (STORE, MIRROR):
        told = [None, *(promise.states.get(name) for promise in promises)]
        try:
            for problem in compare(look(place / name), told, kept, may_forget=may_forget):
                yield f"{name}: {problem}, {'after ' + promises[kept - 1].did if kept else 'before anything'}"
        except (ml.MlstoreError, AssertionError) as error:
            yield f"{name}: {type(error).__name__}: {error}"
            return
    try:
        if goes_on:
            go_on(place, may_forget=may_forget)
    except (ml.MlstoreError, AssertionError) as error:
        yield f"going on: {type(error).__name__}: {error}"


def look(path: Path) -> str | None:
    """The state of a whole store; None: there is none, or one of which nothing was written yet."""
    if not path.exists():
        return None
    try:
        with ml.open(path, durability="normal") as store:
            store.verify()
            assert not path.with_name(f"{path.name}-compact").exists(), "half a compaction is left"
            return digest_state(store)
    except ml.NotAStoreError:
        return None


def compare(state: str | None, told: Sequence[str | None], kept: int, *, may_forget: bool) -> Iterator[str]:
    """The state is that of the last promise, or of the deed under way; of an earlier one only if the last deeds may be forgotten."""
    places = [place for place, promise in enumerate(told) if promise == state]
    if not places:
        yield "a state that never was"
    elif min(places) > kept + 1:
        yield "ahead of what was done"
    elif max(places) < kept and not may_forget:
        yield "what was promised is gone"


def go_on(place: Path, *, may_forget: bool) -> None:
    """The store is of use still: small and large writes; its mirror follows."""
    entity = ml.Entity("survivor", keys={"survivor_id": ml.int64})
    view = ml.FeatureView("after", entity=entity, schema={"value": ml.int64})
    with ml.open(place / STORE, durability="normal") as store:
        store.apply(entity, view)
        for rows in (1, 300):
            column = list(range(rows))
            store.write("after", {"survivor_id": column, "event_timestamp": ["2030-01-01"] * rows, "value": column})
        assert store.online_features(["after"], {"survivor_id": 299})["value"] == 299
        store.verify()
        if (place / MIRROR).exists():
            # The disk of an origin that may forget may have kept less than its mirror has.
            assert follows(store, place / MIRROR) or may_forget, "the mirror does not follow"


def follows(store: ml.Store, mirror: Path) -> bool:
    try:
        store.push(mirror)
    except ml.UsageError:
        return False
    with ml.open(mirror, read_only=True) as copy:
        copy.verify()
        return digest_state(copy) == digest_state(store)

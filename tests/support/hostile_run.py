"""Damaged files put before a process that may not crash, hang, take much memory, or answer wrongly and call the file sound.

Every case comes from a number, so it can be had again. A process of its own looks at some dozens, tells of each, and is watched.
"""

from __future__ import annotations

import gc
import os
import random
import resource
import signal
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import mlstore as ml
from tests.support import golden
from tests.support.crash_limits import shrink_limits
from tests.support.hostile_bytes import DAMAGES
from tests.support.hostile_records import forge
from tests.support.processes import Child, Parent
from tests.support.soaking import Patience

ADDRESS_SPACE_BYTES = 6 << 30
PATIENCE_SECONDS = 40
CASES_OF_A_CHILD = 40
ENDS_OF_LMDB = (signal.SIGABRT, signal.SIGBUS)

Kind = Literal["damage", "forgery"]


@dataclass(slots=True)
class Tally:
    """How many files met which end, and what was wrong with us."""

    ends: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counted = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        return f"{self.ends.total()} files: {counted}"


def attack(original: Path, folder: Path, kind: Kind, seeds: Sequence[int], patience: Patience | None = None) -> Tally:
    """Damage the file once for each seed, as long as patience lasts, and look at what becomes of it."""
    tally = Tally()
    with ml.open(original) as store:
        truth = golden.answers(store)

    def run(part: Sequence[int]) -> None:
        waiting = list(part)
        while waiting and (patience is None or patience.lasts()):
            waiting = waiting[run_some(waiting) :]

    def run_some(waiting: Sequence[int]) -> int:
        """Run some of the cases in a child; how many."""
        done = 0
        some = waiting[:CASES_OF_A_CHILD]
        with Child(meet_all, original, folder, kind, truth, some) as child:
            told = f"nothing of case {kind} {some[0]}"
            while done < len(some):
                try:
                    word = child.hear_within(PATIENCE_SECONDS)
                except AssertionError as error:
                    # LMDB's own checks of its pages end the process, and pages are looked at beforehand only if asked for.
                    is_lmdb = kind == "damage" and "(trusted: " in told and any(f"died: {-end}" in str(error) for end in ENDS_OF_LMDB)
                    tally.ends["stopped by LMDB" if is_lmdb else "crash"] += 1
                    if not is_lmdb:
                        tally.violations.append(f"{told}: {error}")
                    return done + 1
                if isinstance(word, str):
                    told = word
                else:
                    end, found = word
                    tally.ends[end] += 1
                    tally.violations += [f"{told}: {problem}" for problem in found]
                    done += 1
        return done

    size = max(1, min(CASES_OF_A_CHILD, -(-len(seeds) // (os.cpu_count() or 1))))
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(run, [seeds[start : start + size] for start in range(0, len(seeds), size)]))
    return tally


def meet_all(parent: Parent, original: Path, folder: Path, kind: Kind, truth: dict[str, str], seeds: Iterable[int]) -> None:
    """In a child: one case after the other."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    shrink_limits()
    for seed in seeds:
        path = folder / f"{kind}-{seed}.mls"
        dice = random.Random(seed)
        told = make(original, path, kind, dice)
        is_wary = dice.random() < 0.3
        parent.tell(f"case {kind} {seed} ({'untrusted' if is_wary else 'trusted'}: {told})")
        parent.tell(meet(path, truth, dice, is_wary=is_wary, is_forged=kind == "forgery"))
        gc.collect()
        for leftover in folder.glob(f"{path.name}*"):
            leftover.unlink()


def make(original: Path, path: Path, kind: Kind, dice: random.Random) -> str:
    """A damaged copy; what was done to it."""
    data = bytearray(original.read_bytes())
    told = ""
    if kind == "damage":
        told = dice.choice(list(DAMAGES))
        DAMAGES[told](data, dice)
    path.write_bytes(data)
    return forge(path, dice) if kind == "forgery" else told


def meet(path: Path, truth: dict[str, str], dice: random.Random, *, is_wary: bool, is_forged: bool) -> tuple[str, list[str]]:
    """Open the file, ask it everything, verify it, and write to it."""
    found: list[str] = []
    is_read_only = dice.random() < 0.3
    try:
        store = ml.open(path, read_only=is_read_only, untrusted=is_wary)
    except ml.MlstoreError as error:
        return f"refused as {error.kind}", []
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        return "refused", [tell_fault("open", error)]
    with store:
        answers = {name: ask(name, question, store, found) for name, question in golden.QUESTIONS.items()}
        wrong = [name for name, answer in answers.items() if answer != truth[name] and not isinstance(answer, ml.StoreError)]
        is_sound = ask("verify", lambda store: bool(store.verify()), store, found) == golden.digest(True)
        if wrong and is_sound and not is_forged:
            found.append(f"verify() finds nothing, and these are wrong: {', '.join(f'{name} ({answers[name]})' for name in wrong)}")
        if not is_read_only:
            write_on(store, dice, found)
    if is_sound:
        return "sound and right" if not wrong else "sound and otherwise", found
    return "right answers, damage found" if not wrong and answers == truth else "damage found", found


def ask(name: str, question: golden.Question, store: ml.Store, found: list[str]) -> object:
    """The digest of the answer, or the error."""
    try:
        return golden.digest(question(store))
    except ml.MlstoreError as error:
        return error
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        found.append(tell_fault(name, error))
        return error


def write_on(store: ml.Store, dice: random.Random, found: list[str]) -> None:
    """Write to a damaged file: whatever comes of it, the process lives and hears an error of ours."""
    deeds: list[golden.Question] = [
        lambda store: store.write("sales", golden.sales([1, 2, 300], range(70, 72))),
        lambda store: store.write("delays", golden.delays(range(500, 820))),
        lambda store: store.write("prices", golden.prices(range(40), 9.0), mode="upsert"),
        lambda store: store.delete("sales", keys={"shop_id": [1, 8]}),
        lambda store: store.snapshot("after"),
        lambda store: store.optimize(tier=dice.choice(["hot", "cold", None])),
        lambda store: store.merge("try"),
        lambda store: store.rollback("early"),
        lambda store: store.forget("shop", {"shop_id": [9]}),
        lambda store: store.compact(),
    ]
    for number in sorted(dice.sample(range(len(deeds)), 4)):
        ask(f"deed {number}", deeds[number], store, found)
    ask("verify after deeds", lambda store: bool(store.verify()), store, found)


def tell_fault(doing: str, error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames[-4:]))
    return f"{doing}: {type(error).__name__}: {error!s:.200} at {where}"

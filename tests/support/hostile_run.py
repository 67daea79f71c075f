"""Damaged files put before a process that may not crash, hang, take much memory, or answer wrongly and call the file sound.

Every case comes from a number, so it can be had again. A process of its own looks at many, tells of each, and is watched.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import mlstore as ml
from tests.support import golden
from tests.support.crash_limits import shrink_limits
from tests.support.hostile_bytes import DAMAGES
from tests.support.hostile_records import forge
from tests.support.soaking import Patience
from tests.support.trials import Say, put_on_trial

ADDRESS_SPACE_BYTES = 6 << 30
ENDS_OF_LMDB = (signal.SIGABRT, signal.SIGSEGV)

Kind = Literal["damage", "forgery"]


@dataclass(frozen=True, slots=True)
class Original:
    """A sound file, the part of the rows it has, what it answers, and how many of the questions a damaged one is asked."""

    path: Path
    part: int
    truth: dict[str, str]
    questions: int

    @classmethod
    def of(cls, path: Path, *, part: int = 1, questions: int | None = None) -> Original:
        with ml.open(path) as store:
            truth = golden.answers(store)
        return cls(path, part, truth, questions or len(truth))


@dataclass(slots=True)
class Tally:
    """How many files met which end, and what was wrong with us."""

    ends: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counted = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        return f"{self.ends.total()} files: {counted}"


def attack(originals: Sequence[Original], folder: Path, kind: Kind, seeds: Sequence[int], patience: Patience | None = None) -> Tally:
    """Damage one of the files for each seed, as long as patience lasts, and look at what becomes of it."""
    tally = Tally()
    for verdict in put_on_trial(meet_case, seeds, originals, folder, kind, patience=patience):
        if verdict.death is None:
            end, found = verdict.answer
        else:
            # LMDB follows damaged pages without a look, to their end or its own; they are looked at beforehand only if asked for.
            is_excused = kind == "damage" and "(trusted: " in verdict.said and is_end_of_lmdb(verdict.death)
            end, found = ("stopped by LMDB", []) if is_excused else ("crash", [verdict.death])
        tally.ends[end] += 1
        tally.violations += [f"{verdict.said}: {problem}" for problem in found]
    return tally


def is_end_of_lmdb(death: str) -> bool:
    """It ended inside LMDB, which only storage/ calls; or whoever it was read a page beyond the file's end."""
    in_lmdb = "/mlstore/storage/" in death and any(f"died: {-end}" in death for end in ENDS_OF_LMDB)
    return in_lmdb or f"died: {-signal.SIGBUS}" in death


def meet_case(say: Say, seed: int, originals: Sequence[Original], folder: Path, kind: Kind) -> tuple[str, list[str]]:
    """In a child: make a case of its number, and meet it."""
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # a sanitizer takes all the address space there is
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    dice = random.Random(seed)
    original = dice.choice(originals)
    shrink_limits(original.part)
    path = folder / f"{kind}-{seed}.mls"
    told = make(original.path, path, kind, dice)
    is_wary = dice.random() < 0.3
    say(f"case {kind} {seed} ({'untrusted' if is_wary else 'trusted'}: {told})")
    try:
        return meet(path, original, dice, is_wary=is_wary, is_forged=kind == "forgery")
    finally:
        for end in ("", "-lock", "-compact", "-compact-lock"):
            path.with_name(path.name + end).unlink(missing_ok=True)


def make(original: Path, path: Path, kind: Kind, dice: random.Random) -> str:
    """A damaged copy; what was done to it."""
    data = bytearray(original.read_bytes())
    told = ""
    if kind == "damage":
        told = dice.choice(list(DAMAGES))
        DAMAGES[told](data, dice)
    path.write_bytes(data)
    return forge(path, dice) if kind == "forgery" else told


def meet(path: Path, original: Original, dice: random.Random, *, is_wary: bool, is_forged: bool) -> tuple[str, list[str]]:
    """Open the file, ask it, verify it, and write to it."""
    found: list[str] = []
    is_read_only = dice.random() < 0.3
    try:
        store = ml.open(path, read_only=is_read_only, untrusted=is_wary)
    except ml.MlstoreError as error:
        return f"refused as {error.kind}", []
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        return "refused", [tell_fault("open", error)]
    with store:
        asked = dice.sample(sorted(original.truth), original.questions)
        answers = {name: ask(name, golden.QUESTIONS[name], store, found) for name in asked}
        wrong = [name for name, answer in answers.items() if answer != original.truth[name] and not isinstance(answer, ml.StoreError)]
        is_sound = ask("verify", lambda store: bool(store.verify()), store, found) == golden.digest(True)
        if wrong and is_sound and not is_forged:
            found.append(f"verify() finds nothing, and these are wrong: {', '.join(f'{name} ({answers[name]})' for name in wrong)}")
        if not is_read_only and dice.random() < 3 / (original.part + 2):
            write_on(store, dice, found, original.part)
    if is_sound:
        return "sound and right" if not wrong else "sound and otherwise", found
    is_right = all(answer == original.truth[name] for name, answer in answers.items())
    return "right answers, damage found" if is_right else "damage found", found


def ask(name: str, question: golden.Question, store: ml.Store, found: list[str]) -> object:
    """The digest of the answer, or the error."""
    try:
        return golden.digest(question(store))
    except ml.MlstoreError as error:
        return error
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        found.append(tell_fault(name, error))
        return error


def write_on(store: ml.Store, dice: random.Random, found: list[str], part: int) -> None:
    """Write to a damaged file: whatever comes of it, the process lives and hears an error of ours."""
    deeds: list[golden.Question] = [
        lambda store: store.write("sales", golden.sales([1, 2, 300], range(70, 72))),
        lambda store: store.write("delays", golden.delays(range(500, 500 + 320 // part))),
        lambda store: store.write("prices", golden.prices(range(40), 9.0), mode="upsert"),
        lambda store: store.delete("sales", keys={"shop_id": [1, 8]}),
        lambda store: store.snapshot("after"),
        lambda store: store.optimize(tier=dice.choice(["hot", "cold", None])),
        lambda store: store.merge("try"),
        lambda store: store.rollback("early"),
        lambda store: store.forget("shop", {"shop_id": [9]}),
        lambda store: store.compact(),
    ]
    for number in sorted(dice.sample(range(len(deeds)), 4 if part == 1 else 2)):
        ask(f"deed {number}", deeds[number], store, found)
    if dice.random() < 1 / part:
        ask("verify after deeds", lambda store: bool(store.verify()), store, found)


def tell_fault(doing: str, error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames[-4:]))
    return f"{doing}: {type(error).__name__}: {error!s:.200} at {where}"

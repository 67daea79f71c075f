"""Trials: cases put before child processes, many to each. A case that ends its child is told of, and the next ones go on in another."""

from __future__ import annotations

import faulthandler
import gc
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.support.processes import Child, Parent
from tests.support.soaking import Patience

PATIENCE_SECONDS = 240  # of a busy machine; to be used up by a case that hangs only
CASES_OF_A_CHILD = 200

Say: TypeAlias = Callable[[str], None]
Judge: TypeAlias = Callable[..., Any]  # judge(say, case, *shared) -> the answer


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a case: the answer of its judge, or how and where its child ended; and what the judge had said before."""

    case: Any
    said: str
    answer: Any
    death: str | None = None


def put_on_trial(judge: Judge, cases: Sequence[Any], *shared: object, patience: Patience | None = None) -> Iterator[Verdict]:
    """Judge all cases, as long as patience lasts, in as many children at a time as there are processors."""
    workers = os.cpu_count() or 1
    size = max(1, min(CASES_OF_A_CHILD, -(-len(cases) // workers)))

    def run(part: Sequence[Any]) -> list[Verdict]:
        verdicts: list[Verdict] = []
        while len(verdicts) < len(part) and (patience is None or patience.lasts()):
            verdicts += _judge_some(judge, part[len(verdicts) :], shared)
        return verdicts

    with ThreadPoolExecutor(workers) as pool:
        for verdicts in pool.map(run, [cases[start : start + size] for start in range(0, len(cases), size)]):
            yield from verdicts


def _judge_some(judge: Judge, cases: Sequence[Any], shared: tuple[object, ...]) -> Iterator[Verdict]:
    """In one child: all of them, or those up to the one that ends it."""
    with tempfile.NamedTemporaryFile("r") as last_words, Child(_judge_all, judge, cases, shared, last_words.name) as child:
        for case in cases:
            said = f"nothing of {case}"
            try:
                while isinstance(word := child.hear_within(PATIENCE_SECONDS), str):
                    said = word
            except AssertionError as error:
                frames = [line.strip() for line in last_words if line.startswith("  File ")]
                yield Verdict(case, said, None, f"{error}, {frames[0] if frames else 'nobody knows where'}")
                return
            yield Verdict(case, said, *word)


def _judge_all(parent: Parent, judge: Judge, cases: Sequence[Any], shared: tuple[object, ...], last_words: str) -> None:
    with open(last_words, "w") as file:
        faulthandler.enable(file)
        for number, case in enumerate(cases):
            answer = judge(parent.tell, case, *shared)
            gc.collect()  # what the case held is let go of before it is over
            parent.tell((answer,))
            if number == 0:
                gc.freeze()  # what is imported by now would be looked through after each case again
        faulthandler.disable()

"""Trials: cases put before child processes, many to each. A case that ends its child, or silences it, is told of, and the next goes on in another."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.support.processes import Child, Parent
from tests.support.soaking import Patience

PATIENCE_SECONDS = 90  # of a busy machine; to be used up by a case that hangs only
CASES_OF_A_CHILD = 200

Say: TypeAlias = Callable[[str], None]
Judge: TypeAlias = Callable[..., Any]  # judge(say, case, *shared) -> the answer


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a case: the answer of its judge, or how its child ended; and what the judge had said before."""

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
    with Child(_judge_all, judge, cases, shared) as child:
        for case in cases:
            said = f"nothing of {case}"
            try:
                while isinstance(word := child.hear_within(PATIENCE_SECONDS), str):
                    said = word
            except AssertionError as error:
                yield Verdict(case, said, None, str(error))
                return
            yield Verdict(case, said, *word)


def _judge_all(parent: Parent, judge: Judge, cases: Sequence[Any], shared: tuple[object, ...]) -> None:
    for number, case in enumerate(cases):
        parent.tell((judge(parent.tell, case, *shared),))
        gc.collect()
        if number == 0:
            gc.freeze()  # what is imported by now would be looked through after each case again

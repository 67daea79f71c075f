"""Plain-Python twins of the as-of kernels: every fact is looked at for every question. Slow, and plainly right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NULL_TIME = -(2**63)

Winner = tuple[int, int, int, int]  # time, created, seq, place in the order of the facts


@dataclass(frozen=True, slots=True)
class Fact:
    """A row of history. `is_hidden`: it was deleted."""

    key: int
    time: int
    created: int
    seq: int
    is_hidden: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """Who is asked for, and what bounds the answer; None is no bound. All bounds are inclusive."""

    key: int
    latest: int
    oldest: int | None = None
    known: int | None = None


def naive_match(question: Question, facts: Sequence[Fact], *, last_seq: int) -> Winner | None:
    """The greatest admissible fact by (time, created, seq), the later one of equals; None if none is admissible."""
    admissible = [
        (fact.time, fact.created, fact.seq, place) for place, fact in enumerate(facts) if is_admissible(fact, question, last_seq=last_seq)
    ]
    return max(admissible, default=None)


def naive_next(question: Question, facts: Sequence[Fact], *, last_seq: int, never: int) -> int:
    """The time of the first fact of the key after `latest` that is neither hidden nor written later; `never` if there is none."""
    return min(
        (
            fact.time
            for fact in facts
            if fact.key == question.key and fact.time > question.latest and not fact.is_hidden and fact.seq <= last_seq
        ),
        default=never,
    )


def is_admissible(fact: Fact, question: Question, *, last_seq: int) -> bool:
    if fact.key != question.key or fact.is_hidden or fact.seq > last_seq or fact.time > question.latest:
        return False
    if question.oldest is not None and fact.time < question.oldest:
        return False
    # A null creation time is not known at any time.
    return question.known is None or (fact.created != NULL_TIME and fact.created <= question.known)


def naive_range(key: int, first: int, last: int, facts: Sequence[Fact]) -> list[int]:
    """The places of the key's facts with first <= time <= last."""
    return [place for place, fact in enumerate(facts) if fact.key == key and first <= fact.time <= last]

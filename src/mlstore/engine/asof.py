"""As-of search over blocks: for each question (key, time) the winning row of the whole history.

Questions are grouped by key; `slots` says which row of the answer each belongs to.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mlstore._core.asof import match_backward, match_next
from mlstore.engine import limits
from mlstore.engine.block import NO_NUMBERS, Block, Int64, UInt32
from mlstore.engine.offline import MAX_TIME, MIN_TIME, Blocks
from mlstore.engine.parallel import in_parallel
from mlstore.format.keys import Keys
from mlstore.format.order import order_rows, take_ints
from mlstore.schema.timestamps import NULL_TIME


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked: `latest` and `oldest` bound the event time, `known` the creation time, both ends inclusive.

    keys: [groups] sorted and unique; offsets: [groups + 1]; slots, latest: [asks]; oldest, known: [asks] or empty (no bound).
    """

    keys: Keys
    offsets: Int64
    slots: UInt32
    latest: Int64
    oldest: Int64
    known: Int64


@dataclass(frozen=True, slots=True)
class Winners:
    """The winner of each question: its clocks, and the block and row where it lies. source -1: there is none."""

    time: Int64
    created: Int64
    seq: Int64
    source: NDArray[np.int32]
    row: UInt32

    @property
    def found(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.source >= 0
        return found


def group_questions(keys: Keys, codes: NDArray[np.int32], latest: Int64, oldest: Int64, known: Int64) -> Questions:
    """Group questions by key. codes: [rows] the key of each, -1: a null key; a latest of NULL_TIME: a null time. Neither is asked."""
    if len(latest) and latest.min() == NULL_TIME:
        codes = np.where(latest == NULL_TIME, np.int32(-1), codes)
    # Few questions of a key are found fastest as they come; many, one after the other in time.
    in_time = len(latest) >= limits.SORTED_ASKS * len(keys)
    slots, offsets = order_rows(codes, len(keys), latest if in_time else None, drop_null=True)
    return Questions(keys, offsets, slots, *(take_ints(bound, slots) if bound.size else NO_NUMBERS for bound in (latest, oldest, known)))


def newest_questions(keys: Keys) -> Questions:
    """One question per key, at the end of time."""
    count = len(keys)
    return Questions(
        keys, np.arange(count + 1), np.arange(count, dtype=np.uint32), np.full(count, MAX_TIME, np.int64), NO_NUMBERS, NO_NUMBERS
    )


def relevant_blocks(history: Blocks, questions: Questions) -> list[Block]:
    """The blocks that can hold an answer."""
    if not len(questions.keys) or not questions.latest.size:
        return []
    first = int(questions.oldest.min()) if questions.oldest.size else MIN_TIME
    return history.blocks(keys=questions.keys, first_time=first, last_time=int(questions.latest.max()))


def search(blocks: Sequence[Block], questions: Questions, feature: int | None = None) -> Winners:
    """The winners; with `feature`, among the rows where that feature is not null."""
    asks = len(questions.latest)
    best = Winners(
        np.empty(asks, np.int64), np.empty(asks, np.int64), np.empty(asks, np.int64), np.full(asks, -1, np.int32), np.empty(asks, np.uint32)
    )

    def search_groups(first: int, last: int) -> None:
        for source, block, begin, end in _shares(blocks, questions, first, last):
            match_backward(
                questions.offsets[begin : end + 1],
                questions.latest,
                questions.oldest,
                questions.known,
                block.keys.search(questions.keys.slice(begin, end)),
                block.offsets,
                block.content.time,
                block.content.created,
                block.content.same_created,
                block.content.seq,
                block.content.same_seq,
                block.hidden if feature is None else _hidden_or_null(block, feature),
                block.bound,
                source,
                best.time,
                best.created,
                best.seq,
                best.source,
                best.row,
            )

    _in_parts(questions, search_groups)
    return best


def search_next(blocks: Sequence[Block], questions: Questions) -> Int64:
    """The event time of the first row after each question's `latest`, whenever it became known; MAX_TIME: there is none."""
    next_time = np.full(len(questions.latest), MAX_TIME, np.int64)

    def search_groups(first: int, last: int) -> None:
        for _, block, begin, end in _shares(blocks, questions, first, last):
            match_next(
                questions.offsets[begin : end + 1],
                questions.latest,
                block.keys.search(questions.keys.slice(begin, end)),
                block.offsets,
                block.content.time,
                block.content.seq,
                block.content.same_seq,
                block.hidden,
                block.bound,
                next_time,
            )

    _in_parts(questions, search_groups)
    return next_time


def without_oldest(questions: Questions) -> Questions:
    """The same questions, however old the answer."""
    return replace(questions, oldest=NO_NUMBERS)


def _in_parts(questions: Questions, search_groups: Callable[[int, int], None]) -> None:
    """Search groups of questions [first, last), part by part; parts have about as many questions each, and threads of their own."""
    asks = len(questions.latest)
    parts = limits.READ_THREADS if asks >= limits.PARALLEL_ROWS else 1
    cuts = np.searchsorted(questions.offsets, np.linspace(0, asks, parts + 1)[1:-1]).tolist()
    in_parallel([partial(search_groups, first, last) for first, last in pairwise([0, *cuts, len(questions.keys)])], asks)


def _shares(blocks: Sequence[Block], questions: Questions, first: int, last: int) -> Iterator[tuple[int, Block, int, int]]:
    """(source, block, begin, end): the groups [begin, end) of [first, last) that a block may hold rows of."""
    for source, block in enumerate(blocks):
        begin = max(first, questions.keys.lower_bound(block.first_key))
        end = min(last, questions.keys.lower_bound(block.last_key + b"\0"))
        if begin < end:
            yield source, block, begin, end


def _hidden_or_null(block: Block, feature: int) -> NDArray[np.uint8]:
    column = block.column(feature)
    if not column.null_count:
        return block.hidden
    null = np.asarray(column.is_null()).astype(np.uint8)
    return null | block.hidden if block.hidden.size else null

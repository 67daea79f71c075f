"""As-of search over blocks: for each question (key, time) the winning row of the whole history.

Questions are grouped by key; `slots` says which row of the answer each belongs to.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from mlstore._core.asof import match_backward, match_next
from mlstore.engine import limits
from mlstore.engine.arrays import filled, unfilled
from mlstore.engine.history.block import NO_NUMBERS, Block, Int64, UInt32
from mlstore.engine.history.offline import MAX_TIME, MIN_TIME, Blocks
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

    def take(self, asks: Int64) -> "Winners":
        """Those of some questions."""
        return Winners(self.time[asks], self.created[asks], self.seq[asks], self.source[asks], self.row[asks])

    def are_later(self, begin: int, end: int, time: int) -> bool:
        """Whether questions [begin, end) all have a winner, and one later than a time."""
        return bool((self.source[begin:end] >= 0).all()) and int(self.time[begin:end].min(initial=time + 1)) > time


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
    return newest_first(history.blocks(keys=questions.keys, first_time=first, last_time=int(questions.latest.max())))


def newest_first(blocks: Sequence[Block]) -> list[Block]:
    """Blocks in the order of their runs' latest times, so that old ones need not be opened where new ones answer.

    The blocks of a run stay in their order, which settles ties between equals.
    """
    runs: dict[tuple[int, int | None], list[Block]] = {}
    for place, block in enumerate(blocks):
        runs.setdefault((place, None) if block.run is None else (-1, block.run), []).append(block)
    ordered = sorted(runs.values(), key=lambda run: max(block.span.last_time for block in run), reverse=True)
    return [block for run in ordered for block in run]


def search(blocks: Sequence[Block], questions: Questions, feature: int | None = None) -> Winners:
    """The winners; with `feature`, among the rows where that feature is not null."""
    asks = len(questions.latest)
    time, created, seq = (unfilled(asks, np.int64) for _ in range(3))
    best = Winners(time, created, seq, filled(asks, np.int32, -1), unfilled(asks, np.uint32))

    def match(share: Share) -> None:
        block = share.block
        match_backward(
            questions.offsets[share.begin : share.end + 1],
            questions.latest,
            questions.oldest,
            questions.known,
            block.keys.search(questions.keys.slice(share.begin, share.end)),
            block.offsets,
            block.content.time,
            block.span.first_time,
            block.span.last_time,
            block.content.created,
            block.content.same_created,
            block.content.seq,
            block.content.same_seq,
            block.hidden if feature is None else _hidden_or_null(block, feature),
            block.bound,
            share.source,
            best.time,
            best.created,
            best.seq,
            best.source,
            best.row,
        )

    for shares in _by_run(blocks, questions):
        needed = [
            share
            for share in shares
            if not best.are_later(questions.offsets[share.begin], questions.offsets[share.end], share.block.span.last_time)
        ]
        for share in needed:
            share.block.open(() if feature is None else (feature,))
        _in_parts(questions, needed, match)
    return best


def search_next(blocks: Sequence[Block], questions: Questions) -> Int64:
    """The event time of the first row after each question's `latest`, whenever it became known; MAX_TIME: there is none."""
    next_time = np.full(len(questions.latest), MAX_TIME, np.int64)

    def match(share: Share) -> None:
        block = share.block
        match_next(
            questions.offsets[share.begin : share.end + 1],
            questions.latest,
            block.keys.search(questions.keys.slice(share.begin, share.end)),
            block.offsets,
            block.content.time,
            block.content.seq,
            block.content.same_seq,
            block.hidden,
            block.bound,
            next_time,
        )

    shares = list(_shares(blocks, questions))
    for share in shares:
        share.block.open()
    _in_parts(questions, shares, match)
    return next_time


def without_oldest(questions: Questions) -> Questions:
    """The same questions, however old the answer."""
    return replace(questions, oldest=NO_NUMBERS)


@dataclass(frozen=True, slots=True)
class Share:
    """The groups of questions [begin, end) that a block may hold rows of."""

    source: int
    block: Block
    begin: int
    end: int


def _shares(blocks: Sequence[Block], questions: Questions) -> Iterator[Share]:
    for source, block in enumerate(blocks):
        begin = questions.keys.lower_bound(block.span.first_key)
        end = questions.keys.lower_bound(block.span.last_key + b"\0")
        if begin < end:
            yield Share(source, block, begin, end)


def _by_run(blocks: Sequence[Block], questions: Questions) -> Iterator[list[Share]]:
    """The shares of the first run, of the next two, of the next four, and so on.

    What is not needed once newer runs have answered is opened in vain for no more runs than were needed, and threads meet seldom.
    """
    runs = [list(run) for _, run in groupby(_shares(blocks, questions), key=lambda share: share.block.run)]
    first, count = 0, 1
    while first < len(runs):
        yield [share for run in runs[first : first + count] for share in run]
        first, count = first + count, 2 * count


def _in_parts(questions: Questions, shares: Sequence[Share], match: Callable[[Share], None]) -> None:
    """Match shares in their order, in parts of about as many questions each, which have threads of their own."""
    asks = len(questions.latest)
    parts = limits.READ_THREADS if asks >= limits.PARALLEL_ROWS else 1
    cuts = np.searchsorted(questions.offsets, np.linspace(0, asks, parts + 1)[1:-1]).tolist()

    def match_part(first: int, last: int) -> None:
        for share in shares:
            begin, end = max(first, share.begin), min(last, share.end)
            if begin < end:
                match(replace(share, begin=begin, end=end))

    in_parallel([partial(match_part, first, last) for first, last in pairwise([0, *cuts, len(questions.keys)])], asks)


def _hidden_or_null(block: Block, feature: int) -> NDArray[np.uint8]:
    column = block.column(feature)
    if not column.null_count:
        return block.hidden
    null = np.asarray(column.is_null()).astype(np.uint8)
    return null | block.hidden if block.hidden.size else null

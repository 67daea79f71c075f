"""As-of search over blocks: for each question (key, time) the winning row of the whole history.

Questions are grouped by key and ascend in time; `slots` says which row of the answer each belongs to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.asof import match_backward, match_next
from mlstore.engine.block import NO_NUMBERS, Block, Int64
from mlstore.engine.offline import MAX_TIME, MIN_TIME, History
from mlstore.format.keys import Keys
from mlstore.format.order import order_rows
from mlstore.schema.timestamps import NULL_TIME


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked: `latest` and `oldest` bound the event time, `known` the creation time, both ends inclusive.

    keys: [groups] sorted and unique; offsets: [groups + 1]; slots, latest: [asks]; oldest, known: [asks] or empty (no bound).
    """

    keys: Keys
    offsets: Int64
    slots: Int64
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
    row: Int64

    @property
    def found(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.source >= 0
        return found


def group_questions(keys: Keys, codes: NDArray[np.int32], latest: Int64, oldest: Int64, known: Int64) -> Questions:
    """Put questions in order. codes: [rows] the key of each, -1: a null key; a latest of NULL_TIME: a null time. Neither is asked."""
    codes = np.where(latest == NULL_TIME, np.int32(-1), codes)
    order, offsets = order_rows(codes, len(keys), latest, drop_null=True)
    slots = order.astype(np.int64)
    return Questions(
        keys, offsets, slots, latest[slots], oldest[slots] if oldest.size else NO_NUMBERS, known[slots] if known.size else NO_NUMBERS
    )


def newest_questions(keys: Keys) -> Questions:
    """One question per key, at the end of time."""
    count = len(keys)
    return Questions(keys, np.arange(count + 1), np.arange(count), np.full(count, MAX_TIME, np.int64), NO_NUMBERS, NO_NUMBERS)


def relevant_blocks(history: History, questions: Questions) -> list[Block]:
    """The blocks that can hold an answer."""
    if not len(questions.keys) or not questions.latest.size:
        return []
    first = int(questions.oldest.min()) if questions.oldest.size else MIN_TIME
    return history.blocks(keys=questions.keys, first_time=first, last_time=int(questions.latest.max()))


def search(blocks: Sequence[Block], questions: Questions, feature: int | None = None) -> Winners:
    """The winners; with `feature`, among the rows where that feature is not null."""
    asks = len(questions.latest)
    best = Winners(
        np.zeros(asks, np.int64), np.zeros(asks, np.int64), np.zeros(asks, np.int64), np.full(asks, -1, np.int32), np.zeros(asks, np.int64)
    )
    for source, block in enumerate(blocks):
        match_backward(
            questions.offsets,
            questions.latest,
            questions.oldest,
            questions.known,
            *_facts(block, questions, block.hidden if feature is None else _hidden_or_null(block, feature)),
            source,
            best.time,
            best.created,
            best.seq,
            best.source,
            best.row,
        )
    return best


def search_next(blocks: Sequence[Block], questions: Questions) -> Int64:
    """The event time of the first row after each question's `latest`, whenever it became known; MAX_TIME: there is none."""
    next_time = np.full(len(questions.latest), MAX_TIME, np.int64)
    for block in blocks:
        match_next(questions.offsets, questions.latest, NO_NUMBERS, *_facts(block, questions, block.hidden), next_time)
    return next_time


def without_oldest(questions: Questions) -> Questions:
    """The same questions, however old the answer."""
    return replace(questions, oldest=NO_NUMBERS)


Facts = tuple[Int64, Int64, Int64, Int64, int, Int64, int, NDArray[np.uint8], int]


def _facts(block: Block, questions: Questions, hidden: NDArray[np.uint8]) -> Facts:
    """A block as the kernels take it: where each asked key lies, the rows' clocks, and which rows are no candidates."""
    content = block.content
    return (
        block.keys.search(questions.keys),
        block.offsets,
        content.time,
        content.created,
        content.same_created,
        content.seq,
        content.same_seq,
        hidden,
        block.bound,
    )


def _hidden_or_null(block: Block, feature: int) -> NDArray[np.uint8]:
    column = block.column(feature)
    if not column.null_count:
        return block.hidden
    null = np.asarray(column.is_null()).astype(np.uint8)
    return null | block.hidden if block.hidden.size else null


def expand_mask(mask: NDArray[np.uint8]) -> pa.Buffer | None:
    """An Arrow validity bitmap of bytes 0 or 1; None when all are 1."""
    return None if mask.all() else pa.py_buffer(np.packbits(mask, bitorder="little"))

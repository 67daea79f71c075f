"""Texts of a column: the distinct ones, and the order of escaped ones."""

import os

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.keys import measure_taken, write_taken
from mlstore._core.sort import sort_words
from mlstore._core.texts import find_texts, lay_words, number_texts
from mlstore.format.keyvector import Bytes, Ints, Keys, sums

Codes = NDArray[np.int32]

_WORD = 8  # bytes compared at a time


def number_column(column: pa.Array) -> tuple[Keys, Codes]:
    """The distinct texts of a column of strings or binaries as they are met, and the number of each row's, -1 for a null."""
    offsets, data = _buffers(column)
    numbers, firsts = np.empty(len(column), np.int32), np.empty(len(column), np.int64)
    count = number_texts(offsets, data, _validity(column), _seed(), numbers, firsts)
    return take_texts(Keys(offsets=offsets, data=data), firsts[:count]), numbers


def find_column(known: Keys, column: pa.Array) -> Codes:
    """The place of each row's text among distinct ones; -1 for a null, and where it is none of them."""
    offsets, data = _buffers(column)
    numbers = np.empty(len(column), np.int32)
    find_texts(known.offsets, known.data, offsets, data, _validity(column), _seed(), numbers)
    return numbers


def _validity(column: pa.Array) -> Bytes:
    return np.asarray(column.is_valid()).view(np.uint8) if column.null_count else np.empty(0, np.uint8)


def _seed() -> int:
    return int.from_bytes(os.urandom(8), "little")


def take_texts(texts: Keys, places: Ints) -> Keys:
    """The texts at these places."""
    lengths = np.zeros(len(places), np.int64)
    measure_taken(texts.offsets, texts.data, places, lengths)
    offsets = sums(lengths)
    data = np.empty(offsets[-1], np.uint8)
    write_taken(texts.offsets, texts.data, places, offsets[:-1].copy(), data)
    return Keys(offsets=offsets, data=data)


def order_texts(texts: Keys) -> Ints:
    """The places of texts in ascending order. None may be the beginning of another; escaped ones are not."""
    rows = np.arange(len(texts), dtype=np.uint32)
    rows, words = _sort(rows, _words(texts, rows, 0))
    tied, groups = _ties(np.arange(len(texts)), words, np.zeros(len(texts), np.int64))
    longest = int(np.diff(texts.offsets).max(initial=0))
    for depth in range(_WORD, longest, _WORD):
        if not tied.size:
            break
        # By the next word, then, keeping that order, by the group of equals so far.
        words = _words(texts, rows[tied], depth)
        order, _ = _sort(np.arange(len(tied), dtype=np.uint32), words)
        order, _ = _sort(order, groups[order].view(np.uint64))
        rows[tied] = rows[tied][order]
        tied, groups = _ties(tied, words[order], groups)
    return rows.astype(np.int64)


def _buffers(column: pa.Array) -> tuple[Ints, Bytes]:
    """(offsets, data) of an array of strings or binaries."""
    texts = column.cast(pa.large_binary())
    _, offsets, data = texts.buffers()
    cuts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1] if len(texts) else np.zeros(1, np.int64)
    return cuts, np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)


def _words(texts: Keys, rows: NDArray[np.uint32], depth: int) -> NDArray[np.uint64]:
    words = np.empty(len(rows), np.uint64)
    lay_words(texts.offsets, texts.data, depth, rows, words)
    return words


def _sort(rows: NDArray[np.uint32], words: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """Rows and words by words; stable."""
    rows, words = rows.copy(), words.copy()
    spare_rows, spare_words = np.empty_like(rows), np.empty_like(words)
    bits = int(words.max(initial=0)).bit_length()
    return (spare_rows, spare_words) if sort_words(words, rows, spare_words, spare_rows, bits) else (rows, words)


def _ties(places: Ints, words: NDArray[np.uint64], groups: Ints) -> tuple[Ints, Ints]:
    """Of places in order of (group, word): those that share both with a neighbour, and the number of the group they then form."""
    same = (words[1:] == words[:-1]) & (groups[1:] == groups[:-1])
    tied = np.append(same, False) | np.insert(same, 0, False) if len(places) else np.empty(0, np.bool_)
    numbers = np.cumsum(np.insert(~same, 0, True)) if len(places) else groups
    return places[tied], numbers[tied]

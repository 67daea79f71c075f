"""The gather kernels agree with loops over bytes, wherever the picked values lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore._core.gather import count_winners, gather_bits, gather_fixed, measure_texts, take_chunked, take_fixed, write_texts
from tests.support.naive_gather import naive_bits, naive_gather, naive_texts

WIDTHS = [1, 2, 4, 8, 3, 16, 32]


@dataclass(frozen=True, slots=True)
class Picks:
    """Which row of which source (-1: of none) goes to which of the slots; each slot at most once, some slots are left as they are."""

    source: list[int]
    row: list[int]
    slot: list[int]
    slots: int

    @property
    def arrays(self) -> tuple[Any, Any, Any]:
        return np.array(self.source, np.int32), np.array(self.row, np.uint32), np.array(self.slot, np.uint32)


@st.composite
def picks(draw: st.DrawFn, rows: list[int]) -> Picks:
    """rows: how many rows each source has; empty sources are never picked."""
    filled = [source for source, count in enumerate(rows) if count]
    n_slots = draw(st.integers(0, 12)) if filled else 0
    slot = draw(st.lists(st.integers(0, n_slots - 1), unique=True)) if n_slots else []
    source = [draw(st.sampled_from([-1, *filled])) for _ in slot]
    row = [draw(st.integers(0, rows[place] - 1 if place >= 0 else 2**32 - 1)) for place in source]
    return Picks(source, row, slot, n_slots)


def arrays_of(sources: Sequence[bytes | None]) -> list[np.ndarray[Any, Any] | None]:
    return [None if source is None else np.frombuffer(source, np.uint8) for source in sources]


def addresses(sources: Sequence[np.ndarray[Any, Any] | None]) -> np.ndarray[Any, Any]:
    """Where arrays lie, which the caller keeps; 0 for None and for empty ones."""
    return np.array([0 if source is None or not source.size else source.ctypes.data for source in sources], np.uintp)


row_counts = st.lists(st.integers(0, 9), min_size=1, max_size=3)


@pytest.mark.parametrize("width", WIDTHS)
@given(data=st.data())
def test_values_of_every_width_reach_their_slots_and_slots_of_no_pick_stay(width: int, data: st.DataObject) -> None:
    rows = data.draw(row_counts)
    sources = [data.draw(st.none() | st.binary(min_size=count * width, max_size=count * width)) for count in rows]
    picked = data.draw(picks(rows))
    before = data.draw(st.binary(min_size=picked.slots * width, max_size=picked.slots * width))
    answer, arrays = np.frombuffer(before, np.uint8).copy(), arrays_of(sources)

    gather_fixed(addresses(arrays), width, *picked.arrays, answer)

    assert answer.tobytes() == naive_gather(sources, width, picked.source, picked.row, picked.slot, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_values_agree_with_numpy(dtype: Any) -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(0, 200, 1000).astype(dtype)
    rows, slots = rng.integers(0, 1000, 400), rng.permutation(500)[:400]
    answer = np.full(500, 7, dtype)
    expected = answer.copy()
    expected[slots] = values[rows]
    halves = [values[:300].view(np.uint8), values[300:].view(np.uint8)]
    row = np.where(rows < 300, rows, rows - 300).astype(np.uint32)

    gather_fixed(addresses(halves), values.itemsize, (rows >= 300).astype(np.int32), row, slots.astype(np.uint32), answer.view(np.uint8))

    assert np.array_equal(answer, expected)


@given(st.data())
def test_bits_reach_their_slots_from_any_offset(data: st.DataObject) -> None:
    offsets = data.draw(st.lists(st.integers(0, 17), min_size=1, max_size=3))
    sources = [data.draw(st.none() | st.lists(st.booleans(), min_size=1, max_size=40)) for _ in offsets]
    picked = data.draw(picks([1 if source is None else len(source) for source in sources]))
    bitmaps = [
        None if bits is None else np.packbits(np.array([True] * offset + bits, np.bool_), bitorder="little")
        for bits, offset in zip(sources, offsets, strict=True)
    ]
    answer = np.full(picked.slots, 9, np.uint8)

    gather_bits(addresses(bitmaps), np.array(offsets, np.int64), *picked.arrays, answer)

    assert answer.tobytes() == naive_bits(sources, picked.source, picked.row, picked.slot, b"\x09" * picked.slots)


@given(st.data())
def test_texts_reach_their_slots_and_others_are_empty(data: st.DataObject) -> None:
    sources = data.draw(st.lists(st.none() | st.lists(st.binary(max_size=5), min_size=1, max_size=6), min_size=1, max_size=3))
    picked = data.draw(picks([1 if texts is None else len(texts) for texts in sources]))
    ends = [None if texts is None else np.cumsum([0, *map(len, texts)]).astype(np.int32).view(np.uint8) for texts in sources]
    bytes_of = [None if texts is None else np.frombuffer(b"".join(texts), np.uint8) for texts in sources]
    offsets = np.zeros(picked.slots + 1, np.int32)

    size = measure_texts(addresses(ends), *picked.arrays, offsets)
    answer = np.empty(size, np.uint8)
    write_texts(addresses(ends), addresses(bytes_of), *picked.arrays, offsets, answer)

    found = [answer[begin:end].tobytes() for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    assert found == naive_texts(sources, picked.source, picked.row, picked.slot, picked.slots)


def test_texts_beyond_31_bits_are_measured_in_full() -> None:
    ends = np.array([0, 2**30], np.int32).view(np.uint8)
    three = np.zeros(3, np.int32), np.zeros(3, np.uint32), np.arange(3, dtype=np.uint32)

    assert measure_texts(addresses([ends]), *three, np.zeros(4, np.int32)) == 3 * 2**30


def test_wins_are_counted_by_source_and_their_slots_are_found() -> None:
    wins, found = np.zeros(3, np.int64), np.zeros(9, np.uint8)

    count_winners(np.array([2, -1, 0, 2], np.int32), np.array([8, 1, 3, 0], np.uint32), wins, found)

    assert wins.tolist() == [1, 0, 2]
    assert np.flatnonzero(found).tolist() == [0, 3, 8]


@pytest.mark.parametrize("width", WIDTHS)
def test_values_of_every_width_are_taken_from_their_places(width: int) -> None:
    rng = np.random.default_rng(3)
    values, places = rng.integers(0, 256, (100, width)).astype(np.uint8), rng.integers(0, 100, 400).astype(np.uint32)
    answer = np.empty(400 * width, np.uint8)

    take_fixed(values.reshape(-1), width, places, answer)

    assert np.array_equal(answer.reshape(400, width), values[places])


@pytest.mark.parametrize("sizes", [[1], [0, 3, 0, 1], [1 << 14, 1 << 14], [(1 << 14) + 1, 5, 0, 7, (1 << 15) - 13], [50_000]])
@pytest.mark.parametrize("width", WIDTHS)
def test_values_of_every_width_are_taken_from_a_column_in_chunks(width: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(len(sizes))
    chunks = [rng.integers(0, 256, (size, width)).astype(np.uint8) for size in sizes]
    whole, starts = np.concatenate(chunks), np.cumsum([0, *sizes])
    ends = [place for place in (*starts.tolist(), *(starts - 1).tolist()) if 0 <= place < len(whole)]
    places = np.append(rng.integers(0, len(whole), 400), ends).astype(np.uint32)
    answer = np.empty(len(places) * width, np.uint8)

    take_chunked([chunk.reshape(-1) for chunk in chunks], starts, width, places, answer)

    assert np.array_equal(answer.reshape(len(places), width), whole[places])


def test_picks_that_do_not_fit_are_refused() -> None:
    one, two, answer = np.zeros(1, np.uint32), np.zeros(2, np.uint32), np.array([7], np.uint8)
    source, values = np.zeros(1, np.int32), np.zeros(1, np.uintp)

    with pytest.raises(ValueError, match="differ in length"):
        gather_fixed(values, 1, source, two, one, answer)
    with pytest.raises(ValueError, match="differ in length"):
        gather_bits(values, np.zeros(1, np.int64), source, one, two, answer)
    with pytest.raises(ValueError, match="differ in length"):
        gather_bits(values, np.zeros(2, np.int64), source, one, one, answer)
    with pytest.raises(ValueError, match="differ in length"):
        measure_texts(values, source, two, one, np.zeros(2, np.int32))
    with pytest.raises(ValueError, match="differ in length"):
        write_texts(values, values, source, one, two, np.zeros(2, np.int32), answer)
    with pytest.raises(ValueError, match="differ in length"):
        write_texts(values, values[:0], source, one, one, np.zeros(2, np.int32), answer)
    with pytest.raises(ValueError, match="do not fit"):
        take_chunked([answer], np.array([0, 8]), 1, two, answer)
    with pytest.raises(ValueError, match="do not fit"):
        take_chunked([answer], np.array([0]), 1, one, answer)
    with pytest.raises(ValueError, match="differ in length"):
        take_fixed(answer, 1, two, answer)
    with pytest.raises(ValueError, match="differ in length"):
        count_winners(source, two, np.zeros(1, np.int64), answer)

    assert answer.tolist() == [7]

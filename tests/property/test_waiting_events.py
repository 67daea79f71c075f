"""Events that wait beside the trees of tiles: nothing of them is lost or put out of order on the way through bytes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore._core.waiting import pick_waiting
from mlstore.engine.windows.tiles import Kept, KeptByKey, TilePlan
from mlstore.engine.windows.waiting import decode_entry, encode_entry, join, pick
from mlstore.errors import CorruptionError
from tests.property.test_window_tiles import PLANS

KEYS = [b"", b"\0", b"a", b"ab", b"b" * 20]
Row = tuple[int, int, int, int]  # place of the key, time, created, a number that tells it from all others
rows = st.lists(st.tuples(st.integers(0, len(KEYS) - 1), st.integers(-3, 3), st.sampled_from([-(2**63), 1, 2])), min_size=1, max_size=20)


def write_of(plan: TilePlan, drawn: list[tuple[int, int, int]], first: int) -> tuple[KeptByKey, list[Row]]:
    told = sorted((key, time, created, first + place) for place, (key, time, created) in enumerate(drawn))
    numbers = np.array([row[3] for row in told])
    kept = Kept(
        np.array([row[1] for row in told]),
        np.array([row[2] for row in told]),
        tuple(numbers * 7 + column if has else np.empty(0, np.int64) for column, has in enumerate(plan.has_values)),
        tuple((numbers + column) % 2 == 0 for column in range(len(plan.has_values))),
    )
    counts = [sum(row[0] == place for row in told) for place in range(len(KEYS))]
    return KeptByKey([key for key, count in zip(KEYS, counts, strict=True) if count],
                     np.append(0, np.cumsum([count for count in counts if count])), kept), told  # fmt: skip


def told_of(plan: TilePlan, kept: KeptByKey) -> list[Row]:
    """The rows again; the words and flags of every column must fit them."""
    column = plan.has_values.index(True)
    numbers = (kept.events.values[column] - column) // 7
    for place, (words, flags) in enumerate(zip(kept.events.values, kept.events.counted, strict=True)):
        assert not words.size or (words == numbers * 7 + place).all()
        assert (flags.astype(bool) == ((numbers + place) % 2 == 0)).all()
    keys = [KEYS.index(key) for key, count in zip(kept.keys, np.diff(kept.offsets), strict=True) for _ in range(count)]
    return list(zip(keys, kept.events.time.tolist(), kept.events.created.tolist(), numbers.tolist(), strict=True))


@given(writes=st.lists(rows, min_size=1, max_size=4))
def test_events_of_several_writes_are_those_of_one_and_each_key_finds_its_own(writes: list[list[tuple[int, int, int]]]) -> None:
    plan, told, entries = PLANS[0], list[Row](), list[bytes]()
    for drawn in writes:
        kept, rows_of = write_of(plan, drawn, len(told))
        told += rows_of
        entries.append(encode_entry(kept))
    expected: list[Any] = sorted(told, key=lambda row: row[:3])  # ties in the order of writing

    joined = join([decode_entry(plan, packed) for packed in entries])

    assert told_of(plan, joined) == expected
    for place, key in enumerate(KEYS):
        picked = pick(plan, entries, key)
        assert ([] if picked is None else told_of(plan, picked)) == [row for row in expected if row[0] == place]
    assert pick(plan, entries, b"aa") is None


@given(rows, st.data())
def test_an_entry_of_another_size_or_with_other_ends_is_refused_or_stays_inside(
    drawn: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    plan = PLANS[0]
    packed = bytearray(encode_entry(write_of(plan, drawn, 0)[0]))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= 1 << data.draw(st.integers(0, 7))

    for key in KEYS:
        with suppress(ValueError):
            pick_waiting([bytes(packed)], key, plan.has_values)
    with pytest.raises(CorruptionError, match="of w make no sense"):
        pick(plan, [bytes(packed)[:-1]], KEYS[0])

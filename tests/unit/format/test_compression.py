"""Compression: every codec there and back, the codec that suits the data, and CorruptionError for what cannot be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from mlstore.errors import CorruptionError
from mlstore.format.compression import DELTA_ZSTD, PLANES_ZSTD, RAW, ZSTD, compress, decompress

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def octets(array: np.ndarray[Any, Any]) -> Bytes:
    return np.ascontiguousarray(array).view(np.uint8)


RNG = np.random.default_rng(3)
SAMPLES = {
    "times": (octets(1_700_000_000_000_000 + 3_600_000_000 * np.arange(5000)), 8, DELTA_ZSTD),
    "falling times": (octets(-7 * np.arange(5000)), 8, DELTA_ZSTD),
    "uneven times": (octets(1_700_000_000_000_000 + np.cumsum(RNG.integers(900, 1100, 5000))), 8, None),
    "extremes": (octets(np.array([-(2**63), 2**63 - 1] * 50)), 8, None),
    "measurements": (octets((20 + 5 * RNG.random(5000)).astype(np.float32)), 4, PLANES_ZSTD),
    "decimals": (octets(RNG.integers(0, 9, 1000)), 16, None),
    "text": (octets(np.frombuffer(b"the quick brown fox " * 300, np.uint8)), 1, ZSTD),
    "noise": (octets(RNG.integers(0, 256, 5000, np.uint8)), 1, RAW),
    "one value": (octets(np.array([7])), 8, RAW),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_data_comes_back_under_the_codec_that_suits_it(name: str) -> None:
    data, width, expected = SAMPLES[name]

    codec, packed = compress(data, width)

    assert expected in (None, codec)
    assert packed.size <= data.size
    if codec == RAW:
        assert packed is data
    else:
        assert np.array_equal(decompress(memoryview(packed), codec, data.size, width), data)


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3), max_size=40), st.sampled_from([1, 2, 4, 8]))
@example([2**63 - 1, -(2**63)], 8)
def test_any_numbers_come_back(numbers: list[int], width: int) -> None:
    data = octets(np.array(numbers * 4, np.int64))
    if not data.size:
        return

    codec, packed = compress(data, width)

    assert codec == RAW or decompress(memoryview(packed), codec, data.size, width).tobytes() == data.tobytes()


def test_the_choice_is_made_on_the_beginning_and_holds_for_the_rest() -> None:
    data = octets(np.concatenate([np.arange(20_000), RNG.integers(-(2**63), 2**63 - 1, 20_000)]))

    codec, packed = compress(data, 8)

    assert codec == RAW or np.array_equal(decompress(memoryview(packed), codec, data.size, 8), data)


PACKED = {codec: compress(*SAMPLES[name][:2])[1].tobytes() for codec, name in ((ZSTD, "text"), (PLANES_ZSTD, "measurements"))}
PACKED[DELTA_ZSTD] = compress(*SAMPLES["times"][:2])[1].tobytes()
SIZES = {ZSTD: (6000, 1), PLANES_ZSTD: (20_000, 4), DELTA_ZSTD: (40_000, 8)}


@pytest.mark.parametrize("codec", PACKED)
def test_a_buffer_cut_short_is_refused(codec: int) -> None:
    for kept in (0, 1, 4, len(PACKED[codec]) // 2, len(PACKED[codec]) - 1):
        with pytest.raises(CorruptionError, match="compressed buffer"):
            decompress(memoryview(PACKED[codec][:kept]), codec, *SIZES[codec])


@pytest.mark.parametrize("codec", PACKED)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_buffer_of_another_size_is_refused(codec: int, change: int) -> None:
    size, width = SIZES[codec]

    with pytest.raises(CorruptionError, match="compressed buffer"):
        decompress(memoryview(PACKED[codec]), codec, size + change * width, width)


@pytest.mark.parametrize("codec", PACKED)
@given(data=st.data())
def test_changed_bytes_are_refused_or_give_as_many_bytes(codec: int, data: st.DataObject) -> None:
    size, width = SIZES[codec]
    packed = bytearray(PACKED[codec])
    for _ in range(data.draw(st.integers(1, 3))):
        # The first bytes of a frame say how large it is: the most dangerous ones.
        place = data.draw(st.integers(0, 16) | st.integers(0, len(packed) - 1))
        packed[place] ^= data.draw(st.integers(1, 255))

    try:
        found = decompress(memoryview(bytes(packed)), codec, size, width)
    except CorruptionError:
        return

    assert found.size == size


def test_a_frame_that_claims_to_be_huge_is_refused_without_taking_the_memory() -> None:
    frame = b"\x28\xb5\x2f\xfd" + b"\xe0" + (2**62).to_bytes(8, "little") + b"\x01\x00\x00"
    assert zstandard.get_frame_parameters(frame).content_size == 2**62

    with pytest.raises(CorruptionError, match="compressed buffer"):
        decompress(memoryview(frame), ZSTD, 100, 1)

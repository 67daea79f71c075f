"""Compression of one buffer: how the cold tier stores what the hot tier keeps raw.

A codec is chosen per buffer on a sample of its values: zstd as it is, zstd over byte planes (all first bytes, all second
bytes, ...: floats and integers of similar size), or zstd over differences of neighbours (sorted times).
"""

import numpy as np
import zstandard
from numpy.typing import NDArray

from mlstore.errors import CorruptionError

RAW, ZSTD, PLANES_ZSTD, DELTA_ZSTD = CODECS = range(4)
LEVEL = 3
SAMPLE_BYTES = 1 << 16

Bytes = NDArray[np.uint8]


def compress(data: Bytes, width: int) -> tuple[int, Bytes]:
    """The codec that served best, and the bytes under it; RAW where nothing is gained."""
    codec = min(_candidates(data.size, width), key=lambda candidate: len(_pack(_sample(data, width), width, candidate)))
    packed = _pack(data, width, codec)
    if len(packed) >= data.size:
        return RAW, data
    return codec, np.frombuffer(packed, np.uint8)


def decompress(packed: memoryview, codec: int, raw_size: int, width: int) -> Bytes:
    """The bytes that were compressed; CorruptionError when they cannot be had."""
    try:
        if zstandard.frame_content_size(packed) != raw_size:  # before any memory is taken on its word
            raise CorruptionError("a compressed buffer is not of the size that its segment says", hint="run verify(), restore a backup")
        data = np.frombuffer(zstandard.ZstdDecompressor().decompress(packed, max_output_size=raw_size), np.uint8)
    except zstandard.ZstdError as error:
        raise CorruptionError(f"a compressed buffer cannot be read: {error}", hint="run verify(), restore a backup") from error
    if data.size != raw_size:
        raise CorruptionError(f"a compressed buffer has {data.size} bytes, not {raw_size}", hint="run verify(), restore a backup")
    if data.size % (width if codec == PLANES_ZSTD else 8 if codec == DELTA_ZSTD else 1):
        raise CorruptionError(f"a compressed buffer of {data.size} bytes holds no whole values", hint="run verify(), restore a backup")
    if codec == PLANES_ZSTD:
        return np.ascontiguousarray(data.reshape(width, -1).T).reshape(-1)
    if codec == DELTA_ZSTD:
        return np.cumsum(data.view(np.int64), dtype=np.int64).view(np.uint8)
    return data


def _candidates(size: int, width: int) -> list[int]:
    if width == 8 and size >= 16:
        return [ZSTD, PLANES_ZSTD, DELTA_ZSTD]
    return [ZSTD, PLANES_ZSTD] if width > 1 and size >= 2 * width else [ZSTD]


def _sample(data: Bytes, width: int) -> Bytes:
    return data[: SAMPLE_BYTES - SAMPLE_BYTES % width]


def _pack(data: Bytes, width: int, codec: int) -> bytes:
    if codec == PLANES_ZSTD:
        data = np.ascontiguousarray(data.reshape(-1, width).T).reshape(-1)
    elif codec == DELTA_ZSTD:
        values = data.view(np.int64)
        data = np.diff(values, prepend=np.int64(0)).view(np.uint8)
    return zstandard.ZstdCompressor(level=LEVEL).compress(data.data)

"""Fingerprints: hashes of columns by their type and values, equal for equal columns however they are laid out in memory."""

import pyarrow as pa
import xxhash


class _Hasher:
    """A file to Arrow, which hashes what is written to it."""

    closed = False

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_128()

    def write(self, data: pa.Buffer | bytes) -> None:
        self._hash.update(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing to let go of."""

    def digest(self) -> bytes:
        digest: bytes = self._hash.digest()
        return digest


def hash_column(column: pa.Array | pa.ChunkedArray) -> bytes:
    """XXH3-128 of a column as an Arrow IPC stream of one batch: chunks and padding aside."""
    whole = column if isinstance(column, pa.Array) else _joined(column)
    hasher = _Hasher()
    with pa.PythonFile(hasher, mode="w") as sink, pa.ipc.new_stream(sink, pa.schema([("", whole.type)])) as stream:
        stream.write_batch(pa.record_batch([whole], names=[""]))
    return hasher.digest()


def _joined(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1 and not column.null_count and pa.types.is_primitive(column.type) and column.type.bit_width >= 8:
        return column.chunk(0)  # all others are copied, lest bits show that lie behind the last value
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)

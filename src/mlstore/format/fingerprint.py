"""Fingerprints: hashes of columns by their type and values, equal for equal columns however they are laid out in memory."""

import pyarrow as pa
import xxhash


def hash_column(column: pa.Array | pa.ChunkedArray) -> bytes:
    """XXH3-128 of a column, chunks and padding aside."""
    whole = column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("", whole.type)])) as stream:
        stream.write_batch(pa.record_batch([whole], names=[""]))
    digest: bytes = xxhash.xxh3_128_digest(sink.getvalue())
    return digest

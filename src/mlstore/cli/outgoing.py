"""Rows that go out to a file or a pipe, batch by batch. A file appears whole or not at all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

import mlstore as ml
from mlstore.cli.formats import PIPE, Format, find_compression, find_format
from mlstore.cli.plain import plain_column, plain_rows, plain_times


def write_rows(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    *,
    path: str,
    chosen: Format | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write all batches to `path` ("-": standard output) in its format; the number of rows written."""
    found = find_format(path, chosen)
    rows = 0
    with _open_sink(path) as sink, _open_writer(sink, found, schema) as write:
        for batch in batches:
            write(batch)
            rows += batch.num_rows
            if progress is not None:
                progress(rows)
    return rows


@contextmanager
def _open_sink(path: str) -> Iterator[BinaryIO]:
    """A place for bytes; beside a file of that name until all is written, so that a failed job leaves nothing behind."""
    if path == PIPE:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    if target.is_dir():
        raise ml.UsageError(f"{path} is a folder", hint="name a file in it")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with pa.output_stream(str(partial), compression=find_compression(path)) as sink:
            yield sink
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _open_writer(sink: BinaryIO, found: Format, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], Any]]:
    match found:
        case Format.PARQUET:
            with pq.ParquetWriter(sink, schema, compression="zstd") as parquet:
                yield parquet.write_batch
        case Format.ARROW:
            # A pipe cannot be sought in: a stream, where a file gets the format with an index.
            new = pa.ipc.new_stream if sink is sys.stdout.buffer else pa.ipc.new_file
            with new(sink, schema) as arrow:
                yield arrow.write_batch
        case Format.CSV:
            with pacsv.CSVWriter(sink, _text_schema(schema)) as csv:
                yield lambda batch: csv.write_batch(_as_texts(batch))
        case Format.JSONL:
            yield lambda batch: sink.writelines(f"{json.dumps(row, ensure_ascii=False)}\n".encode() for row in plain_rows(batch))


def _text_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_type(pa.string() if _needs_text(field.type) else _stored_type(field.type)) for field in schema])


def _as_texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with what CSV cannot hold as text: times ISO 8601, binary base64, nested values JSON."""
    schema = _text_schema(batch.schema)
    columns = [
        _texts_of(column) if _needs_text(column.type) else pc.cast(column, field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.record_batch(columns, schema)


def _texts_of(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return plain_times(column)
    values = plain_column(column)
    if pa.types.is_nested(column.type):
        values = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    return pa.array(values, pa.string())


def _needs_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_nested(dtype) or pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype) or pa.types.is_timestamp(dtype))


def _stored_type(dtype: pa.DataType) -> pa.DataType:
    return dtype.value_type if pa.types.is_dictionary(dtype) else dtype

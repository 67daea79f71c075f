"""Rows that come in from a file or a pipe, as a stream of Arrow batches: memory stays bounded however long the file.

Columns the store declares get their declared types from text formats, so that integers with blanks stay integers.
Other columns keep the type the file gives them.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

import mlstore as ml
from mlstore.cli.formats import ARROW_FILE_MAGIC, MAGIC_BYTES, PIPE, Format, find_compression, find_format
from mlstore.cli.texts import Place, cast_texts, revive_values

Types = Mapping[str, pa.DataType]

BATCH_ROWS = 1 << 16
CSV_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Incoming:
    """A stream of batches, and how many rows it will have if the file knows."""

    reader: pa.RecordBatchReader
    total: int | None = None


@contextmanager
def open_rows(path: str, *, chosen: Format | None = None, types: Types, nulls: Iterable[str] = ()) -> Iterator[Incoming]:
    """The rows of `path` ("-": standard input); `types` are the declared columns, `nulls` the CSV texts that mean null."""
    name = "standard input" if path == PIPE else path
    with ExitStack() as stack:
        source, head = _open_source(path, stack)
        if not head:
            raise ml.InvalidDataError(f"{name}: empty, not even a header", hint="check what wrote it")
        found = find_format(path, chosen, head=head)
        try:
            match found:
                case Format.PARQUET:
                    incoming = _open_parquet(source, stack)
                case Format.ARROW:
                    incoming = _open_arrow(source, head, stack)
                case Format.CSV:
                    incoming = _open_csv(source, name, types, [*nulls, ""])
                case Format.JSONL:
                    incoming = _open_jsonl(source, name, types)
        except pa.ArrowInvalid as error:
            raise _unreadable(name, found, error) from error
        yield incoming


def load_rows(path: str, *, chosen: Format | None = None, types: Types, nulls: Iterable[str] = ()) -> pa.Table:
    """All rows of `path` in memory, for labels and keys."""
    with open_rows(path, chosen=chosen, types=types, nulls=nulls) as incoming:
        return incoming.reader.read_all()


def _open_source(path: str, stack: ExitStack) -> tuple[BinaryIO, bytes]:
    """The bytes, decompressed, and the first few of them."""
    if path == PIPE:
        # Not a context of the stack: closing it would close standard input.
        source = io.BufferedReader(cast(io.RawIOBase, sys.stdin.buffer))
        return cast(BinaryIO, source), source.peek(MAGIC_BYTES)[:MAGIC_BYTES]
    opened: BinaryIO = stack.enter_context(open(path, "rb"))  # noqa: SIM115  the stack closes it
    codec = find_compression(path)
    if codec == "gzip":
        opened = cast(BinaryIO, stack.enter_context(gzip.open(opened)))  # noqa: SIM115  the stack closes it
    elif codec is not None:
        opened = stack.enter_context(io.BufferedReader(pa.CompressedInputStream(opened, codec)))
    return opened, cast(io.BufferedReader, opened).peek(MAGIC_BYTES)[:MAGIC_BYTES]


def _seekable(source: BinaryIO, stack: ExitStack) -> BinaryIO:
    """The bytes of a pipe in a temporary file, for formats that are read from their end."""
    if source.seekable():
        return source
    spool = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  the stack closes it
    shutil.copyfileobj(source, spool, 1 << 20)
    spool.seek(0)
    return cast(BinaryIO, spool)


def _open_parquet(source: BinaryIO, stack: ExitStack) -> Incoming:
    # Without pre_buffer: with it the reader keeps every row group it has passed until the end.
    file = stack.enter_context(pq.ParquetFile(_seekable(source, stack), pre_buffer=False))
    batches = file.iter_batches(batch_size=BATCH_ROWS)
    return Incoming(pa.RecordBatchReader.from_batches(file.schema_arrow, batches), file.metadata.num_rows)


def _open_arrow(source: BinaryIO, head: bytes, stack: ExitStack) -> Incoming:
    if not head.startswith(ARROW_FILE_MAGIC):
        return Incoming(stack.enter_context(pa.ipc.open_stream(source)))
    file = stack.enter_context(pa.ipc.open_file(_seekable(source, stack)))
    batches = (file.get_batch(number) for number in range(file.num_record_batches))
    return Incoming(pa.RecordBatchReader.from_batches(file.schema, batches))


def _open_csv(source: BinaryIO, name: str, types: Types, nulls: list[str]) -> Incoming:
    """Declared columns are read as texts and cast batch by batch, so that an error can name row and column."""
    lines = pacsv.open_csv(
        source,
        read_options=pacsv.ReadOptions(block_size=CSV_BLOCK_BYTES),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(types, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=nulls,
        ),
    )
    repeated = sorted({column for column in lines.schema.names if lines.schema.names.count(column) > 1})
    if repeated:
        raise ml.InvalidDataError(f"{name}: two columns are called {repeated[0]!r}", hint="rename one in the header")
    schema = pa.schema([field.with_type(types.get(field.name, field.type)) for field in lines.schema])

    def typed() -> Iterator[pa.RecordBatch]:
        first = 1
        for texts in _guarded(lines, name, Format.CSV):
            numbers = range(first, first + texts.num_rows)
            columns = [
                cast_texts(column, field.type, Place(name, field.name, numbers)) if field.name in types else column
                for field, column in zip(schema, texts.columns, strict=True)
            ]
            yield pa.record_batch(columns, schema)
            first += texts.num_rows

    return Incoming(pa.RecordBatchReader.from_batches(schema, typed()))


def _open_jsonl(source: BinaryIO, name: str, types: Types) -> Incoming:
    """The first batch of lines says which columns there are; a field that is left out is null."""
    lines = enumerate(source, start=1)
    first = list(_parse_lines(islice(lines, BATCH_ROWS), name))
    names = list(dict.fromkeys(column for _, row in first for column in row))
    guessed = {column: pa.array([row.get(column) for _, row in first]).type for column in names if column not in types}
    schema = pa.schema([(column, types[column] if column in types else guessed[column]) for column in names])

    def typed() -> Iterator[pa.RecordBatch]:
        rows = first
        while rows:
            yield _type_lines(rows, schema, name)
            rows = list(_parse_lines(islice(lines, BATCH_ROWS), name))

    return Incoming(pa.RecordBatchReader.from_batches(schema, typed()))


def _parse_lines(lines: Iterable[tuple[int, bytes]], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects, each with the number of its line; blank lines are skipped."""
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ml.InvalidDataError(
                f"{name}: line {number} is no JSON: {error}", hint="one object a line, no commas between lines"
            ) from error
        if not isinstance(row, dict):
            raise ml.InvalidDataError(f"{name}: line {number} is no object", hint='one object a line: {"origin": "JFK", "temp": 3.5}')
        yield number, row


def _type_lines(rows: list[tuple[int, dict[str, Any]]], schema: pa.Schema, name: str) -> pa.RecordBatch:
    known = set(schema.names)
    for number, row in rows:
        if not row.keys() <= known:
            late = next(column for column in row if column not in known)
            raise ml.InvalidDataError(
                f"{name}: line {number} has a new field {late!r}", hint=f'name it in the first line too: "{late}": null'
            )
    numbers = [number for number, _ in rows]
    columns = [
        revive_values([row.get(field.name) for _, row in rows], field.type, Place(name, field.name, numbers, "line")) for field in schema
    ]
    return pa.record_batch(columns, schema)


def _guarded(batches: Iterable[pa.RecordBatch], name: str, found: Format) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except pa.ArrowInvalid as error:
        raise _unreadable(name, found, error) from error


def _unreadable(name: str, found: Format, error: pa.ArrowInvalid) -> ml.InvalidDataError:
    reason = str(error).splitlines()[0]
    return ml.InvalidDataError(f"{name}: not readable as {found}: {reason}", hint="check what wrote it, or name another --format")

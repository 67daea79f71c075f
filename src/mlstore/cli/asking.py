"""Commands that ask: online (now), training-set (then), read (the rows themselves)."""

from __future__ import annotations

import warnings
from datetime import datetime
from itertools import chain
from typing import Annotated, Any, Literal

import pyarrow as pa
import typer

import mlstore as ml
from mlstore.cli.answers import HEAD_ROWS, Answer, answer_of, check_output, give, limit_rows
from mlstore.cli.columns import Types, find_service, key_types, table_types
from mlstore.cli.console import print_fields, print_json, print_note
from mlstore.cli.formats import Format
from mlstore.cli.incoming import load_rows, open_rows
from mlstore.cli.loading import load_code
from mlstore.cli.opening import open_store
from mlstore.cli.options import (
    AsJson,
    AtVersion,
    Code,
    Features,
    FullNames,
    NullTexts,
    Output,
    OutputFormat,
    StorePath,
    TableName,
    WithStatus,
)
from mlstore.cli.plain import plain_value
from mlstore.cli.texts import parse_time, parse_value
from mlstore.cli.where import parse_where

HELD_LABELS = 1_000_000  # up to so many labels are answered as one table, whose fingerprint is then known


def online(
    store: StorePath,
    features: Features,
    key: Annotated[
        list[str],
        typer.Option("--key", "-k", metavar="COLUMN=VALUE", help="One key column; repeat it for composite keys and for more keys."),
    ] = [],  # noqa: B006
    keys: Annotated[str | None, typer.Option("--keys", metavar="FILE", help="Many keys from a file, or - for a pipe.")] = None,
    now: Annotated[str | None, typer.Option("--now", metavar="TIME", help="Measure the age of values (ttl) from this time.")] = None,
    last_n: Annotated[
        int | None, typer.Option("--last-n", metavar="N", help="Lists of the values in the newest N rows of each key, oldest first.")
    ] = None,
    full_names: FullNames = False,
    status: WithStatus = False,
    code: Code = None,
    at: AtVersion = None,
    output: Output = None,
    output_format: OutputFormat = None,
    as_json: AsJson = False,
) -> None:
    """Features as they are now, for one key or many."""
    check_output(output, chosen=output_format, as_json=as_json)
    load_code(code)
    with open_store(store, at=at) as opened:
        asked = name_features(opened, features)
        types = key_types(opened, features)
        found = opened.online_features(
            asked,
            read_keys(key, keys, types, as_table=output is not None),
            now=_optional_time(now, "--now"),
            last_n=last_n,
            full_names=full_names,
            status=status,
        )
        if not isinstance(found, dict):
            give(answer_of(found), output=output, chosen=output_format, as_json=as_json)
        elif as_json:
            print_json(plain_value(found))
        else:
            print_fields(plain_value(found))


def training_set(
    store: StorePath,
    labels: Annotated[
        str,
        typer.Argument(metavar="LABELS", help="One row per question: keys, a time, and what else you want to keep.", show_default=False),
    ],
    features: Features,
    timestamp: Annotated[str, typer.Option("--timestamp", metavar="COLUMN", help="The time column of the labels.")] = "event_timestamp",
    known_at: Annotated[
        str | None,
        typer.Option(
            "--known-at", metavar="label|TIME", help="Use only what was known then; `label`: at the time of each label.", show_default=False
        ),
    ] = None,
    ttl: Annotated[
        str | None, typer.Option("--ttl", metavar="DURATION", help="How old a value may be, instead of the views' own ttl: 6h.")
    ] = None,
    leakage: Annotated[
        Literal["ignore", "report", "refuse"], typer.Option("--leakage", help="Count the rows that are told what was not yet known.")
    ] = "ignore",
    full_names: FullNames = False,
    status: WithStatus = False,
    code: Code = None,
    at: AtVersion = None,
    labels_format: Annotated[
        Format | None, typer.Option("--labels-format", help="The format of the labels; needed for a pipe that does not tell.")
    ] = None,
    null: NullTexts = [],  # noqa: B006
    output: Output = None,
    output_format: OutputFormat = None,
    as_json: AsJson = False,
) -> None:
    """Features as they were at the time of each label: one row out per row in. More than a million stream to -o."""
    check_output(output, chosen=output_format, as_json=as_json)
    load_code(code)
    with open_store(store, at=at) as opened, warnings.catch_warnings(record=True) as leaks:
        warnings.simplefilter("always", ml.LeakageWarning)
        types = key_types(opened, features) | {timestamp: pa.timestamp("us", "UTC")}
        with open_rows(labels, chosen=labels_format, types=types, nulls=null) as incoming:
            joined = opened.training_set(
                incoming.reader.read_all() if output is None else _held_if_few(incoming.reader),
                name_features(opened, features),
                timestamp=timestamp,
                known_at=known_at if known_at in (None, "label") else parse_time(str(known_at), what="--known-at"),
                ttl=ttl,
                full_names=full_names,
                status=status,
                leakage=leakage,
            )
            if isinstance(joined, pa.Table):
                answer = answer_of(joined, **_origin(joined.schema))
            else:
                answer = Answer(joined.schema, joined, _origin(joined.schema), incoming.total)
            give(answer, output=output, chosen=output_format, as_json=as_json)
        for warning in leaks:
            print_note(str(warning.message))


def read(
    store: StorePath,
    name: TableName,
    columns: Annotated[str | None, typer.Option("--columns", metavar="A,B", help="Only these columns.")] = None,
    start: Annotated[str | None, typer.Option("--start", metavar="TIME", help="Only rows at or after this event time.")] = None,
    end: Annotated[str | None, typer.Option("--end", metavar="TIME", help="Only rows before this event time.")] = None,
    as_of: Annotated[str | None, typer.Option("--as-of", metavar="TIME", help="The newest row of every key at this time.")] = None,
    where: Annotated[
        str | None, typer.Option("--where", metavar="EXPR", help="Only rows where, e.g. \"temp > 3.5 and origin = 'JFK'\".")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=0, help="At most this many rows.")] = None,
    at: AtVersion = None,
    output: Output = None,
    output_format: OutputFormat = None,
    as_json: AsJson = False,
) -> None:
    """History rows: all, a time range, a filter, or the state of all keys at a time."""
    check_output(output, chosen=output_format, as_json=as_json)
    with open_store(store, at=at) as opened:
        rows = opened.read(
            name,
            columns=None if columns is None else [column.strip() for column in columns.split(",")],
            where=None if where is None else parse_where(where, table_types(opened, name)),
            start=_optional_time(start, "--start"),
            end=_optional_time(end, "--end"),
            as_of=_optional_time(as_of, "--as-of"),
        )
        answer = limit_rows(Answer(rows.schema, rows.batches()), limit)
        give(answer, output=output, chosen=output_format, as_json=as_json, head=HEAD_ROWS if limit is None else limit)


def name_features(store: ml.Store, features: list[str]) -> list[str] | str:
    """What the face takes: a list of references, or the name of one service."""
    if len(features) == 1 and find_service(store, features[0]) is not None:
        return features[0]
    return features


def _held_if_few(labels: pa.RecordBatchReader) -> pa.Table | pa.RecordBatchReader:
    """All labels, or, where there are many, a reader that begins with those taken already."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in labels:
        held.append(batch)
        rows += batch.num_rows
        if rows > HELD_LABELS:
            return pa.RecordBatchReader.from_batches(labels.schema, chain(held, labels))
    return pa.Table.from_batches(held, labels.schema)


def read_keys(words: list[str], path: str | None, types: Types, *, as_table: bool) -> dict[str, Any] | pa.Table:
    """The keys named by words COLUMN=VALUE, or those of a file."""
    if path is not None:
        if words:
            raise ml.UsageError("--key and --keys exclude each other", hint="put all keys in the file")
        return load_rows(path, types=types)
    values: dict[str, list[Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise ml.UsageError(f"--key {word}: no value", hint="write --key COLUMN=VALUE, for instance --key origin=JFK")
        if name not in types:
            raise ml.UnknownNameError(
                f"--key {word}: no key column {name!r}", hint=f"the keys are {', '.join(types)}" if types else "these features have no key"
            )
        values.setdefault(name, []).append(parse_value(text, types[name], what=f"--key {name}"))
    missing = [name for name in types if name not in values]
    if missing:
        raise ml.UsageError(f"no value for key column {missing[0]!r}", hint=f"add --key {missing[0]}=VALUE, or --keys FILE")
    lengths = {name: len(column) for name, column in values.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in lengths.items())
        raise ml.UsageError(f"key columns of different length: {counts}", hint="give every key column once per key")
    if not as_table and set(lengths.values()) <= {1}:
        return {name: column[0] for name, column in values.items()}
    return pa.table({name: pa.array(column, types[name]) for name, column in values.items()})


def _optional_time(text: str | None, option: str) -> datetime | None:
    return None if text is None else parse_time(text, what=option)


def _origin(schema: pa.Schema) -> dict[str, str]:
    """Where a training set comes from, from its metadata."""
    metadata = schema.metadata or {}
    return {
        name: metadata[f"mlstore.{name}".encode()].decode() for name in ("version", "fingerprint") if f"mlstore.{name}".encode() in metadata
    }

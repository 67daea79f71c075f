"""An answer of many rows: to a file, to a pipe, as JSON, or the head of it on the terminal. Always batch by batch."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

import mlstore as ml
from mlstore.cli.console import count_rows, print_json, print_line, print_table, progress_bar
from mlstore.cli.formats import PIPE, Format
from mlstore.cli.outgoing import write_rows
from mlstore.cli.plain import plain_rows

HEAD_ROWS = 20
BATCH_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class Answer:
    """Batches of one schema, and what else a program is told about them."""

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    facts: dict[str, str] = field(default_factory=dict)
    total: int | None = None


def answer_of(table: pa.Table, **facts: str) -> Answer:
    """The answer that is this table, and these facts about it."""
    return Answer(table.schema, table.to_batches(max_chunksize=BATCH_ROWS), facts, table.num_rows)


def limit_rows(answer: Answer, limit: int | None) -> Answer:
    """At most the first `limit` rows of it."""
    if limit is None:
        return answer
    return Answer(
        answer.schema, _first_rows(answer.batches, limit), answer.facts, None if answer.total is None else min(answer.total, limit)
    )


def check_output(output: str | None, *, chosen: Format | None, as_json: bool) -> None:
    """Refuse before any work is done what could not be written after it."""
    if output == PIPE and as_json:
        raise ml.UsageError("--json and -o - both want standard output", hint="use one of them; --format jsonl -o - writes JSON lines")
    if chosen is not None and output is None:
        raise ml.UsageError("--format without -o: the terminal shows a table", hint=f"add -o {PIPE} for a pipe, or -o FILE")


def give(answer: Answer, *, output: str | None, chosen: Format | None, as_json: bool, head: int = HEAD_ROWS) -> None:
    """Hand the answer over in the way that was asked for."""
    if output is not None:
        _give_file(answer, output, chosen=chosen, as_json=as_json)
    elif as_json:
        _give_json(answer)
    else:
        _give_head(answer, head)


def column_types(schema: pa.Schema) -> dict[str, str]:
    """The columns and their types, in words."""
    return {column.name: str(column.type) for column in schema}


def is_numeric(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_decimal(dtype))


def _give_file(answer: Answer, output: str, *, chosen: Format | None, as_json: bool) -> None:
    with progress_bar(f"writing {output}", total=answer.total) as bar:
        rows = write_rows(answer.batches, answer.schema, path=output, chosen=chosen, progress=bar.advance_to)
    if as_json:
        print_json({"output": output, "rows": rows, "columns": column_types(answer.schema), **answer.facts})
    elif output != PIPE:
        print_line(f"{count_rows(rows)} in {output}", *(f", {name} {fact}" for name, fact in answer.facts.items()))


def _give_json(answer: Answer) -> None:
    """One JSON object, written row by row: an answer larger than memory passes too."""
    opening = {"columns": column_types(answer.schema), **answer.facts}
    sys.stdout.write(f'{json.dumps(opening, ensure_ascii=False)[:-1]}, "rows": [')
    separator = ""
    for batch in answer.batches:
        for row in plain_rows(batch):
            sys.stdout.write(f"{separator}\n{json.dumps(row, ensure_ascii=False, allow_nan=False)}")
            separator = ","
    sys.stdout.write("]}\n")


def _give_head(answer: Answer, head: int) -> None:
    rows: list[list[Any]] = []
    count = 0
    for batch in answer.batches:
        wanted = max(head - count, 0)
        if wanted:
            rows += [list(row.values()) for row in plain_rows(batch.slice(0, wanted))]
        count += batch.num_rows
    facts = "".join(f", {name} {fact}" for name, fact in answer.facts.items())
    shown = count_rows(count) if len(rows) == count else f"first {len(rows):,} of {count_rows(count)}"
    numeric = [column.name for column in answer.schema if is_numeric(column.type)]
    print_table(answer.schema.names, rows, numeric=numeric, caption=shown + facts)


def _first_rows(batches: Iterable[pa.RecordBatch], limit: int) -> Iterator[pa.RecordBatch]:
    left = limit
    for batch in batches:
        if left <= 0:
            return
        yield batch.slice(0, left)
        left -= batch.num_rows

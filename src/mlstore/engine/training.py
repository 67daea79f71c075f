"""The training journey: labels in, the same rows in the same order out, each with the features as they were at its time."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.asof import Questions, group_questions
from mlstore.engine.block import NO_NUMBERS, Int64
from mlstore.engine.lookup import look_up
from mlstore.engine.selection import Features, Selected, select, status_names
from mlstore.engine.session import ReadContext
from mlstore.engine.versions import newest
from mlstore.errors import InvalidDataError, NameClashError, SchemaMismatchError
from mlstore.format.fingerprint import hash_column
from mlstore.format.keys import Keys, factorize
from mlstore.schema.conform import conform_keys
from mlstore.schema.frames import to_table
from mlstore.schema.layout import Layout
from mlstore.schema.timestamps import NULL_TIME, ceil_to_unit, floor_to_unit, instant_ns, shifted

KnownAt = str | date | None


@dataclass(frozen=True, slots=True)
class Options:
    """How a training set is asked for; see Store.training_set."""

    timestamp: str
    known_at: KnownAt
    full_names: bool
    status: bool


def training_set(context: ReadContext, labels: Any, features: Features, options: Options) -> pa.Table:
    """The labels with the features as of each label's time; see Store.training_set."""
    table = to_table(labels, what="labels")
    _check_labels(table, options.timestamp)
    selection = select(context.catalog, features, taken=table.column_names, full_names=options.full_names, status=options.status)
    asker = _Asker(table, options)
    names: list[str] = []
    columns: list[pa.Array] = []
    for selected in selection:
        questions = asker.questions(selected)
        answer = look_up(context.history(selected.relation), selected, questions, table.num_rows, status=options.status)
        names += selected.outputs
        columns += answer.columns
        if options.status:
            names += status_names(selected)
            columns += [answer.status, answer.event_time, answer.valid_to]
    joined = pa.Table.from_arrays(table.columns + columns, names=table.column_names + names)
    return joined.replace_schema_metadata(_metadata(context, table, selection, options, names, columns))


class _Asker:
    """Turns labels into the questions of each view; what views share (keys, times) is worked out once."""

    def __init__(self, labels: pa.Table, options: Options) -> None:
        self._labels = labels
        self._options = options
        self._keys: dict[tuple[object, ...], tuple[Keys, NDArray[np.int32]]] = {}
        self._questions: dict[tuple[object, ...], Questions] = {}

    def questions(self, selected: Selected) -> Questions:
        layout = selected.relation.layout
        clocks = (layout.time_unit, layout.is_strict, layout.ttl_ns)
        if (layout.keys, clocks) not in self._questions:
            keys, codes = self._factorized(selected)
            times = self._labels[self._options.timestamp]
            latest = latest_ticks(times, layout)
            oldest = NO_NUMBERS if layout.ttl_ns is None else ceil_to_unit(times, layout.time_unit, minus_ns=layout.ttl_ns)
            self._questions[layout.keys, clocks] = group_questions(keys, codes, latest, oldest, self._known(times, layout))
        return self._questions[layout.keys, clocks]

    def _factorized(self, selected: Selected) -> tuple[Keys, NDArray[np.int32]]:
        layout = selected.relation.layout
        if layout.keys not in self._keys:
            columns = conform_keys(layout.keys, self._labels, what="labels")
            factored = factorize(selected.relation.key_spec, columns, self._labels.num_rows)
            self._keys[layout.keys] = factored.keys, factored.codes
        return self._keys[layout.keys]

    def _known(self, times: pa.ChunkedArray, layout: Layout) -> Int64:
        known_at = self._options.known_at
        if known_at is None:
            return NO_NUMBERS
        if isinstance(known_at, str) and known_at == "label":
            return floor_to_unit(times, layout.time_unit)
        known = known_instant(known_at)
        return np.full(len(times), known if layout.time_unit == "ns" else known // 1000, np.int64)


def latest_ticks(times: pa.ChunkedArray, layout: Layout) -> Int64:
    """The latest event time that may answer each time: e <= t, or e < t with a strict boundary. NULL_TIME: a null."""
    if not layout.is_strict:
        return floor_to_unit(times, layout.time_unit)
    above = ceil_to_unit(times, layout.time_unit)
    return np.where(above == NULL_TIME, NULL_TIME, shifted(above, -1))


def known_instant(known_at: KnownAt) -> int:
    """Nanoseconds of a knowledge bound given as a time."""
    try:
        return instant_ns(known_at)
    except InvalidDataError as error:
        raise InvalidDataError(f"known_at: {error.message}", hint=f'give None, "label" or a time: {error.hint}') from error


def _check_labels(labels: pa.Table, timestamp: str) -> None:
    repeated = sorted({name for name in labels.column_names if labels.column_names.count(name) > 1})
    if repeated:
        raise NameClashError(f"the labels have two columns called {repeated[0]!r}", hint="rename one of them")
    if timestamp not in labels.column_names:
        raise SchemaMismatchError(
            f"labels: no time column {timestamp!r} among {', '.join(labels.column_names) or 'no columns'}",
            hint='name the column with timestamp="..."',
        )


def _metadata(
    context: ReadContext, labels: pa.Table, selection: list[Selected], options: Options, names: list[str], columns: list[pa.Array]
) -> dict[bytes, bytes]:
    commit = newest(context.reader, context.scope)
    version = "" if commit is None else commit.id
    references = [reference for selected in selection for reference in selected.references]
    spec = {
        "features": references,
        "outputs": names,
        "timestamp": options.timestamp,
        "known_at": None if options.known_at is None else str(options.known_at),
        "full_names": options.full_names,
        "status": options.status,
    }
    print_of = hashlib.blake2b(json.dumps(spec, sort_keys=True).encode(), digest_size=16)
    for content in (*_label_hashes(labels, options.timestamp), *(hash_column(column) for column in columns)):
        print_of.update(content)
    return {
        **(labels.schema.metadata or {}),
        b"mlstore.version": version.encode(),
        b"mlstore.features": json.dumps(spec).encode(),
        b"mlstore.fingerprint": print_of.hexdigest().encode(),
    }


def _label_hashes(labels: pa.Table, timestamp: str) -> Iterator[bytes]:
    """What is hashed of the labels: every column by name and content, and which one is the time."""
    for name, column in zip(labels.column_names, labels.columns, strict=True):
        yield name.encode()
        yield hash_column(column)
    yield timestamp.encode()

"""Consumers: how far each has come in its source, kept by the transactions that wrote its rows.

A record belongs to a version as a row does: it is found under the bounds of the lines seen. None is ever changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from mlstore.engine.catalog import Relation
from mlstore.engine.ledger import LINE_SEQ
from mlstore.engine.session import ReadContext, WriteContext
from mlstore.engine.versions import Scope, take_numbers
from mlstore.errors import CorruptionError, StoreBusyError, UsageError
from mlstore.format.manifest import EPOCH, decode_fields, encode_fields
from mlstore.format.packed import CURE
from mlstore.storage.keyspace import declare
from mlstore.storage.transaction import Reader

CONSUMERS = declare("consumers")  # name \0 | line | seq -> table, position, rows, refused, time


Position = Any  # what a source says of itself: None, numbers, texts, lists and dicts of them


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """How far a consumer has come, as a branch or version knows it: its place in the source, and the rows since it exists."""

    name: str
    table: str
    position: Position
    rows: int
    refused: int
    time: datetime | None


@dataclass(frozen=True, slots=True)
class Progress:
    """The newest record of a consumer; `seq` tells it from the next one. 0: there is none yet."""

    name: str
    table: int
    position: Position = None
    rows: int = 0
    refused: int = 0
    time_us: int = 0
    seq: int = 0

    def advance(self, context: WriteContext, position: Position, *, rows: int, refused: int) -> Self:
        """Put the next record, in the transaction that wrote the rows; refused if somebody else has put one meanwhile."""
        now = _find(context.reader, context.scope, self.name)
        if (0 if now is None else now.seq) != self.seq:
            raise StoreBusyError(
                f"consumer {self.name!r}: somebody else has gone on with it, or its branch was moved; this batch was not written",
                hint="let one process consume under a name, and start again from where it stands now",
            )
        seq = take_numbers(context.writer, "seq")
        record = replace(self, position=position, rows=self.rows + rows, refused=self.refused + refused, time_us=context.now_us, seq=seq)
        fields = [record.table, record.position, record.rows, record.refused, record.time_us]
        context.writer.put(CONSUMERS, _prefix(self.name) + LINE_SEQ.pack(context.scope.line, seq), encode_fields(fields))
        return record

    def shown(self, label: str) -> ConsumerState:
        since = EPOCH + timedelta(microseconds=self.time_us) if self.seq else None
        return ConsumerState(self.name, label, self.position, self.rows, self.refused, since)


def find_progress(context: ReadContext, relation: Relation, name: str) -> Progress:
    """How far a consumer of a table has come; it may be new."""
    found = _find(context.reader, context.scope, name) or Progress(name, relation.table)
    if found.table != relation.table:
        label = _labels(context).get(found.table, "another table")
        raise UsageError(f"consumer {name!r} feeds {label}, not {relation.label}", hint="give each of them a consumer of its own name")
    return found


def list_consumers(context: ReadContext) -> list[ConsumerState]:
    """The consumers that a place knows, by name."""
    labels = _labels(context)
    return [progress.shown(labels.get(progress.table, "")) for progress in _all(context)]


def _all(context: ReadContext) -> Iterator[Progress]:
    names = dict.fromkeys(key.partition(b"\0")[0] for key, _ in context.reader.scan(CONSUMERS))
    for name in names:
        found = _find(context.reader, context.scope, name.decode())
        if found is not None:
            yield found


def _labels(context: ReadContext) -> dict[int, str]:
    return {relation.table: relation.label for relation in context.catalog.relations()}


def _find(reader: Reader, scope: Scope, name: str) -> Progress | None:
    """The newest record within the bounds of the lines seen, the own line first: it was put after all that is seen of the others."""
    prefix = _prefix(name)
    for line, bound in scope.lineage():
        found = reader.last(CONSUMERS, prefix + LINE_SEQ.pack(line, 0), prefix + LINE_SEQ.pack(line, bound) + b"\0")
        if found is not None:
            fields = decode_fields(found[1])
            if [type(field) for place, field in enumerate(fields) if place != 1] != [int] * 4:  # the position is the source's own
                raise CorruptionError(f"consumer {name!r}: its record says what cannot be: {fields!r:.80}", hint=CURE)
            table, position, rows, refused, time_us = fields
            return Progress(name, table, position, rows, refused, time_us, LINE_SEQ.unpack(found[0][len(prefix) :])[1])
    return None


def _prefix(name: str) -> bytes:
    return name.encode() + b"\0"

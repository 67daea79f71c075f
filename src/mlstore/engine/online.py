"""Online rows: for each key the newest row by (event_time, created, seq) that is not deleted, one record each.

The record is what the history would answer at the end of time; the write path keeps the two equal in one transaction.
"""

import struct
from collections.abc import Sequence

import numpy as np

from mlstore.engine.asof import newest_questions, relevant_blocks, search
from mlstore.engine.catalog import Relation
from mlstore.engine.gather import Gatherer
from mlstore.engine.offline import History
from mlstore.format.keys import Keys
from mlstore.format.rows import peek
from mlstore.storage.keyspace import declare, prefix_end
from mlstore.storage.transaction import Reader, Writer

ONLINE = declare("online")

_OWNER = struct.Struct(">II")


def online_prefix(relation: Relation, line: int) -> bytes:
    return _OWNER.pack(relation.table, line)


def get_rows(reader: Reader, relation: Relation, line: int, keys: Sequence[bytes]) -> list[bytes | None]:
    """The packed online row of each encoded key, None where there is none."""
    return reader.get_many(ONLINE, list(map(online_prefix(relation, line).__add__, keys)))


def put_latest(writer: Writer, relation: Relation, line: int, keys: Sequence[bytes], rows: Sequence[bytes]) -> int:
    """Offer one row per key (sorted); it is kept unless a newer one is there. How many came late."""
    prefix = online_prefix(relation, line)
    records = [prefix + key for key in keys]
    # An older event must not win: late arrivals go to history only, never to the online row.
    held = writer.get_many(ONLINE, records) if writer.first(ONLINE, prefix, prefix_end(prefix)) else [None] * len(records)
    newer = [(record, row) for record, row, old in zip(records, rows, held, strict=True) if old is None or peek(row)[1:] >= peek(old)[1:]]
    writer.put_many(ONLINE, newer)
    return len(records) - len(newer)


def refresh(writer: Writer, history: History, line: int, keys: Keys) -> None:
    """Put what the history now answers for these keys (sorted, unique), or drop the row of a key that has none."""
    prefix = online_prefix(history.relation, line)
    found, rows = latest_rows(history, keys)
    records = [prefix + key for key in keys.encoded()]
    writer.put_many(ONLINE, [(record, row) for record, row, there in zip(records, rows, found, strict=True) if there])
    writer.delete_many(ONLINE, [record for record, there in zip(records, found, strict=True) if not there])


def latest_rows(history: History, keys: Keys) -> tuple[Sequence[bool], list[bytes]]:
    """For each key: whether the history has a row, and that row packed (b"" if not)."""
    relation, count = history.relation, len(keys)
    questions = newest_questions(keys)
    blocks = relevant_blocks(history, questions)
    winners = search(blocks, questions)
    there = np.flatnonzero(winners.found)
    slots = np.zeros(count, np.uint32)
    slots[there] = np.arange(len(there), dtype=np.uint32)
    gatherer = Gatherer(blocks, winners, slots, len(there))
    columns = [gatherer.column(number, field.dtype) for number, field in enumerate(relation.layout.features)]
    packed = relation.plan.encode(winners.time[there], winners.created[there], winners.seq[there], columns)
    rows = [b""] * count
    for index, row in zip(there.tolist(), packed, strict=True):
        rows[index] = row
    return winners.found.tolist(), rows

"""Online rows: for each key the newest row by (event_time, created, seq) that is not deleted, one record each.

The record is what the history would answer at the end of time; the write path keeps the two equal in one transaction. A branch has
records only for what changed on it: any other key is answered by the parent's row as of the fork, which the parent keeps when it changes.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from mlstore._core.tail import newer_places
from mlstore.engine.catalog import Relation
from mlstore.engine.history.asof import newest_questions, relevant_blocks, search
from mlstore.engine.history.gather import Gatherer
from mlstore.engine.history.offline import History
from mlstore.engine.versions import Scope, newest_fork
from mlstore.format.keys import Keys
from mlstore.format.packed import FixedFields
from mlstore.storage.keyspace import declare, prefix_end
from mlstore.storage.transaction import Reader, Writer

ONLINE = declare("online")
KEPT = declare("kept")  # table | line | key | fork -> the online row of the key as of the fork, empty: there was none

_OWNER = FixedFields(">II")
_FORK = FixedFields(">Q")
_BEHIND = b"\xff" * 9  # behind every fork
_FEW = 16  # keys that are looked up at once, rather than whether there is any


def online_prefix(relation: Relation, line: int) -> bytes:
    return _OWNER.pack(relation.table, line)


def get_rows(reader: Reader, relation: Relation, scope: Scope, keys: Sequence[bytes]) -> list[bytes | None]:
    """The packed online row of each encoded key on a branch, None where there is none."""
    rows = reader.get_many(ONLINE, list(map(online_prefix(relation, scope.line).__add__, keys)))
    return _through_forks(reader, relation, scope, keys, rows) if scope.ancestry else rows


def put_latest(writer: Writer, relation: Relation, scope: Scope, keys: list[bytes], rows: list[bytes]) -> int:
    """Offer one row per key (sorted); it is kept unless a newer one is there. How many came late."""
    prefix = online_prefix(relation, scope.line)
    has_rows = len(keys) <= _FEW or scope.ancestry or writer.first(ONLINE, prefix, prefix_end(prefix))
    # An older event must not win: late arrivals go to history only, never to the online row.
    held: list[bytes | None] = get_rows(writer, relation, scope, keys) if has_rows else [None] * len(keys)
    newer = newer_places(rows, held)
    _keep_for_forks(writer, relation, scope.line, ((keys[place], held[place]) for place in newer))
    writer.put_many(ONLINE, ((prefix + keys[place], rows[place]) for place in newer))
    return len(keys) - len(newer)


def refresh(writer: Writer, history: History, keys: Keys) -> None:
    """Put what the history now answers for these keys (sorted, unique), or drop the row of a key that has none."""
    relation, scope = history.relation, history.scope
    prefix, encoded = online_prefix(relation, scope.line), keys.encoded()
    found, rows = latest_rows(history, keys)
    if newest_fork(writer, scope.line) is not None:
        _keep_for_forks(writer, relation, scope.line, list(zip(encoded, get_rows(writer, relation, scope, encoded), strict=True)))
    # On a branch an empty row keeps the one of the parent from shining through.
    is_kept = [there or bool(scope.ancestry) for there in found]
    writer.put_many(ONLINE, [(prefix + key, row) for key, row, kept in zip(encoded, rows, is_kept, strict=True) if kept])
    writer.delete_many(ONLINE, [prefix + key for key, kept in zip(encoded, is_kept, strict=True) if not kept])


def keep(writer: Writer, relation: Relation, line: int, fork: int, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
    """Keep the online row that each key had at a fork, unless it is kept already."""
    prefix, suffix = online_prefix(relation, line), _FORK.pack(fork)
    for key, row in rows:
        writer.put(KEPT, prefix + key + suffix, row or b"", overwrite=False)


def kept_keys(reader: Reader, relation: Relation, line: int, fork: int) -> Keys:
    """The keys of rows kept for forks behind this one."""
    prefix = online_prefix(relation, line)
    records = (record for record, _ in reader.scan_prefix(KEPT, prefix))
    keys = {record[len(prefix) : -_FORK.size] for record in records if _FORK.unpack(record[-_FORK.size :])[0] > fork}
    return Keys.from_encoded(sorted(keys), relation.key_spec.kind)


def _keep_for_forks(writer: Writer, relation: Relation, line: int, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
    """What is about to change is what the newest fork sees, unless it changed since: then the row is kept already."""
    fork = newest_fork(writer, line)
    if fork is not None:
        keep(writer, relation, line, fork, rows)


def _through_forks(reader: Reader, relation: Relation, scope: Scope, keys: Sequence[bytes], rows: list[bytes | None]) -> list[bytes | None]:
    """Of keys that the own line says nothing about: the row of the parent as of the fork, and so on upwards."""
    for line, fork in scope.ancestry:
        missing = [(place, key) for place, key in enumerate(keys) if rows[place] is None]
        if not missing:
            break
        prefix = online_prefix(relation, line)
        has_kept = reader.first(KEPT, prefix, prefix_end(prefix)) is not None
        current = reader.get_many(ONLINE, [prefix + key for _, key in missing])
        for (place, key), row in zip(missing, current, strict=True):
            kept = reader.first(KEPT, prefix + key + _FORK.pack(fork), prefix + key + _BEHIND) if has_kept else None
            rows[place] = row if kept is None else kept[1]
    return [row or None for row in rows]


def latest_rows(history: History, keys: Keys) -> tuple[Sequence[bool], list[bytes]]:
    """For each key: whether the history has a row, and that row packed (b"" if not)."""
    relation, count = history.relation, len(keys)
    questions = newest_questions(keys)
    blocks = relevant_blocks(history, questions)
    winners = search(blocks, questions)
    there = np.flatnonzero(winners.found)
    gatherer = Gatherer(blocks, winners.take(there), np.arange(len(there), dtype=np.uint32), len(there))
    columns = [gatherer.column(number, field.dtype) for number, field in enumerate(relation.layout.features)]
    packed = relation.plan.encode(winners.time[there], winners.created[there], winners.seq[there], columns)
    rows = [b""] * count
    for index, row in zip(there.tolist(), packed, strict=True):
        rows[index] = row
    return winners.found.tolist(), rows

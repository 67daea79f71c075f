"""Online rows: for each key the newest row by (event_time, created, seq) that is not deleted, one record each.

The record is what the history would answer at the end of time; the write path keeps the two equal in one transaction. A branch has
records only for what changed on it: any other key is answered by the parent's row as of the fork, which the parent keeps when it changes.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from mlstore._core.tail import newer_places
from mlstore.engine import limits
from mlstore.engine.catalog import Relation
from mlstore.engine.history.asof import newest_questions, relevant_blocks, search
from mlstore.engine.history.gather import Gatherer
from mlstore.engine.history.offline import History
from mlstore.engine.versions import Scope, forks, newest_fork, read_counter
from mlstore.format.keymerge import merge_keys
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
    has_rows = len(keys) <= _FEW or scope.ancestry or writer.first(ONLINE, prefix + keys[0], prefix + keys[-1] + b"\0")
    # An older event must not win: late arrivals go to history only, never to the online row.
    held: list[bytes | None] = get_rows(writer, relation, scope, keys) if has_rows else [None] * len(keys)
    newer = newer_places(rows, held)
    _keep_for_forks(writer, relation, scope.line, ((keys[place], held[place]) for place in newer))
    if len(newer) < len(keys):
        keys, rows = ([offered[place] for place in newer] for offered in (keys, rows))
    late = len(held) - len(keys)
    writer.put_many(ONLINE, zip(map(prefix.__add__, keys), rows, strict=True))
    return late


def put_if_newest(writer: Writer, relation: Relation, scope: Scope, key: bytes, row: bytes) -> bool:
    """Offer a row of one key; False: it came late, a newer one is there."""
    record = online_prefix(relation, scope.line) + key
    held = get_rows(writer, relation, scope, [key])[0] if scope.ancestry else writer.get(ONLINE, record)
    if held is not None and not newer_places([row], [held]):
        return False
    _keep_for_forks(writer, relation, scope.line, ((key, held),))
    writer.put(ONLINE, record, row)
    return True


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


def refresh_all(writer: Writer, history: History) -> None:
    """The same for every key that has rows."""
    parts = [block.keys for block in history.blocks()]
    keys = merge_keys(parts) if parts else Keys.from_encoded([], history.relation.key_spec.kind)
    for start in range(0, len(keys), limits.DIRECT_ROWS):
        refresh(writer, history, keys.slice(start, min(start + limits.DIRECT_ROWS, len(keys))))


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


def hand_down(writer: Writer, line: int, gone: int) -> None:
    """Online rows kept for a fork that is gone serve the next older one, or nobody."""
    left = [fork for fork, _ in forks(writer, line)]
    if gone in left:
        return
    older = max((fork for fork in left if fork < gone), default=None)
    suffix = _FORK.pack(gone)
    for table in range(1, read_counter(writer, "table") + 1):
        kept = [item for item in writer.scan_prefix(KEPT, _OWNER.pack(table, line)) if item[0].endswith(suffix)]
        for key, row in kept:
            if older is not None:
                writer.put(KEPT, key[: -_FORK.size] + _FORK.pack(older), row, overwrite=False)
            writer.delete(KEPT, key)


def take_over(writer: Writer, relation: Relation, scope: Scope) -> None:
    """Let a line have the online rows that it sees of its nearest ancestor, and answer without it from now on."""
    own = online_prefix(relation, scope.line)
    above = online_prefix(relation, scope.ancestry[0][0])
    has_more = len(scope.ancestry) > 1
    keys = {record[len(above) :] for record, _ in writer.scan_prefix(ONLINE, above)}
    keys |= {record[len(above) : -_FORK.size] for record, _ in writer.scan_prefix(KEPT, above)}
    missing = sorted(key for key in keys if writer.get(ONLINE, own + key) is None)
    rows = get_rows(writer, relation, scope, missing)
    # Where there are no ancestors left, nothing shines through that an empty row would keep back.
    writer.put_many(ONLINE, [(own + key, row or b"") for key, row in zip(missing, rows, strict=True) if row is not None or has_more])
    if not has_more:
        writer.delete_many(ONLINE, [record for record, row in writer.scan_prefix(ONLINE, own) if not row])


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

"""Seals: a digest of all rows of a version, written into the audit, so that the rows themselves can be proven later.

A commit's own digest is of the bytes as they were written, which merging does not keep. A seal is of the rows, however they are laid out:
the blake2b-256 of the sorted blake2b-256 of each row with its key, clocks and sequence.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from mlstore.engine import limits
from mlstore.engine.audit import find_commit, list_acts, record_act
from mlstore.engine.history.block import Block
from mlstore.engine.history.offline import History, Shelves
from mlstore.engine.ledger import every_body
from mlstore.engine.session import ReadContext, Session
from mlstore.engine.versions import has_line, is_retained, resolve, scope_of
from mlstore.format.act import Act
from mlstore.format.manifest import Commit, decode_commit
from mlstore.storage.transaction import Reader

SEAL = "seal"
FORGET = "forget"  # the op of a commit that erases rows of other versions

_DIGEST_BYTES = 32
_CONTENT = "content of "
_KEY_SIZE = struct.Struct("<I")


def seal(session: Session, version: str | Commit, *, author: str, message: str) -> Act:
    """Write the digests of a version's rows into the audit; see Store.seal."""
    with session.reading() as context:
        commit = resolve(context.reader, context.scope, version)
        digests = digest_version(context, commit)
    # What a version holds does not change, so nobody needs to wait while it is read.
    subject = version if isinstance(version, str) else version.id
    with session.writing() as writing:
        return record_act(
            writing.writer, SEAL, subject, time_us=writing.now_us, author=author, after=commit, message=message, details=digests
        )


def find_broken_seals(context: ReadContext, checks: Counter[str]) -> list[str]:
    """Sealed versions whose rows are not what was sealed. Where keys were forgotten since, a view cannot be checked any more."""
    problems = []
    forgotten = _last_forgotten(context.reader)
    for _, act in list_acts(context.reader):
        commit = find_commit(context.reader, act.after) if act.action == SEAL else None
        if commit is None or not has_line(context.reader, commit.line):
            continue
        if not is_retained(context.reader, commit):
            checks["seals of versions let go"] += 1
            continue
        digests = digest_version(context, commit)
        sealed = {name.removeprefix(_CONTENT): digest for name, digest in act.details.items() if name.startswith(_CONTENT)}
        for label, digest in sealed.items():
            if forgotten.get(label, -1) > act.seq:
                checks["seals made void by forgetting"] += 1
                continue
            checks["seals"] += 1
            if digests.get(_CONTENT + label) != digest:
                problems.append(f"{label}: the rows of {act.subject!r} are not those that were sealed by audit entry {act.seq}")
    return problems


def _last_forgotten(reader: Reader) -> dict[str, int]:
    """When keys were last forgotten from each view or table."""
    forgotten: dict[str, int] = {}
    for _, packed in every_body(reader):
        commit = decode_commit(packed)
        for change in commit.changes:
            if change.op == FORGET:
                forgotten[change.table] = max(commit.seq, forgotten.get(change.table, -1))
    return forgotten


def digest_version(context: ReadContext, commit: Commit) -> dict[str, str | int]:
    """How many rows a version has, and the digest of those of each view and table."""
    place = _place_of(context, commit)
    digests: dict[str, str | int] = {}
    total = 0
    for relation in place.catalog.relations():
        rows = np.sort(np.frombuffer(b"".join(_row_digests(place.history(relation))), f"S{_DIGEST_BYTES}"))
        total += len(rows)
        digests[_CONTENT + relation.label] = blake2b(rows.tobytes(), digest_size=_DIGEST_BYTES).hexdigest()
    return digests | {"rows": total}


def _place_of(context: ReadContext, commit: Commit) -> ReadContext:
    # With shelves of its own: what is proven must come from the file, not from what this process remembers of it.
    return replace(context.at(scope_of(context.reader, commit)), shelves=Shelves())


def _row_digests(history: History) -> Iterator[bytes]:
    for block in history.blocks():
        visible = block.visible
        rows = np.arange(block.content.rows) if visible is None else np.flatnonzero(visible)
        for start in range(0, len(rows), limits.BATCH_ROWS):
            yield _digest_rows(block, rows[start : start + limits.BATCH_ROWS])


def _digest_rows(block: Block, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bytes:
    relation = block.relation
    columns = [block.column(number).take(rows) for number in range(len(relation.layout.features))]
    packed = relation.plan.encode(block.content.time[rows], block.created_of(rows), block.seq_of(rows), columns)
    places, which = np.unique(block.key_of(rows), return_inverse=True)
    keys = [_KEY_SIZE.pack(len(key)) + key for key in block.keys.take(places).encoded()]
    return b"".join(blake2b(keys[key] + row, digest_size=_DIGEST_BYTES).digest() for key, row in zip(which.tolist(), packed, strict=True))

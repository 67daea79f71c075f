"""The log: the commits that made a version, all of them, or those that touched one table or one key."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import numpy as np

from mlstore.engine.catalog import Relation
from mlstore.engine.history.shadows import load_shadows
from mlstore.engine.ledger import commits_of_table, first_body
from mlstore.engine.session import ReadContext
from mlstore.engine.versions import LIVE, commits, resolve
from mlstore.errors import SchemaMismatchError, UsageError
from mlstore.format.keys import Keys, encode_key
from mlstore.format.manifest import Commit, decode_commit
from mlstore.storage.transaction import Reader


def history(
    context: ReadContext, *, table: str | None, key: Mapping[str, Any] | None, since: str | date | Commit | None
) -> Iterator[Commit]:
    """Commits, newest first; see Store.history."""
    if key is not None and table is None:
        raise UsageError("history of a key needs table=", hint="name the view or table that has the key")
    found = commits(context.reader, context.scope)
    if table is not None:
        relation = context.catalog.relation(table)
        found = _of_table(context, relation) if key is None else _of_key(context, relation, key)
    if since is None:
        return found
    after = resolve(context.reader, context.scope, since).seq
    return (commit for commit in found if commit.seq > after)


def _of_table(context: ReadContext, relation: Relation) -> Iterator[Commit]:
    """By the change feed of the table."""
    for line, bound in context.scope.lineage():
        yield from commits_of_table(context.reader, relation.table, line, bound)


def _of_key(context: ReadContext, relation: Relation, key: Mapping[str, Any]) -> Iterator[Commit]:
    """By the rows of the key, visible or not: each names what wrote it and what deleted it."""
    names = [field.name for field in relation.layout.keys]
    if sorted(key) != sorted(names):
        raise SchemaMismatchError(f"{relation.label} has the key {names}, got {list(key)}", hint="give every key column")
    code = encode_key(relation.key_spec, [key[name] for name in names])
    if code is None:
        return
    keys = Keys.from_encoded([code], relation.key_spec.kind)
    found = set[tuple[int, int]]()
    for block in context.history(relation).blocks(keys=keys):
        position = block.keys.lower_bound(code)
        if position == len(block.keys) or block.keys.encoded_at(position) != code:
            continue
        rows = np.arange(int(block.offsets[position]), int(block.offsets[position + 1]))
        seqs = (*block.seq_of(rows).tolist(), *block.deleted_seq()[rows].tolist())
        found.update((context.scope.author_of(seq), seq) for seq in seqs if seq <= block.bound)
    for line, bound in context.scope.layers():
        shadows = load_shadows(context.reader, relation.table, line, keys.kind, [code])
        if shadows is not None:
            found.update((context.scope.author_of(seq), seq) for seq in shadows.deleted.tolist() if seq <= bound)
    seen = [
        commit
        for line, seq in found
        if seq != LIVE and (commit := _first_commit(context.reader, line, seq)) is not None and context.scope.holds(line, commit.seq)
    ]
    yield from sorted({commit.id: commit for commit in seen}.values(), key=lambda commit: -commit.seq)


def _first_commit(reader: Reader, line: int, seq: int) -> Commit | None:
    """The commit that holds what was done at a sequence."""
    found = first_body(reader, line, seq)
    return None if found is None else decode_commit(found)

"""The delete journey: which rows are meant, hidden in one commit, the online rows following in the same transaction."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.asking.filters import Condition
from mlstore.engine.asking.reading import Query, plan_query, read_rows
from mlstore.engine.history import online
from mlstore.engine.history.block import Block, Int64
from mlstore.engine.history.picking import pick_ranges, pick_where
from mlstore.engine.session import Session
from mlstore.engine.versions import take_numbers
from mlstore.engine.windows.tilekeeping import following
from mlstore.engine.writing.removal import hide
from mlstore.errors import SchemaMismatchError, UsageError
from mlstore.format.keys import Keys, KeySpec, factorize
from mlstore.format.manifest import Commit, TableChange
from mlstore.schema.conform import conform_keys
from mlstore.schema.frames import to_table
from mlstore.schema.layout import Layout

TimeLike = str | date


def delete(
    session: Session,
    name: str,
    *,
    keys: Any,
    where: Condition | None,
    start: TimeLike | None,
    end: TimeLike | None,
    author: str,
    message: str,
) -> Commit:
    """Delete the rows that fit all that is asked; see Store.delete."""
    if keys is None and where is None and start is None and end is None:
        raise UsageError(f"delete of {name!r} names no rows", hint="give keys=, where=, start= or end=; all rows: start='0001-01-01'")
    with session.writing() as context:
        relation = context.catalog.stored(name, doing="delete")
        query = plan_query(relation, (), where, start, end)
        history = context.history(relation)
        seq = take_numbers(context.writer, "seq")
        span = query.first_time, query.last_time
        if keys is None:
            blocks = history.blocks(first_time=span[0], last_time=span[1])
            picks = pick_where(blocks, *span, _matcher(query))
        else:
            wanted = named_keys(relation.layout, relation.key_spec, keys, doing="delete")
            blocks = history.blocks(keys=wanted, first_time=span[0], last_time=span[1])
            count = len(wanted)
            ranges = pick_ranges(blocks, wanted, np.arange(count), np.full(count, span[0]), np.full(count, span[1]))
            matches = _matcher(query)
            picks = ((block, rows if matches is None else rows[matches(block, rows)]) for block, rows in ranges)
        with following(context, relation) as keeper:
            hidden = hide(context, history, picks, seq)
            keeper.hidden(hidden.rows, hidden.keys)
            if hidden.rows and relation.layout.is_online:
                online.refresh(context.writer, context.history(relation), hidden.keys)
        digest = hashlib.blake2b(b"\0".join(hidden.keys.encoded()), digest_size=16).digest()
        change = TableChange("delete", relation.label, relation.table, hidden.rows, seq, seq, digest)
        return context.commit(change, author=author, message=message)


def named_keys(layout: Layout, key_spec: KeySpec, given: Any, *, doing: str) -> Keys:
    """The keys that a caller names, sorted and unique."""
    if not layout.keys:
        raise UsageError(f"{layout.name} has no key", hint="delete by start=, end= or where=")
    if isinstance(given, Mapping):
        given = {
            name: value if isinstance(value, list | tuple | np.ndarray | pa.Array | pa.ChunkedArray) else [value]
            for name, value in given.items()
        }
    table = to_table(given, what="keys")
    names = [field.name for field in layout.keys]
    if sorted(table.column_names) != sorted(names):
        raise SchemaMismatchError(f"{doing} in {layout.name} takes keys {names}, got {table.column_names}", hint="give every key column")
    return factorize(key_spec, conform_keys(layout.keys, table, what="keys"), table.num_rows).keys


def _matcher(query: Query) -> Callable[[Block, Int64], NDArray[np.bool_]] | None:
    """Which of some rows of a block the filter is true for."""
    where = query.where
    if where is None:
        return None

    def matches(block: Block, rows: Int64) -> NDArray[np.bool_]:
        table = read_rows(query, block, rows).append_column("__place", pa.array(np.arange(len(rows))))
        found = np.zeros(len(rows), np.bool_)
        found[where.keep(table)["__place"].to_numpy()] = True
        return found

    return matches

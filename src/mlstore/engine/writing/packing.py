"""Packing: rows that fit a relation as bytes, each with its key, in the order they came.

Done ahead of the write transaction; what only the commit knows (seq, and clocks that the rows do not tell) is left open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore._core.tail import read_clocks
from mlstore.engine.catalog import Relation
from mlstore.engine.history.block import Int64
from mlstore.errors import InvalidDataError
from mlstore.format.keys import Factorized, Keys, decode_keys, factorize, line_up
from mlstore.format.ranks import rank_ints
from mlstore.schema.conform import Conformed
from mlstore.schema.layout import Layout
from mlstore.schema.timestamps import NULL_TIME

Pair = tuple[bytes, bytes]  # key, row


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows ready to be written: `keys` distinct and sorted, `codes` the position of each row's key in them, and the rows.

    `time`, `created`: None where the commit says it.
    """

    keys: list[bytes]
    codes: NDArray[np.int32]
    rows: list[bytes]
    time: Int64 | None
    created: Int64 | None


def pack_columns(relation: Relation, rows: Conformed) -> Packed:
    """Rows that came as columns."""
    factored = factorize_rows(relation, rows)
    return Packed(factored.keys.encoded(), factored.codes, _encode(relation, rows), rows.event_time, rows.created)


def pack_dicts(relation: Relation, data: Any) -> list[Pair] | None:
    """One dict that is a row, or a list of them, packed; None if it has to go through Arrow: to be understood, or to be refused."""
    form = relation.form
    if form is None:
        return None
    if type(data) is dict:
        # Where every column holds lists, a dict of lists may as well be a dict of columns.
        pair = form.pack(data) if _has_plain_column(relation.layout) else None
        return None if pair is None else [pair]
    if not isinstance(data, list | tuple) or not data:
        return None
    pairs: list[Pair] = []
    for row in data:
        pair = form.pack(row)
        if pair is None:
            return None
        pairs.append(pair)
    return pairs if _zones_agree(relation.layout, data) else None


def pair_up(relation: Relation, rows: Conformed) -> list[Pair]:
    """Rows that came as columns, as pairs."""
    keys = line_up(relation.key_spec, rows.keys, rows.rows).keys.encoded()
    return list(zip(keys, _encode(relation, rows), strict=True))


def pack_pairs(relation: Relation, pairs: Sequence[Pair]) -> Packed:
    """Rows that came one by one, of the relation's own revision."""
    named, rows = map(list, zip(*pairs, strict=True))
    keys, codes = rank_keys(relation, named)
    layout, count = relation.layout, len(rows)
    time, created = np.empty(count, np.int64), np.empty(count, np.int64)
    read_clocks(rows, time, created)
    return Packed(keys, codes, rows, time if layout.timestamp is not None else None, created if tells_created(layout) else None)


def unpack_pairs(relation: Relation, pairs: Sequence[Pair]) -> pa.Table:
    """The table that these pairs of a relation are the rows of."""
    layout = relation.layout
    decoded = relation.plan.decode([row for _, row in pairs])
    columns = decode_keys(relation.key_spec, Keys.from_encoded([key for key, _ in pairs], relation.key_spec.kind)) if layout.keys else []
    for name, ticks in ((layout.timestamp, decoded.event_time), (layout.created_timestamp, decoded.created)):
        if name is not None:
            columns.append(pa.array(ticks, mask=ticks == NULL_TIME).view(pa.timestamp(layout.time_unit, "UTC")))
    return pa.table([*columns, *decoded.columns], list(layout.column_names))


def tells_created(layout: Layout) -> bool:
    """Whether rows say when they became known; if not, the commit does."""
    return layout.created_timestamp is not None or (layout.available_after_ns is not None and layout.timestamp is not None)


def factorize_rows(relation: Relation, rows: Conformed) -> Factorized:
    """The distinct keys of rows, and which is whose."""
    try:
        return factorize(relation.key_spec, rows.keys, rows.rows)
    except InvalidDataError as error:
        names = ", ".join(field.name for field in relation.layout.keys)
        raise InvalidDataError(f"{relation.label}: key {names}, {error.message}", hint=error.hint) from error


def _encode(relation: Relation, rows: Conformed) -> list[bytes]:
    """The rows with the clocks they tell, and zeros for the others."""
    told = np.zeros(rows.rows, np.int64)
    time, created = (told if clock is None else clock for clock in (rows.event_time, rows.created))
    return relation.plan.encode(time, created, told, rows.features)


def rank_keys(relation: Relation, named: list[bytes]) -> tuple[list[bytes], NDArray[np.int32]]:
    """The distinct keys in order, and the position of each row's."""
    if len(named) == 1:
        return named, np.zeros(1, np.int32)
    if relation.key_spec.kind == "int":
        uniques, codes = rank_ints(Keys.from_encoded(named, "int").ints, None)
        return Keys(ints=uniques).encoded(), codes
    keys = sorted(set(named))
    places = dict(zip(keys, range(len(keys)), strict=True))
    return keys, np.fromiter(map(places.__getitem__, named), np.int32, len(named))


def _has_plain_column(layout: Layout) -> bool:
    return bool(layout.keys or layout.timestamp or layout.created_timestamp) or not all(field.dtype.parts for field in layout.features)


def _zones_agree(layout: Layout, data: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the times of each column are all with a zone, or all without."""
    if len(data) == 1:
        return True
    clocks = [name for name in (layout.timestamp, layout.created_timestamp) if name is not None]
    timed = [field.name for field in (*layout.keys, *layout.features) if pa.types.is_timestamp(field.dtype.arrow)]
    return all(len({row[name].tzinfo is None for row in data if row[name] is not None}) <= 1 for name in (*clocks, *timed))

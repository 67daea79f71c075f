"""Namesakes: rows with the same key and clocks, which one bulk load wrote and one shadow would hide together."""

from collections.abc import Iterator, Sequence

import numpy as np

from mlstore.engine.history.block import Block, Int64
from mlstore.engine.history.offline import History
from mlstore.engine.history.picking import Pick, pick_ranges
from mlstore.engine.history.shadows import Shadows, locate
from mlstore.format.keys import KeyKind, Keys

Name = tuple[bytes, int, int, int]  # key, event time, created, seq


def name_rows(picks: Sequence[Pick], kind: KeyKind, deleted: int = 0) -> Shadows:
    """The names of rows, as shadows cast at a sequence."""
    named = [key for block, rows in picks for key in block.keys.take(block.key_of(rows)).encoded()]
    encoded = sorted(set(named))
    place = {key: code for code, key in enumerate(encoded)}
    codes = np.array([place[key] for key in named], np.int64)
    time = np.concatenate([block.content.time[rows] for block, rows in picks])
    created = np.concatenate([block.created_of(rows) for block, rows in picks])
    seq = np.concatenate([block.seq_of(rows) for block, rows in picks])
    return Shadows(Keys.from_encoded(encoded, kind), codes, time, created, seq, np.full(len(codes), deleted, np.int64))


def find_namesakes(history: History, picks: Sequence[Pick]) -> list[Pick]:
    """Visible rows that are not picked and must be written again when the picked rows of ancestors are hidden by name.

    These are the rows of that name, and, so that the order among equals stays, all others of their key, time and created.
    """
    if not picks:
        return []
    names = name_rows(picks, history.relation.key_spec.kind)
    blocks = history.blocks(keys=names.keys)
    hit = sum(len(_seen(block, locate(block, names))) for block in blocks if block.line != history.scope.line)
    if hit == sum(len(rows) for _, rows in picks):
        return []
    picked = {token for block, rows in picks for _, token in _tokens(block, rows)}
    ranges = list(pick_ranges(blocks, names.keys, names.codes, names.time, names.time))
    hidden = names.names()
    equals = {
        name[:3] for block, rows in ranges for name, token in _tokens(block, _seen(block, rows)) if name in hidden and token not in picked
    }
    staying = []
    for block, rows in ranges:
        seen = _seen(block, rows)
        stays = [
            row
            for row, (name, token) in zip(seen.tolist(), _tokens(block, seen), strict=True)
            if name[:3] in equals and token not in picked
        ]
        if stays:
            staying.append((block, np.array(stays, np.int64)))
    return staying


def _seen(block: Block, rows: Int64) -> Int64:
    return rows if block.visible is None else rows[block.visible[rows]]


def _tokens(block: Block, rows: Int64) -> Iterator[tuple[Name, object]]:
    """The name of each row, and what tells it from its namesakes: a row of a tail has none."""
    clocks = zip(block.content.time[rows].tolist(), block.created_of(rows).tolist(), block.seq_of(rows).tolist(), strict=True)
    for row, key, clock in zip(rows.tolist(), block.keys.take(block.key_of(rows)).encoded(), clocks, strict=True):
        name = (key, *clock)
        yield name, name if block.segment is None else (block.segment, row)

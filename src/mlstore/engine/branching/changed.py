"""Changed: which rows of a table one of two places sees and the other does not, found without looking at what they share."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlstore.engine.history.block import Block
from mlstore.engine.history.offline import History, Layer
from mlstore.engine.history.picking import Pick
from mlstore.format.keymerge import merge_keys
from mlstore.format.keys import Keys
from mlstore.format.manifest import SegmentEntry

Names = set[tuple[bytes, int, int, int]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows seen only before, and rows seen only after."""

    removed: list[Pick]
    added: list[Pick]


def compare(before: History | None, after: History | None) -> Difference:
    """The rows seen from one place only; None: a place that does not know the table.

    Both see the older part of the lines they share. There only rows written, deleted or shadowed between the two bounds can differ.
    Tables that were made apart share nothing, whatever they are called.
    """
    if before is not None and after is not None and before.relation.table != after.relation.table:
        return Difference(compare(before, None).removed, compare(None, after).added)
    found = Difference([], [])
    old, new = _layers(before), _layers(after)
    for place in sorted(old.keys() | new.keys()):
        for one, other in _pairs(before, old.get(place), after, new.get(place)):
            if one is not None:
                found.removed.extend(_rows(one, _seen(one) if other is None else _seen(one) & ~_seen(other)))
            if other is not None:
                found.added.extend(_rows(other, _seen(other) if one is None else _seen(other) & ~_seen(one)))
    return found


def _layers(history: History | None) -> dict[tuple[int, int], Layer]:
    """By table and line: two places may have given one name to tables of their own."""
    return {} if history is None else {(history.relation.table, layer.line): layer for layer in history.layers()}


def changed_keys(before: History, after: History) -> Keys:
    """The keys of all rows that one place sees and the other does not."""
    found = compare(before, after)
    parts = [block.keys.take(np.unique(block.key_of(rows))) for block, rows in (*found.removed, *found.added)]
    return merge_keys(parts) if parts else Keys.from_encoded([], before.relation.key_spec.kind)


def _seen(block: Block) -> NDArray[np.bool_]:
    return np.ones(block.content.rows, np.bool_) if block.visible is None else block.visible


def _rows(block: Block, mask: NDArray[np.bool_]) -> list[Pick]:
    return [(block, np.flatnonzero(mask))] if mask.any() else []


def _pairs(
    before: History | None, old: Layer | None, after: History | None, new: Layer | None
) -> Iterator[tuple[Block | None, Block | None]]:
    """The same blocks as both places see them, without those that look the same to both."""
    if before is None or old is None or after is None or new is None:
        history, layer = (before, old) if old is not None else (after, new)
        assert history is not None
        assert layer is not None
        for block in _blocks(history, layer):
            yield (block, None) if old is not None else (None, block)
        return
    names = _differing_names(old, new)
    low, high = sorted((old.bound, new.bound))
    for entry in new.shelf.entries:
        if _may_differ(entry, new, low, high, names):
            # A block says of single rows whether they are too new; of a whole segment the entry does.
            yield (
                before.segment_block(old, entry) if entry.min_seq <= old.bound else None,
                after.segment_block(new, entry) if entry.min_seq <= new.bound else None,
            )
    if new.shelf.state.tail_rows and (low != high or names):
        yield from zip(before.tail_blocks(old), after.tail_blocks(new), strict=True)


def _blocks(history: History, layer: Layer) -> Iterator[Block]:
    for entry in layer.shelf.entries:
        if entry.min_seq <= layer.bound:
            yield history.segment_block(layer, entry)
    if layer.shelf.state.tail_rows:
        yield from history.tail_blocks(layer)


def _differing_names(old: Layer, new: Layer) -> Names:
    hidden: list[Names] = [set().union(*(shadows.names() for shadows in layer.shadows)) for layer in (old, new)]
    return hidden[0] ^ hidden[1]


def _may_differ(entry: SegmentEntry, layer: Layer, low: int, high: int, names: Names) -> bool:
    if low < entry.max_seq and entry.min_seq <= high and low != high:
        return True
    deletes = layer.shelf.deletes.get(entry.segment)
    if deletes is not None and ((deletes[1] > low) & (deletes[1] <= high)).any():
        return True
    return any(entry.min_key <= key <= entry.max_key and entry.min_seq <= seq <= entry.max_seq for key, _, _, seq in names)

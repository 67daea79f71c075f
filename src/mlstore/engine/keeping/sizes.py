"""Sizes: how many bytes of rows each named version shows, and how many of them no other named version does."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.history.block import Block
from mlstore.engine.history.tail import TailContent
from mlstore.engine.session import ReadContext
from mlstore.engine.versions import line_scope, named, newest

SCHEMA = pa.schema(
    [
        ("version", pa.string()),
        ("kind", pa.string()),
        ("commit", pa.string()),
        ("rows", pa.int64()),
        ("logical_bytes", pa.int64()),
        ("exclusive_bytes", pa.int64()),
    ]
)

_KINDS = {"branch": "branch", "tag": "snapshot"}

Place = tuple[int, int, int]  # table, line, segment (-1: the tail)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A segment or tail as one version sees it: which rows (None: all), and the bytes of one."""

    place: Place
    block: Block
    row_bytes: float

    @property
    def rows(self) -> int:
        return self.block.content.rows

    def mask(self) -> NDArray[np.bool_]:
        seen = self.block.visible
        return np.ones(self.rows, np.bool_) if seen is None else seen


def measure_versions(context: ReadContext) -> pa.Table:
    """The sizes of every branch and snapshot; see Store.version_sizes."""
    refs = [(name, kind, ref) for kind in _KINDS for name, ref in named(context.reader, kind)]
    places = []
    for _, kind, ref in refs:
        scope = line_scope(context.reader, ref.line) if kind == "branch" else line_scope(context.reader, ref.line, ref.seq)
        places.append(context.at(scope))
    watchers: dict[Place, NDArray[np.uint32]] = {}
    for place in places:
        for stretch in _stretches(place):
            seen = watchers.setdefault(stretch.place, np.zeros(stretch.rows, np.uint32))
            seen += stretch.mask()
    told = []
    for (name, kind, _), place in zip(refs, places, strict=True):
        rows, logical, exclusive = 0, 0.0, 0.0
        for stretch in _stretches(place):
            mask = stretch.mask()
            count = int(np.count_nonzero(mask))
            rows += count
            logical += count * stretch.row_bytes
            exclusive += np.count_nonzero(mask & (watchers[stretch.place] == 1)) * stretch.row_bytes
        commit = newest(place.reader, place.scope)
        commit_id = None if commit is None else commit.id
        told.append(dict(zip(SCHEMA.names, (name, _KINDS[kind], commit_id, rows, round(logical), round(exclusive)), strict=True)))
    return pa.Table.from_pylist(told, SCHEMA)


def _stretches(place: ReadContext) -> Iterator[_Stretch]:
    for relation in place.catalog.relations():
        history = place.history(relation)
        for layer in history.layers():
            for entry in layer.shelf.entries:
                if entry.min_seq <= layer.bound:
                    where = relation.table, layer.line, entry.segment
                    yield _Stretch(where, history.segment_block(layer, entry), entry.size_bytes / entry.rows)
            if layer.shelf.state.tail_rows:
                for block in history.tail_blocks(layer):
                    assert isinstance(block.content, TailContent)
                    size = sum(map(len, block.content.packed)) / block.content.rows
                    yield _Stretch((relation.table, layer.line, -1), block, size)

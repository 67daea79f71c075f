"""Pruning: which blocks a filter can be proved to reject, by their zone maps.

The proof is Arrow's own: each block is offered as a fragment that guarantees its ranges. No file is touched by that.
"""

import re
from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mlstore.engine.history.block import Block
from mlstore.schema.layout import Layout


def keep_promising(blocks: Sequence[Block], layout: Layout, where: pc.Expression, schema: pa.Schema) -> list[Block]:
    """The blocks that may hold a row for which the filter is true."""
    if re.search(r"\bnan\b", str(where)):
        return list(blocks)  # a comparison with NaN is false for every value, which Arrow's reasoning about ranges does not know

    import pyarrow.dataset as ds  # brings pandas where that is installed: too much for every import of this package
    from pyarrow.fs import LocalFileSystem

    guarantees = [_guarantee(block, layout, schema) for block in blocks]
    offered = ds.FileSystemDataset.from_paths(
        [str(place) for place in range(len(blocks))],
        schema=schema,
        format=ds.ParquetFileFormat(),
        filesystem=LocalFileSystem(),
        partitions=guarantees,
    )
    try:
        return [blocks[int(fragment.path)] for fragment in offered.get_fragments(where)]
    except pa.ArrowInvalid:
        # Arrow puts a block's only value in the place of the column, where it need not fit: then nothing is proved.
        return list(blocks)


def _guarantee(block: Block, layout: Layout, schema: pa.Schema) -> pc.Expression:
    proved: list[pc.Expression] = []
    if layout.timestamp is not None and layout.timestamp in schema.names and block.content.rows:
        arrow = schema.field(layout.timestamp).type
        proved.append(_between(layout.timestamp, arrow, block.span.first_time, block.span.last_time, has_nulls=False))
    if len(layout.keys) == 1 and block.keys.kind == "int" and pa.types.is_integer(layout.keys[0].dtype.arrow) and len(block.keys):
        key, bias = layout.keys[0], (1 << 63) if layout.keys[0].dtype.spec == "uint64" else 0
        low, high = int(block.keys.ints[0]) + bias, int(block.keys.ints[-1]) + bias
        proved.append(_between(key.name, key.dtype.arrow, low, high, has_nulls=False))
    for number, field in enumerate(layout.features):
        zone = block.zone(number)
        if zone is not None:
            proved.append(_between(field.name, field.dtype.arrow, zone[0], zone[1], has_nulls=zone[2]))
    return reduce(and_, proved, pc.scalar(value=True))


def _between(name: str, arrow: pa.DataType, low: Any, high: Any, *, has_nulls: bool) -> pc.Expression:
    field = pc.field(name)
    inside = (field >= _scalar(low, arrow)) & (field <= _scalar(high, arrow))
    return inside | field.is_null() if has_nulls else inside


def _scalar(value: Any, arrow: pa.DataType) -> pa.Scalar:
    if pa.types.is_timestamp(arrow):
        return pa.scalar(value, pa.int64()).cast(arrow)
    if pa.types.is_date(arrow):
        return pa.scalar(value, pa.int32()).cast(arrow)
    return pa.scalar(value, arrow)

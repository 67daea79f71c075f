"""Nodes: packed nodes of a key's tree of tiles, laid out as `fold_stored` takes tiles and events. docs/format.md tells their bytes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Measure = tuple[int, int, Int64, NDArray[np.uint8]]

def lay_nodes(packed: Sequence[bytes], asked: Sequence[tuple[int, int]], widths: Int64) -> tuple[Int64, Int64, Int64, Int64, list[Measure]]:
    """Tiles and events of nodes of one key: tile offsets [levels, 2], starts [tiles], records [tiles, words], times [events], measures.

    packed: in any order, none twice. asked: (kind, mask) of each column. The tiles that lie in the stretches of leaves are built.
    ValueError: a node is not of this form.
    """

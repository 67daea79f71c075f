"""Growing: new events put into packed nodes of the trees of tiles of many keys. docs/format.md tells what trees and nodes are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Measure = tuple[int, int, Int64, NDArray[np.uint8]]
Group = tuple[Int64, Int64, Sequence[bytes | None]]

def group_events(offsets: Int64, time: Int64, width: int) -> tuple[Int64, Int64, Int64]:
    """Events of one key in one stretch are a group: where each begins, and the end [groups + 1]; first ticks; keys [groups].

    Events ascend within a key. A stretch that begins before the least tick starts there.
    """

def grow_trees(
    measures: Sequence[Measure], time: Int64, created: Int64, widths: Int64, leaf: int, groups: Sequence[Group]
) -> list[tuple[int, int, int, bytes]]:
    """The nodes that change when events are added: the number of the root's group, level, first tick, bytes; children before parents.

    All events were written after those that the trees hold, and ascend by (time, created) within a key. widths: finest first, the root's
    behind them. leaf: how many events a leaf above the finest level holds at most. groups: for each level and the root the firsts and the
    starts of `group_events`, and the packed node of each, None where there is none; below a leaf there is none. Each column must tell of
    each event whether it counts. ValueError: a node is not of this form.
    """

"""Growing: new events put into packed nodes of the trees of tiles of many keys; docs/format.md tells their bytes and names."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Measure = tuple[int, int, Int64, NDArray[np.uint8]]

class Growth:
    """Events on their way into trees: `wanted` and `take` until nothing is missing, or neither where there are no trees; then `nodes`.

    Each key has events, which ascend by (time, created), all written after those that its tree holds. Each column must tell of each event
    whether it counts. widths: finest first, the root's behind them. leaf: how many events a leaf above the finest level holds at most.
    heads: what the names of a key's nodes begin with. ValueError: what was taken is no node of its place.
    """

    def __init__(
        self,
        measures: Sequence[Measure],
        offsets: Int64,
        time: Int64,
        created: Int64,
        widths: Int64,
        leaf: int,
        heads: list[bytes],
    ) -> None: ...
    def wanted(self) -> list[bytes]:
        """The names of the nodes that are needed next; none: nothing is missing."""
    def take(self, values: Sequence[bytes | None]) -> None:
        """The nodes of these names; None: there is none."""
    def nodes(self) -> list[tuple[bytes, bytes]]:
        """The nodes that change, by name, children before parents."""

"""Walks: what windows hold of the events of keys at one moment, from few nodes of their trees of tiles, in the canonical order.

docs/format.md tells the bytes of nodes and of their names.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlstore._core.finishes import Finisher
from mlstore._core.spans import Spans

Int64 = NDArray[np.int64]

class Trees:
    """What trees keep, and the windows asked of them; threads may share it.

    asked: (kind, mask) of each column. widths: of the levels, finest first, the root last. wanted: [windows, columns], 0: left out.
    place: whose trees these are, for errors.
    """

    def __init__(self, asked: Sequence[tuple[int, int]], widths: Int64, spans: Spans, wanted: NDArray[np.uint8], place: str) -> None: ...
    def walk(self, heads: list[bytes | None], moment: int) -> Walk:
        """A walk for keys, each as the bytes that its nodes' names begin with; None: a key without events.

        A moment beyond the clock is its last tick, or the one behind the least, which is no moment.
        """

class Walk:
    """A walk under way: first `ranges`, then `wanted` until nothing is.

    CorruptionError: what was given is no node, or not the one that was asked for.
    """

    def ranges(self) -> list[tuple[bytes, bytes]]:
        """Where roots lie that are to be read one after the other, [first name, behind the last) of each key; none: they are wanted."""
    def take_ranges(self, found: list[list[bytes]]) -> None:
        """The nodes of each range, in order."""
    def wanted(self) -> list[bytes]:
        """The names of the nodes that are needed next; none: the walk is over."""
    def take(self, values: list[bytes | None]) -> None:
        """The nodes of these names. A root that is None holds no events; no other may be."""
    def states(self) -> Int64:
        """The states [keys, windows, words] of what the windows hold; words that no window wants are anything."""
    def finish(self, finisher: Finisher, answer: dict[str, object]) -> None:
        """Put the outputs of the only key into the answer, but for those that are null."""

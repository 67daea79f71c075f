"""Spans: first and last tick of each of some windows at a moment."""

from collections.abc import Sequence

KINDS: dict[str, int]

class Spans:
    """Windows, each (kind, length, hop, shift) in ticks. length: 0 is as long as there are events; shift: taken off the moment.

    sliding: [moment - length + 1, moment]; tumbling: from the last multiple of length on; hopping: the last multiple of hop stands for the
    moment.
    """

    count: int
    def __init__(self, windows: Sequence[tuple[int, int, int, int]]) -> None: ...
    def at(self, moment: int) -> list[tuple[int, int]]:
        """(first, last) of each window, not before the least tick; at the least tick, which is no moment, (greatest, least)."""

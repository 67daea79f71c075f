"""Finishes: the states of one key, finished into the values of outputs. What a state holds: see tiles."""

from collections.abc import Callable, Sequence
from typing import Any

FUNCTIONS: dict[str, int]

class Finisher:
    """Outputs, each (name, function, kind, window, place, at, seconds, converter).

    kind: of the column. place: the first word of the column's state in a record. at: in the state, the word of what the function reads:
    the sum, the least or greatest, or the mean before m2, with m3 and m4 behind it. seconds: how long the window is, for rates. converter:
    what makes a value of a least or greatest word that is no number; or None. An integer sum beyond 64 bits is an OverflowError of the
    place of its output.
    """

    def __init__(self, outputs: Sequence[tuple[str, int, int, int, int, int, float, Callable[[int], Any] | None]]) -> None: ...

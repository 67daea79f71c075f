"""Row layouts: where each feature of a schema revision lies in a row, and whether bytes are such a row."""

from collections.abc import Callable
from typing import Any

CURE: str
"""The hint of a CorruptionError."""

class RowLayout:
    """The compiled layout of one schema revision."""

    def __init__(
        self,
        revision: int,
        kinds: list[int],
        widths: list[int],
        readings: list[int],
        converters: tuple[Callable[[bytes], Any] | None, ...],
    ) -> None:
        """Kinds: 0 fixed, 1 bool, 2 variable. A feature that reads as "call" is given to its converter as bytes."""

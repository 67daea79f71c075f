"""Answers: the wanted features of one row, put into a dict under their output names."""

from typing import Any

from mlstore._core.row_layout import RowLayout

OTHER_REVISION: int
"""What `fill` returns for a row of another revision, of which nothing was taken."""

class Answerer:
    """Which features of a row go where in an answer."""

    def __init__(self, compiled: RowLayout, wanted: tuple[int, ...], outputs: tuple[str, ...]) -> None: ...
    def fill(self, row: bytes, oldest: int, answer: dict[str, Any]) -> int:
        """Put the features that are not null into the answer; 0: some were, 1: all are null, 3: the row is older than `oldest`.

        What does not add up is a CorruptionError; a string that is not UTF-8 a UnicodeDecodeError.
        """

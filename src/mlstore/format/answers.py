"""Answers: the wanted features of one stored row, of whatever revision, in the dict that a user gets; pure."""

from typing import Any, Final

from mlstore._core.answers import OTHER_REVISION, Answerer
from mlstore._core.row_layout import CURE
from mlstore.errors import CorruptionError
from mlstore.format.rows import RowReader, peek

PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_TTL = "PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_TTL"
STATUSES: Final = (PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_TTL)  # in the order of the codes that `fill` gives
IS_PRESENT, IS_NULL, IS_NOT_FOUND, IS_OUTSIDE_TTL = range(4)


class AnswerPlan:
    """Which features of a view's rows go where in an answer."""

    __slots__ = ("_outputs", "_reader", "_take", "_wanted")

    def __init__(self, reader: RowReader, wanted: tuple[int, ...], outputs: tuple[str, ...]) -> None:
        self._reader = reader
        self._wanted = wanted
        self._outputs = outputs
        self._take = Answerer(reader.target.layout, wanted, outputs).fill

    def fill(self, row: bytes, oldest: int, answer: dict[str, Any]) -> int:
        """Put the features that are not null into the answer, unless the row is older than `oldest`; the code of its status."""
        try:
            outcome = self._take(row, oldest, answer)
        except UnicodeDecodeError as error:
            raise CorruptionError(f"stored row: a string is not UTF-8: {error}", hint=CURE) from error
        return outcome if outcome != OTHER_REVISION else self._fill_from_older(row, oldest, answer)

    def _fill_from_older(self, row: bytes, oldest: int, answer: dict[str, Any]) -> int:
        if peek(row)[1] < oldest:
            return IS_OUTSIDE_TTL
        values = self._reader.decode_one(row, self._wanted)
        answer.update(zip(self._outputs, values, strict=True))
        return IS_NULL if all(value is None for value in values) else IS_PRESENT

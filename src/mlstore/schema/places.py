"""Where a value stands in what the user gave: for messages that name the column and the row. Rows count from 0."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass


def _itself(position: int) -> int:
    return position


@dataclass(frozen=True, slots=True)
class Place:
    """A column's name, and how a position in the array at hand becomes a row of the data."""

    name: str
    row_of: Callable[[int], int] = _itself

    def at(self, position: int) -> str:
        return f"{self.name}, row {self.row_of(position)}"

    def after(self, rows: int) -> Place:
        """The place of an array that starts so many rows further down."""
        return Place(self.name, lambda position: self.row_of(position + rows)) if rows else self

    def part(self, name: str) -> Place:
        """The place of a struct's field."""
        return Place(f"{self.name}.{name}", self.row_of)

    def inside(self, name: str, starts: Sequence[int]) -> Place:
        """The place of the values inside lists, the list at position i holding those from `starts[i]` on."""
        return Place(f"{self.name}{name}", lambda position: self.row_of(bisect_right(starts, position) - 1))

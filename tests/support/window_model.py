"""Windows worked out by loops over plain rows: slow, and meant to be checked by reading. Times are integer microseconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.support.model import Key, Row

SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One output: a function of a column over a window. length: in microseconds; 0: lifetime; rows: the last so many."""

    name: str
    function: str
    column: str
    length: int = 0
    rows: int = 0
    where: Callable[[Row], bool] = lambda row: True


def answer(asked: Asked, rows: Sequence[Row], key: Key, moment: int | None, *, strict: bool = False, known: int | None = None) -> object:
    """The output for a key of an entity, whose parts begin the keys of the rows, at a moment (None: null)."""
    if moment is None or None in key:
        held: list[Row] = []
    else:
        last = moment - 1 if strict else moment
        held = sorted((row for row in rows if row.key[: len(key)] == key and row.event_time <= last), key=lambda row: row.rank)
        if known is not None:
            held = [row for row in held if row.created is not None and row.created <= known]
        held = [row for row in held if asked.where(row)]
        if asked.length:
            held = [row for row in held if row.event_time > last - asked.length]
        if asked.rows:
            held = held[-asked.rows :]
    values = [row.values[asked.column] for row in held if row.values[asked.column] is not None]
    return FUNCTIONS[asked.function](values)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _std(values: list[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _extreme(values: list[float], choose: Callable[[list[float]], float]) -> float | None:
    if any(math.isnan(value) for value in values):
        return math.nan
    return choose(values) if values else None


FUNCTIONS: dict[str, Callable[[list], object]] = {
    "count": len,
    "sum": lambda values: (sum(values) if isinstance(values[0], int) else math.fsum(values)) if values else None,
    "min": lambda values: _extreme(values, min),
    "max": lambda values: _extreme(values, max),
    "mean": _mean,
    "std": _std,
    "first": lambda values: values[0] if values else None,
    "last": lambda values: values[-1] if values else None,
    "distinct": lambda values: len(set(values)),
}
ADDED = ("sum", "mean", "std")


def agrees(asked: Asked, found: object, expected: object, *, scale: float) -> bool:
    """Whether an answer is the model's: floats that were added up, of up to about `scale`, but for rounding; everything else exactly."""
    if isinstance(expected, float) and isinstance(found, float):
        if math.isnan(expected):
            return math.isnan(found)
        return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9 * scale) if asked.function in ADDED else found == expected
    return found == expected and type(found) is type(expected)

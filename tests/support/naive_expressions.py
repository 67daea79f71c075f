"""Expressions by a loop over rows in plain Python: what `schema/operations.py` must agree with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from mlstore.schema.expression import Expression

INT64 = range(-(2**63), 2**63)


def evaluate_row(expression: Expression, row: Mapping[str, Any]) -> Any:
    """The value of one row; columns hold int64, float64 or bool."""
    if expression.op == "column":
        return row[expression.value]
    if expression.op == "literal":
        return expression.value
    inputs = [evaluate_row(part, row) for part in expression.inputs]
    match expression.op:
        case "is_null":
            return inputs[0] is None
        case "coalesce":
            return next((value for value in inputs if value is not None), None)
        case "and":
            return False if False in inputs else None if None in inputs else True
        case "or":
            return True if True in inputs else None if None in inputs else False
        case "where":
            return None if inputs[0] is None else inputs[1] if inputs[0] else inputs[2]
    if None in inputs:
        return None
    if expression.op in ("divide", "sqrt") or any(isinstance(value, float) for value in inputs):
        inputs = [float(value) for value in inputs]
    result = _WORK[expression.op](*inputs)
    return None if isinstance(result, int) and result not in INT64 else result


def _divide(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _floor_divide(a: int, b: int) -> int | None:
    return a // b if b else None


def _remainder(a: int, b: int) -> int | None:
    return a % b if b else None


def _times(a: Any, b: Any) -> Any:
    return a * b


_WORK: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": _times,
    "divide": _divide,
    "floor_divide": _floor_divide,
    "remainder": _remainder,
    "negate": lambda a: -a,
    "abs": abs,
    "sqrt": lambda a: math.sqrt(a) if a >= 0 else math.nan,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "not": lambda a: not a,
}

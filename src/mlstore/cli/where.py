"""The filter of `read --where`: `column op literal [and ...]`, and nothing more. It is parsed, never evaluated as code.

condition  = comparison { "and" comparison }
comparison = column ( "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" ) literal  |  column "is" ["not"] "null"
column     = a name, or any text in `backquotes`
literal    = number | 'text' | "text" | true | false          a text is taken as the type of its column: times, dates
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import mlstore as ml
from mlstore.cli.texts import parse_value

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<op>==|=|!=|<=|>=|<|>)
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.:-])
    | (?P<quoted>`[^`]+`)
    | (?P<word>[^\W\d][\w.]*)
    )""",
    re.VERBOSE,
)
_OPERATORS = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_HINT = "write: column op literal [and ...], for instance temp > 3.5 and origin = 'JFK' and wind is not null"

Token = tuple[str, str, int]


def parse_where(text: str, types: Mapping[str, pa.DataType]) -> pc.Expression:
    """The filter as an Arrow expression over columns of these types."""
    tokens = _tokenize(text)
    condition = None
    while True:
        comparison = _take_comparison(tokens, text, types)
        condition = comparison if condition is None else condition & comparison
        kind, word, place = tokens.pop(0)
        if kind == "end":
            return condition
        if word.lower() != "and":
            raise _refuse(text, place, f"expected 'and', got {word!r}")


def _tokenize(text: str) -> list[Token]:
    tokens, place = [], 0
    stripped = text.rstrip()
    while place < len(stripped):
        match = _TOKEN.match(stripped, place)
        if match is None or match.lastgroup is None:
            raise _refuse(text, place, f"cannot read {stripped[place:].split()[0]!r}")
        tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        place = match.end()
    tokens.append(("end", "the end", len(stripped)))
    return tokens


def _take_comparison(tokens: list[Token], text: str, types: Mapping[str, pa.DataType]) -> pc.Expression:
    kind, word, place = tokens.pop(0)
    if kind not in ("word", "quoted"):
        raise _refuse(text, place, f"expected a column, got {word!r}")
    name = word.strip("`")
    if name not in types:
        close = get_close_matches(name, types, n=1)
        raise ml.UnknownNameError(
            f"--where: no column {name!r}", hint=f"did you mean {close[0]!r}?" if close else f"there is {', '.join(types)}"
        )
    kind, word, place = tokens.pop(0)
    if word.lower() == "is":
        return _take_null_test(tokens, text, name)
    if kind != "op":
        raise _refuse(text, place, f"expected =, !=, <, <=, >, >= or 'is' after {name}, got {word!r}")
    return _OPERATORS[word](pc.field(name), _take_literal(tokens, text, name, types[name]))


def _take_null_test(tokens: list[Token], text: str, name: str) -> pc.Expression:
    _, word, place = tokens.pop(0)
    is_negated = word.lower() == "not"
    if is_negated:
        _, word, place = tokens.pop(0)
    if word.lower() != "null":
        raise _refuse(text, place, f"expected null, got {word!r}")
    is_null = pc.field(name).is_null()
    return ~is_null if is_negated else is_null


def _take_literal(tokens: list[Token], text: str, name: str, dtype: pa.DataType) -> pa.Scalar:
    kind, word, place = tokens.pop(0)
    if kind == "text":
        return _text_literal(word[1:-1].replace(word[0] * 2, word[0]), name, dtype)
    if kind == "number":
        return _number_literal(word, name, dtype)
    if kind == "word" and word.lower() in ("true", "false"):
        if not pa.types.is_boolean(dtype):
            raise ml.InvalidDataError(f"--where: {name} is {dtype}, compared with {word}", hint=_HINT)
        return pa.scalar(word.lower() == "true")
    if kind == "word" and word.lower() == "null":
        raise _refuse(text, place, "nothing equals null", hint=f"write: {name} is null, or: {name} is not null")
    if kind == "word":
        raise _refuse(text, place, f"expected a literal, got {word!r}", hint=f"put texts in quotes: {name} = '{word}'")
    raise _refuse(text, place, f"expected a literal, got {word!r}")


def _text_literal(literal: str, name: str, dtype: pa.DataType) -> pa.Scalar:
    if pa.types.is_nested(dtype):
        raise ml.UsageError(f"--where: {name} is {dtype}, which has no order", hint="compare columns of plain values")
    return pa.scalar(parse_value(literal, dtype, what=f"--where: {name}"), dtype)


def _number_literal(word: str, name: str, dtype: pa.DataType) -> pa.Scalar:
    if pa.types.is_decimal(dtype):
        return pa.scalar(Decimal(word))
    if not (pa.types.is_integer(dtype) or pa.types.is_floating(dtype)):
        raise ml.InvalidDataError(f"--where: {name} is {dtype}, compared with the number {word}", hint=f"put it in quotes: '{word}'")
    number: Any = int(word) if re.fullmatch(r"[+-]?\d+", word) else float(word)
    if pa.types.is_floating(dtype):
        return pa.scalar(float(number), pa.float64())
    try:
        return pa.scalar(number)
    except OverflowError as error:
        raise ml.InvalidDataError(f"--where: {word} is beyond 64 bits", hint=f"{name} is {dtype}") from error


def _refuse(text: str, place: int, reason: str, *, hint: str = _HINT) -> ml.UsageError:
    return ml.UsageError(f"--where {text!r}: {reason} at position {place + 1}", hint=hint)

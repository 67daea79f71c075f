"""Lengths of time as text ("6h", "1h30m") and as whole nanoseconds."""

from __future__ import annotations

import re
from datetime import timedelta

from mlstore.errors import DefinitionError

SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS
MAX_NS = 2**63 - 1

_UNITS = {"w": 7 * DAY_NS, "d": DAY_NS, "h": 3_600 * SECOND_NS, "m": 60 * SECOND_NS, "s": SECOND_NS, "ms": 10**6, "us": 10**3, "ns": 1}
_PART = r"([0-9]+)\s*(ms|us|ns|[wdhms])\s*"
_WHOLE = re.compile(rf"\s*(?:{_PART})+")
_HINT = "write a number and a unit (w, d, h, m, s, ms, us, ns), such as '6h', '90s' or '1h30m', or give a timedelta"


def parse_duration(value: str | timedelta, *, what: str = "duration", allow_zero: bool = False) -> int:
    """A duration in nanoseconds. Bare numbers are refused: their unit would be a guess."""
    length = _length_ns(value)
    if length is None:
        raise DefinitionError(f"{what}: {value!r} is not a duration", hint=_HINT)
    if length < 0 or (length == 0 and not allow_zero):
        raise DefinitionError(f"{what}: {value!r} is not a positive duration", hint=_HINT)
    if length > MAX_NS:
        raise DefinitionError(f"{what}: {value!r} is longer than 292 years", hint="leave it out for no limit")
    return length


def format_duration(length_ns: int) -> str:
    """The canonical text of a duration: `parse_duration` undoes it. Weeks become days."""
    text, rest = "", length_ns
    for unit, unit_ns in _UNITS.items():
        count, rest = (0, rest) if unit == "w" else divmod(rest, unit_ns)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _length_ns(value: object) -> int | None:
    if isinstance(value, timedelta):
        # A pandas Timedelta is a timedelta that counts nanoseconds too.
        whole = (value.days * 86_400 + value.seconds) * SECOND_NS + value.microseconds * 1_000
        return whole + int(getattr(value, "nanoseconds", 0))
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return sum(int(count) * _UNITS[unit] for count, unit in re.findall(_PART, value))
    return None

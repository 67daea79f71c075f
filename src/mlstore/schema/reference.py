"""References: how features are named, in text or by `ref`: which view, which feature, and how it is to be looked up.

As text: "weather", "weather:temp", "weather@2:temp", and, behind a question mark, how: "weather?key.origin=dest&prefix=dest_&offset=1d".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import parse_qsl, quote

from mlstore.errors import DefinitionError, UsageError
from mlstore.schema.durations import format_duration, parse_duration
from mlstore.schema.view import FeatureView
from mlstore.schema.window_view import WindowView

_REFERENCE = re.compile(r"([A-Za-z_][A-Za-z0-9_-]{0,99})(?:@([1-9][0-9]{0,8}))?(?::([A-Za-z_][A-Za-z0-9_-]{0,99}))?(?:\?(.*))?", re.DOTALL)
_PREFIX = re.compile(r"[A-Za-z0-9_-]{0,99}")
_KEY = "key."


@dataclass(frozen=True, slots=True)
class Reference:
    """A view, one version of it (None: the newest), one feature of it (None: all), and how to look it up.

    keys: (key of the view, column that holds it) where their names differ. prefix: of the output names. offset_ns: how long before the
    time asked for. ttl_ns: instead of the view's ttl.
    """

    view: str
    version: int | None = None
    feature: str | None = None
    keys: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    offset_ns: int = 0
    ttl_ns: int | None = None

    def __str__(self) -> str:
        version = "" if self.version is None else f"@{self.version}"
        options = [f"{_KEY}{quote(key)}={quote(column)}" for key, column in self.keys]
        if self.prefix:
            options.append(f"prefix={self.prefix}")
        if self.offset_ns:
            options.append(f"offset={format_duration(self.offset_ns)}")
        if self.ttl_ns is not None:
            options.append(f"ttl={format_duration(self.ttl_ns)}")
        feature = "" if self.feature is None else f":{self.feature}"
        return f"{self.view}{version}{feature}" + ("?" + "&".join(options) if options else "")


def ref(
    feature: str | FeatureView | WindowView,
    *,
    keys: Mapping[str, str] | None = None,
    prefix: str = "",
    offset: str | timedelta | None = None,
    ttl: str | timedelta | None = None,
) -> Reference:
    """A feature, or all features of a view, looked up in another way than by default.

    Parameters
    ----------
    feature
        "view", "view:feature", "view@2:feature", a `FeatureView` or a `WindowView`.
    keys
        Which column holds a key of the view, where the column is called otherwise: `{"origin": "dest"}`.
    prefix
        Put before the output names, so that one view can be asked for twice.
    offset
        The value as of so long before each label's time: "1d", a timedelta. What was known is still bounded by `known_at`.
    ttl
        How old a value may be, instead of the view's own ttl.

    Raises
    ------
    UsageError
        The text names no feature, or an option makes no sense.

    Examples
    --------
    >>> str(ml.ref("weather:temp", keys={"origin": "dest"}, prefix="dest_", offset="1d"))
    'weather:temp?key.origin=dest&prefix=dest_&offset=1d'
    """
    named = parse_reference(feature.name if isinstance(feature, FeatureView | WindowView) else feature)
    if keys is not None and not (isinstance(keys, Mapping) and all(isinstance(name, str) for pair in keys.items() for name in pair)):
        raise UsageError(f"ref({str(named)!r}): keys={keys!r:.80}", hint='map keys of the view to columns: keys={"origin": "dest"}')
    _check_prefix(prefix, str(named))
    return replace(
        named,
        keys=named.keys if keys is None else tuple(sorted(keys.items())),
        prefix=prefix or named.prefix,
        offset_ns=named.offset_ns if offset is None else _duration(offset, "offset", str(named)),
        ttl_ns=named.ttl_ns if ttl is None else _duration(ttl, "ttl", str(named)),
    )


def parse_reference(text: str) -> Reference:
    """What a reference names; UsageError if it is not one."""
    match = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UsageError(f"{text!r:.120} does not name a view or feature", hint="write 'view', 'view:feature' or 'view@2:feature'")
    view, version, feature, options = match.groups()
    named = Reference(view, None if version is None else int(version), feature)
    return named if options is None else _with_options(named, options, text)


def _with_options(named: Reference, options: str, text: str) -> Reference:
    try:
        pairs = parse_qsl(options, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        pairs = [(options, "")]
    if len(dict(pairs)) < len(pairs):
        raise UsageError(f"{text!r:.120} gives an option twice", hint="give it once")
    keys: dict[str, str] = {}
    for name, value in pairs:
        match name:
            case "prefix":
                _check_prefix(value, text)
                named = replace(named, prefix=value)
            case "offset":
                named = replace(named, offset_ns=_duration(value, "offset", text))
            case "ttl":
                named = replace(named, ttl_ns=_duration(value, "ttl", text))
            case _ if name.startswith(_KEY) and len(name) > len(_KEY) and value:
                keys[name.removeprefix(_KEY)] = value
            case _:
                raise UsageError(f"{text!r:.120}: no option {name!r}", hint="the options are key.NAME=COLUMN, prefix=, offset= and ttl=")
    return replace(named, keys=tuple(sorted(keys.items())))


def _check_prefix(prefix: str, place: str) -> None:
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise UsageError(f"{place!r:.120}: prefix={prefix!r:.80}", hint="at most 99 letters, digits, _ and -")


def _duration(value: str | timedelta, option: str, place: str) -> int:
    try:
        return parse_duration(value, what=f"{place}: {option}")
    except DefinitionError as cause:
        raise UsageError(cause.message, hint=cause.hint) from cause

"""References: how a feature, or all features of a view, are named in text: "weather", "weather:temp", "weather@2:temp"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlstore.errors import UsageError

_REFERENCE = re.compile(r"([A-Za-z_][A-Za-z0-9_-]{0,99})(?:@([1-9][0-9]{0,8}))?(?::([A-Za-z_][A-Za-z0-9_-]{0,99}))?")


@dataclass(frozen=True, slots=True)
class Reference:
    """A view, one version of it (None: the newest), and one feature of it (None: all)."""

    view: str
    version: int | None = None
    feature: str | None = None

    def __str__(self) -> str:
        version = "" if self.version is None else f"@{self.version}"
        return f"{self.view}{version}" + ("" if self.feature is None else f":{self.feature}")


def parse_reference(text: str) -> Reference:
    """What a reference names; UsageError if it is not one."""
    match = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UsageError(f"{text!r:.120} does not name a view or feature", hint="write 'view', 'view:feature' or 'view@2:feature'")
    view, version, feature = match.groups()
    return Reference(view, None if version is None else int(version), feature)

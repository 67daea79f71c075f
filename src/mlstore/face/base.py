"""What every part of the face stands on: the session of the handle, and small checks of what callers say."""

import getpass
import os
from functools import lru_cache

from mlstore.engine.session import Session
from mlstore.errors import UsageError


class Face:
    """A part of the face of a store."""

    def __init__(self, session: Session) -> None:
        self._session = session


def user() -> str:
    """Who runs this process; "" where nobody has that number, as in a bare container."""
    return _name_of(os.getuid() if hasattr(os, "getuid") else 0)


@lru_cache
def _name_of(_number: int) -> str:
    # Asking opens files of the system, so it is done once.
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise UsageError(f"{name}={value!r}", hint=f"choose {' or '.join(map(repr, choices))}")

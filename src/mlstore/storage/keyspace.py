"""Keyspaces: the named databases of a file, declared by the rooms that own them.

A keyspace is only a name; the handle behind it belongs to the open file. Invariant: every name that may ever be written
is declared when its room is imported, so that a file can be made complete before its first transaction.
"""

import re
from dataclasses import dataclass

from mlstore.errors import DefinitionError, InvalidDataError

MAX_KEYSPACES = 256
MAX_KEY_BYTES = 511

_declared: dict[str, "Keyspace"] = {}


@dataclass(frozen=True, slots=True)
class Keyspace:
    """One sorted map from bytes to bytes."""

    name: str


def declare(name: str) -> Keyspace:
    """The keyspace of this name; every file will have it. Declaring a name again gives the same keyspace."""
    if not re.fullmatch(r"[a-z][a-z0-9_.]{0,62}", name):
        raise DefinitionError(f"keyspace {name!r}: not a name", hint="use lower-case letters, digits, _ and .")
    if name not in _declared and len(_declared) >= MAX_KEYSPACES:
        raise DefinitionError(f"keyspace {name!r}: there are {MAX_KEYSPACES} already", hint="let the room share one with prefixes")
    return _declared.setdefault(name, Keyspace(name))


def declared() -> tuple[Keyspace, ...]:
    """All keyspaces declared so far, in order of declaration."""
    return tuple(_declared.values())


def declared_count() -> int:
    """How many keyspaces are declared so far; it only grows."""
    return len(_declared)


def require_key(key: bytes, space: Keyspace) -> None:
    """Refuse a key that LMDB cannot hold."""
    if not 0 < len(key) <= MAX_KEY_BYTES:
        raise InvalidDataError(f"{space.name}: a key of {len(key)} bytes", hint=f"keys have 1 to {MAX_KEY_BYTES} bytes")


def prefix_end(prefix: bytes) -> bytes | None:
    """The first key after all keys that start with the prefix; None if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


META = declare("meta")

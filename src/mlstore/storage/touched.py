"""Which keys a transaction may have changed: exact for few, whole keyspaces for many."""

from collections.abc import Sequence
from typing import Final

_MAX_KEYS: Final = 1 << 16
_MANY_AT_ONCE: Final = 256  # small records come so; what is viewed is put one by one


class TouchedKeys:
    """The keys put or deleted so far, by keyspace. May say yes for a key that was not; never no for one that was."""

    __slots__ = ("_keys", "_whole")

    def __init__(self) -> None:
        self._keys: dict[str, set[bytes]] = {}
        self._whole: set[str] = set()

    def add(self, space: str, key: bytes) -> None:
        """One key."""
        keys = self._keys.get(space)
        if keys is None:
            if space in self._whole:
                return
            keys = self._keys[space] = set()
        keys.add(key)
        if len(keys) > _MAX_KEYS:
            self.add_all(space)

    def add_many(self, space: str, keys: Sequence[bytes]) -> None:
        """Several keys."""
        if space in self._whole:
            return
        if len(keys) > _MANY_AT_ONCE:
            self.add_all(space)
            return
        known = self._keys.setdefault(space, set())
        known.update(keys)
        if len(known) > _MAX_KEYS:
            self.add_all(space)

    def add_all(self, space: str) -> None:
        """Any key of the keyspace."""
        self._whole.add(space)
        self._keys.pop(space, None)

    def may_have(self, space: str, key: bytes) -> bool:
        """True if the key may have been changed."""
        return space in self._whole or key in self._keys.get(space, ())

    def knows(self, space: str) -> bool:
        """True if any key of the keyspace was added."""
        return space in self._whole or space in self._keys

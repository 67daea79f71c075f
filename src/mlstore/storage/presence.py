"""Who has a file open, told by a lock on one byte of it: each process that maps the file shares the byte.

Whoever holds it alone may put another file in its place: nobody else looks at this one, and who comes meanwhile waits, and
then opens what the name stands for by then. A forked child lets go and comes back by itself.
"""

import os
from typing import Final

from mlstore.storage.lockbyte import LockKind, lock_byte, locks_are_supported, wait_for_byte

_PRESENCE_BYTE: Final = (1 << 62) - 2


class Presence:
    """This process's share of one file; ends with the last reference to it."""

    def __init__(self, path: str, *, can_write: bool) -> None:
        self._fd = -1
        while locks_are_supported():
            self._fd = os.open(path, (os.O_RDWR if can_write else os.O_RDONLY) | os.O_CLOEXEC)
            try:
                wait_for_byte(self._fd, LockKind.SHARED, _PRESENCE_BYTE)
            except OSError:
                # A file system without such locks: nobody will ever be sure to be alone.
                self.leave()
                return
            if self.is_of(path):
                return
            # Replaced while this process waited.
            self.leave()

    @property
    def is_supported(self) -> bool:
        """Whether it can be told who else has the file open."""
        return self._fd >= 0

    def is_of(self, path: str) -> bool:
        """True if the path still names this file."""
        return os.path.exists(path) and os.path.samestat(os.fstat(self._fd), os.stat(path))

    def claim(self) -> bool:
        """Hold the file alone until `share` or `leave`; False if another process has it open."""
        return self.is_supported and lock_byte(self._fd, LockKind.EXCLUSIVE, _PRESENCE_BYTE)

    def share(self) -> None:
        """Let others come again."""
        if self.is_supported:
            lock_byte(self._fd, LockKind.SHARED, _PRESENCE_BYTE)

    def leave(self) -> None:
        """Let go: the file was replaced, or it is the parent's, whose locks must end with it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self.leave()

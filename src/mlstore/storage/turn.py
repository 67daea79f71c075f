"""Whose turn it is to write, told by a lock on one byte of the data file beside LMDB's own lock.

LMDB cannot say whether somebody is writing: who asks, waits. This byte can, so a file is opened without waiting for the
writer of another process; and waiting for a turn can be interrupted. Where there are no such locks, LMDB's alone decides.
"""

import os
from contextlib import suppress
from typing import Final

from mlstore.storage.lockbyte import LockKind, lock_byte, locks_are_supported, wait_for_byte

_TURN_BYTE: Final = (1 << 62) - 1


class Turn:
    """The turn to write one file, for this process; threads of the process sort it out among themselves first."""

    def __init__(self, path: str, *, can_write: bool) -> None:
        self._fd = os.open(path, (os.O_RDWR if can_write else os.O_RDONLY) | os.O_CLOEXEC) if locks_are_supported() else -1

    def take(self) -> None:
        """Wait until nobody else writes, and keep it so until `give_back`."""
        if self._fd < 0:
            return
        try:
            wait_for_byte(self._fd, LockKind.EXCLUSIVE, _TURN_BYTE)
        except OSError:
            # A file system without such locks: LMDB's mutex is enough to be safe.
            return

    def hold_off(self) -> bool:
        """Keep writers waiting until `give_back`; False if one is at work. Several may hold off at once."""
        if self._fd < 0:
            return True
        try:
            return lock_byte(self._fd, LockKind.SHARED, _TURN_BYTE)
        except OSError:
            return True

    def give_back(self) -> None:
        """Let others write."""
        if self._fd >= 0:
            with suppress(OSError):  # a file system without such locks: none was taken
                lock_byte(self._fd, LockKind.NONE, _TURN_BYTE)

    def leave_to_parent(self) -> None:
        """In the child of a fork: the lock is the parent's, and must end with it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)

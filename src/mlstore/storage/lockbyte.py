"""Locks of single bytes of a file that belong to an open file description (Linux: F_OFD_SETLK), not to a process.

Only `wait_for_byte` ever waits.
"""

import enum
import errno
import struct
import sys

_FLOCK = struct.Struct("hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid; l_pid must be 0 for these locks


class LockKind(enum.Enum):
    """What to hold on a byte."""

    NONE = enum.auto()
    SHARED = enum.auto()
    EXCLUSIVE = enum.auto()


if sys.platform == "linux":
    import fcntl

    _TYPES = {LockKind.NONE: fcntl.F_UNLCK, LockKind.SHARED: fcntl.F_RDLCK, LockKind.EXCLUSIVE: fcntl.F_WRLCK}

    def locks_are_supported() -> bool:
        """True if the platform has locks of open file descriptions."""
        return hasattr(fcntl, "F_OFD_SETLK") and struct.calcsize("P") == 8

    def lock_byte(fd: int, kind: LockKind, offset: int) -> bool:
        """Hold this on the byte, instead of what was held before; False if somebody else's lock is in the way."""
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(_TYPES[kind], 0, offset, 1, 0))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def wait_for_byte(fd: int, kind: LockKind, offset: int) -> None:
        """Hold this on the byte as soon as nobody else's lock is in the way; signals are served meanwhile."""
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _FLOCK.pack(_TYPES[kind], 0, offset, 1, 0))

else:

    def locks_are_supported() -> bool:
        """True if the platform has locks of open file descriptions."""
        return False

    def lock_byte(fd: int, kind: LockKind, offset: int) -> bool:
        """Hold this on the byte, instead of what was held before; False if somebody else's lock is in the way."""
        return False

    def wait_for_byte(fd: int, kind: LockKind, offset: int) -> None:
        """Hold this on the byte as soon as nobody else's lock is in the way; signals are served meanwhile."""

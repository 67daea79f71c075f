"""Where a file lies: network file systems, folders, names of one file.

LMDB trusts shared memory and locks between processes, which a network file system does not give: writing there corrupts.
Deciding is pure; only `mount_table` reads the system.
"""

import os
import re
import stat
import tempfile
from dataclasses import dataclass
from typing import Final

from mlstore.errors import NotAStoreError, StoreError
from mlstore.storage.failures import translate

# fmt: off
_NETWORK_TYPES: Final = frozenset((
    "nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "ncp", "afs", "coda", "ceph", "glusterfs", "lustre", "gpfs",
    "beegfs", "pvfs2", "orangefs", "panfs", "davfs", "davfs2", "acfs", "ocfs2", "gfs2", "moosefs", "mfs", "curlftpfs", "sshfs", "s3fs",
    "gcsfuse", "goofys", "juicefs", "rclone", "mount-s3", "blobfuse", "blobfuse2", "vboxsf", "vmhgfs", "drvfs", "9p",
))
# fmt: on
_SHM: Final = "/dev/shm"
_SHM_MIN_FREE_BYTES: Final = 1 << 30


def network_filesystem(path: str, mountinfo_text: str) -> str | None:
    """The type of the network file system an absolute path lies on; None if it is local (or the table does not say).

    `mountinfo_text` is the content of /proc/self/mountinfo: the longest mount point above the path counts, the last of equals.
    """
    longest, kind = -1, None
    for line in mountinfo_text.splitlines():
        head, separator, tail = line.partition(" - ")
        fields, sources = head.split(" "), tail.split(" ")
        if not separator or len(fields) < 5 or not sources[0]:
            continue
        point = _unescape(fields[4])
        if _is_below(path, point) and len(point) >= longest:
            longest, kind = len(point), _network_type(sources)
    return kind


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a file may only be read, and what would change that."""

    what: str
    cure: str


def write_obstacle(path: str) -> Obstacle | None:
    """What keeps this process from writing a file; None if nothing does."""
    if not os.access(path, os.W_OK):
        return Obstacle("may not be written by this user", "open it with read_only=True, or change its permissions")
    if os.stat(path).st_nlink > 1:
        # The -lock file goes by the name: writers through two names would not see each other.
        return Obstacle(
            "has several names (hard links), and writers through two of them would not see each other",
            "copy the file, or remove the other links",
        )
    return network_obstacle(path)


def network_obstacle(path: str) -> Obstacle | None:
    """The obstacle that a network file system is to writing; None on local ones."""
    kind = network_filesystem(path, mount_table())
    if kind is None:
        return None
    return Obstacle(
        f"lies on a network file system ({kind}), where memory and locks are not shared and writing corrupts",
        "move it to a local disk, or open it with read_only=True",
    )


def mount_table() -> str:
    """The mounts of this process; empty where the system does not tell."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            return table.read()
    except OSError:
        return ""


def require_file_place(path: str, *, shown: str) -> None:
    """Refuse paths where no store can be: a folder, something that is no file, a folder that does not exist."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            raise StoreError(f"{shown}: the folder {parent} does not exist", hint="create it, or check the path") from None
        return
    except NotADirectoryError as error:
        raise StoreError(f"{shown}: a part of this path is a file, not a folder", hint="check the path") from error
    except OSError as error:
        raise translate(error, shown, "open it") from error
    if stat.S_ISDIR(mode):
        inside = os.path.join(shown, "store.mls")
        raise NotAStoreError(f"{shown}: is a folder; a store is one file", hint=f"name a file in it, such as {inside}")
    if not stat.S_ISREG(mode):
        raise NotAStoreError(f"{shown}: is no regular file", hint="check the path")


def make_private_folder() -> str:
    """A new folder for a store that lives in memory: under /dev/shm if there is room, else among the temporary files."""
    try:
        volume = os.statvfs(_SHM)
        # Containers often give /dev/shm a mere 64 MB.
        is_roomy = volume.f_bavail * volume.f_frsize >= _SHM_MIN_FREE_BYTES and os.access(_SHM, os.W_OK)
    except OSError:
        is_roomy = False
    return tempfile.mkdtemp(prefix="mlstore-", dir=_SHM if is_roomy else None)


def _network_type(sources: list[str]) -> str | None:
    kind = sources[0].removeprefix("fuse.")
    if kind not in _NETWORK_TYPES:
        return None
    # A sandbox kernel (gVisor) shows its own root as 9p over a descriptor: one kernel, one page cache, so it is local.
    is_sandbox_root = kind == "9p" and len(sources) > 2 and sources[1] == "none" and "trans=fd" in sources[2].split(",")
    return None if is_sandbox_root else sources[0]


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point if point.endswith("/") else point + "/")


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)

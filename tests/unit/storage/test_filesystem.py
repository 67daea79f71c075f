"""Where a store may lie, decided without touching anything."""

import os
from pathlib import Path

import pytest

from mlstore.errors import NotAStoreError, StoreError
from mlstore.storage.filesystem import make_private_folder, network_filesystem, require_file_place, write_obstacle

MOUNTS = "\n".join(
    (
        "22 27 0:21 / /proc rw,relatime - proc proc rw",
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard",
        "40 27 0:50 / /home rw,relatime shared:1 master:2 - nfs4 server:/export rw,vers=4.2",
        "41 40 254:1 / /home/local rw,relatime - xfs /dev/vdb rw",
        "42 27 0:51 / /mnt/with\\040space rw - fuse.sshfs me@host:/ rw",
        "43 27 0:52 / /mnt/c rw,noatime - 9p drvfs rw,aname=drvfs,trans=fd,rfd=5",
        "44 27 0:53 / /samba rw - cifs //nas/share rw,vers=3.0",
        "45 27 0:54 / /samba rw - ext4 /dev/vdc rw",
        "46 27 0:55 / /sandbox rw - 9p none rw,trans=fd,rfd=4",
        "47 27 0:56 / /share rw - virtiofs tag rw",
        "a line of another shape",
    )
)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/store.mls", None),
        ("/home/me/store.mls", "nfs4"),
        ("/home", "nfs4"),
        ("/homestead/store.mls", None),
        ("/home/local/store.mls", None),
        ("/mnt/with space/store.mls", "fuse.sshfs"),
        ("/mnt/c/store.mls", "9p"),
        ("/samba/store.mls", None),
        ("/sandbox/store.mls", None),
        ("/share/store.mls", None),
    ],
)
def test_the_innermost_mount_tells_whether_a_path_is_on_the_network(path: str, kind: str | None):
    assert network_filesystem(path, MOUNTS) == kind


def test_an_unknown_table_is_taken_for_a_local_disk():
    assert network_filesystem("/data/store.mls", "") is None


def test_a_folder_is_no_place_for_a_store(tmp_path: Path):
    with pytest.raises(NotAStoreError, match=r"is a folder.*store\.mls"):
        require_file_place(str(tmp_path), shown=str(tmp_path))


def test_a_missing_parent_folder_is_named(tmp_path: Path):
    missing = tmp_path / "not" / "there"

    with pytest.raises(StoreError, match=f"the folder {missing} does not exist"):
        require_file_place(str(missing / "store.mls"), shown="store.mls")


def test_a_file_in_place_of_a_folder_is_told_apart(tmp_path: Path):
    (tmp_path / "file").write_text("x")

    with pytest.raises(StoreError, match="is a file, not a folder"):
        require_file_place(str(tmp_path / "file" / "store.mls"), shown="store.mls")


def test_a_pipe_is_no_place_for_a_store(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(NotAStoreError, match="no regular file"):
        require_file_place(str(tmp_path / "pipe"), shown="pipe")


def test_a_file_of_two_names_may_only_be_read(tmp_path: Path):
    (tmp_path / "one").write_bytes(b"")
    os.link(tmp_path / "one", tmp_path / "two")

    obstacle = write_obstacle(str(tmp_path / "one"))

    assert obstacle is not None
    assert "several names" in obstacle.what


def test_an_ordinary_file_has_no_obstacle(tmp_path: Path):
    (tmp_path / "one").write_bytes(b"")

    assert write_obstacle(str(tmp_path / "one")) is None


def test_each_private_folder_is_a_new_one():
    first, second = make_private_folder(), make_private_folder()
    try:
        assert first != second
        assert os.stat(first).st_mode & 0o077 == 0
    finally:
        os.rmdir(first)
        os.rmdir(second)

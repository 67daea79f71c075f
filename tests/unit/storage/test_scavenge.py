"""Records read without LMDB: all of a sound file; of a damaged one what can be reached, and what could not is told."""

import gc
import struct
from collections import Counter
from pathlib import Path

import pytest

from mlstore.errors import NotAStoreError, StoreError
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import declare
from mlstore.storage.scavenge import Record, Scavenger

A, B = declare("tests.a"), declare("tests.b")
PAGE = 4096
SMALL = [(b"%06d" % number, b"v" * 50) for number in range(5000)]  # three levels of pages
LARGE = [(b"large", bytes(range(256)) * 100), (b"larger", b"x" * 70_000)]


@pytest.fixture
def content(path: str) -> bytearray:
    """The bytes of a store with small and large values; nobody has it open."""
    with Environment.open(path, writer_version="test") as environment:
        with environment.writer() as writer:
            writer.put_many(A, SMALL)
        with environment.writer() as writer:
            writer.put_many(B, LARGE)
    gc.collect()
    return bytearray(Path(path).read_bytes())


def scavenge(path: str, content: bytes) -> tuple[list[Record], list[str]]:
    Path(path).write_bytes(content)
    scavenger = Scavenger(path)
    return [record for record in scavenger.records() if record[0].startswith("tests.")], scavenger.losses


def pages(content: bytes, kind: int) -> list[int]:
    """Where the pages of a kind begin that hold small values or lead to them."""
    starts = [start for start in range(2 * PAGE, len(content), PAGE) if struct.unpack_from("=H", content, start + 10)[0] == kind]
    return [start for start in starts if A.name.encode() not in content[start : start + PAGE]]


def leaves(content: bytes) -> list[int]:
    return [start for start in pages(content, 2) if content.count(b"v" * 50, start, start + PAGE) > 20]


def newest_head(content: bytes) -> int:
    return max((0, PAGE), key=lambda start: struct.unpack_from("=Q", content, start + 16 + 128)[0])


def test_all_records_of_a_sound_file_come_as_they_were_put(path: str, content: bytearray):
    found, losses = scavenge(path, content)

    assert losses == []
    assert found == [(A.name, *item) for item in SMALL] + [(B.name, *item) for item in LARGE]


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, b"\xff" * 8), (10, b"\x08\x00"), (12, b"\x04\x00"), (12, b"\xff\xff"), (14, b"\x00\x00")],
    ids=["another number", "another kind", "begins in its head", "ends beyond itself", "free room before its records"],
)
def test_a_page_that_cannot_be_one_costs_its_records_only(path: str, content: bytearray, at: int, value: bytes):
    leaf = leaves(content)[3]
    content[leaf + at : leaf + at + len(value)] = value

    found, losses = scavenge(path, content)

    assert losses == [f"page {leaf // PAGE} of {A.name}"]
    lost = len(SMALL) + len(LARGE) - len(found)
    assert 20 < lost < 100


def test_a_record_that_leads_out_of_its_page_is_told_of_and_its_neighbours_come(path: str, content: bytearray):
    leaf = leaves(content)[3]
    struct.pack_into("=HH", content, leaf + 16, 2, PAGE - 2)

    found, losses = scavenge(path, content)

    assert losses == [f"a record in page {leaf // PAGE} of {A.name}"] * 2
    assert len(found) == len(SMALL) + len(LARGE) - 2


@pytest.mark.parametrize(("size", "key_size"), [(50, 0), (50, 600), (4000, 6)], ids=["no key", "a key too long", "a value too long"])
def test_a_record_of_impossible_size_is_told_of(path: str, content: bytearray, size: int, key_size: int):
    leaf = leaves(content)[3]
    at = leaf + struct.unpack_from("=H", content, leaf + 16)[0]
    struct.pack_into("=HHHH", content, at, size, 0, 0, key_size)

    found, losses = scavenge(path, content)

    assert losses == [f"a record in page {leaf // PAGE} of {A.name}"]
    assert len(found) == len(SMALL) + len(LARGE) - 1


def test_a_damaged_branch_page_costs_all_below_it(path: str, content: bytearray):
    branch = min(pages(content, 1), key=lambda start: struct.unpack_from("=H", content, start + 12)[0])
    content[branch : branch + 16] = bytes(16)

    found, losses = scavenge(path, content)

    assert losses == [f"page {branch // PAGE} of {A.name}"]
    assert [record for record in found if record[0] == B.name] == [(B.name, *item) for item in LARGE]


def test_pages_that_lead_to_themselves_are_walked_once(path: str, content: bytearray):
    branch = min(pages(content, 1), key=lambda start: struct.unpack_from("=H", content, start + 12)[0])
    at = branch + struct.unpack_from("=H", content, branch + 16)[0]
    struct.pack_into("=HHH", content, at, branch // PAGE, 0, 0)

    found, losses = scavenge(path, content)

    assert losses == [f"page {branch // PAGE} of {A.name}"]
    assert max(Counter(found).values()) == 1


@pytest.mark.parametrize("change", [(0, b"\xff" * 8), (10, b"\x02\x00")], ids=["another number", "another kind"])
def test_a_large_value_whose_page_is_another_is_lost_alone(path: str, content: bytearray, change: tuple[int, bytes]):
    first = content.index(LARGE[0][1]) // PAGE * PAGE
    content[first + change[0] : first + change[0] + len(change[1])] = change[1]

    found, losses = scavenge(path, content)

    assert [record for record in found if record[0] == B.name] == [(B.name, *LARGE[1])]
    assert [loss.partition(" of ")[2] for loss in losses] == [B.name]


def test_a_file_without_its_end_gives_what_comes_before(path: str, content: bytearray):
    end = content.index(b"x" * 70_000)

    found, losses = scavenge(path, content[: end + 100])

    assert (B.name, *LARGE[1]) not in found
    assert losses
    assert len(found) > len(SMALL) // 2


def test_of_two_head_pages_the_other_one_is_enough(path: str, content: bytearray):
    newest = newest_head(content)
    content[newest + 16 : newest + 20] = b"\0" * 4

    found, losses = scavenge(path, content)

    assert losses[0] == f"the head page at byte {newest}"
    assert found[: len(SMALL)] == [(A.name, *item) for item in SMALL]


def test_head_pages_that_do_not_follow_each_other_tell_of_a_lost_commit(path: str, content: bytearray):
    newest = newest_head(content)
    commit = struct.unpack_from("=Q", content, newest + 16 + 128)[0]
    struct.pack_into("=Q", content, newest + 16 + 128, commit + 4)

    found, losses = scavenge(path, content)

    assert losses == [f"perhaps the last commit: the head pages are of commits {commit - 1} and {commit + 4}"]
    assert len(found) == len(SMALL) + len(LARGE)


def test_names_that_cannot_be_read_are_those_of_the_commit_before(path: str, content: bytearray):
    newest = newest_head(content)
    commit = struct.unpack_from("=Q", content, newest + 16 + 128)[0]
    root = struct.unpack_from("=Q", content, newest + 16 + 24 + 48 + 40)[0]
    content[root * PAGE : root * PAGE + 16] = bytes(16)

    found, losses = scavenge(path, content)

    assert losses[:2] == [f"page {root} of the names of the keyspaces", f"the state of commit {commit}: its names cannot be read"]
    assert (A.name, *SMALL[0]) in found


def test_a_file_in_which_nothing_can_be_read_is_no_store(path: str):
    Path(path).write_bytes(b"\xee" * 3 * PAGE)

    with pytest.raises(NotAStoreError, match="nothing in it can be read as a store"):
        list(Scavenger(path).records())


def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path):
    with pytest.raises(StoreError, match="could not read it: no such file"):
        list(Scavenger(str(tmp_path / "nowhere")).records())

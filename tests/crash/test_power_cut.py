"""Power cuts: everything a store did to its disk is recorded, and replayed up to each point where the power may fail.

Of the writes that no sync has followed the disk keeps, loses or tears each as the dice say. With durability "full" nothing
promised is ever lost; with "normal" the last commits may be, and neither ever leaves anything corrupt or half done.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.crash_check import check_cuts, parse_promises
from tests.support.crash_images import (
    Create,
    Cut,
    Event,
    Rename,
    Sync,
    SyncFolder,
    Write,
    decode_events,
    encode_mark,
    image,
    plan_cuts,
    promised,
)
from tests.support.soaking import Patience, report, scaled, soak_seed

ROOT = Path(__file__).parents[2]
SHIM_SOURCE = Path(__file__).with_name("disk_shim.c")

COMPILER = os.environ.get("CC", "cc")

needs_shim = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which(COMPILER) is None, reason="the disk shim needs Linux and a C compiler"
)


@dataclass(frozen=True)
class Recording:
    """What the script did to the disk, and what it left when no power failed."""

    events: list[Event]
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "disk_shim.so"
    subprocess.run([COMPILER, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SHIM_SOURCE], check=True)
    return library


def record(shim: Path, folder: Path, durability: str, **environment: str) -> Recording:
    """Run the script under the shim."""
    watched, log = folder / "watched", folder / "disk.log"
    watched.mkdir()
    shimmed = {"LD_PRELOAD": str(shim), "DISK_SHIM_FOLDER": str(watched), "DISK_SHIM_LOG": str(log)}
    script = [sys.executable, "-m", "tests.support.crash_script", str(watched), str(log), durability]
    subprocess.run(script, check=True, cwd=ROOT, env=os.environ | shimmed | environment)
    files = {path.name: path.read_bytes() for path in watched.iterdir() if not path.name.endswith("-lock")}
    return Recording(decode_events(log.read_bytes()), files)


@pytest.fixture(scope="module")
def recording(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """The script with durability "full", and nothing wrong."""
    return record(shim, tmp_path_factory.mktemp("recording"), "full")


@needs_shim
def test_the_recording_is_the_whole_file(recording: Recording):
    end = Cut(len(recording.events), "kept")

    assert image(recording.events, end) == recording.files
    deeds = {promise.did for promise in parse_promises(promised(recording.events, end))}
    assert deeds >= {"bulk write", "stream", "transaction", "merge", "forget", "optimize, cold", "compact", "push", "backfill", "retain"}


@needs_shim
@pytest.mark.slow
def test_a_power_cut_loses_nothing_that_was_promised(recording: Recording, tmp_path: Path):
    cuts = plan_cuts(recording.events, rounds=1, anywhere=8, seed=1)[::3]

    looked, problems = check_cuts(recording.events, cuts, tmp_path, may_forget=False)

    assert problems == []
    assert looked == len(cuts)


@needs_shim
@pytest.mark.slow
def test_a_power_cut_with_normal_durability_never_corrupts(shim: Path, tmp_path: Path):
    recording = record(shim, tmp_path, "normal")
    cuts = plan_cuts(recording.events, rounds=1, anywhere=8, seed=2)[::4]

    _, problems = check_cuts(recording.events, cuts, tmp_path, may_forget=True)

    assert problems == []


@needs_shim
@pytest.mark.slow
@pytest.mark.parametrize("swallowed", ["files", "names"])
def test_a_store_that_forgets_to_sync_is_found_out(shim: Path, tmp_path: Path, swallowed: str):
    recording = record(shim, tmp_path, "full", DISK_SHIM_SWALLOW=swallowed)
    cuts = plan_cuts(recording.events, rounds=3, anywhere=0, seed=3)[::12]

    _, problems = check_cuts(recording.events, cuts, tmp_path, may_forget=False)

    assert len(problems) > len(cuts) // 4


@needs_shim
@pytest.mark.slow
def test_a_promise_made_before_the_disk_has_it_is_found_out(shim: Path, tmp_path: Path):
    recording = record(shim, tmp_path, "normal")
    cuts = plan_cuts(recording.events, rounds=1, anywhere=0, seed=4)[::6]

    _, problems = check_cuts(recording.events, cuts, tmp_path, may_forget=False)

    assert any("what was promised is gone" in problem for problem in problems)
    assert all("is gone" in problem or "the mirror does not follow" in problem for problem in problems)


@needs_shim
@pytest.mark.slow
def test_a_commit_in_two_parts_is_found_out(shim: Path, tmp_path: Path):
    recording = record(shim, tmp_path, "full", CRASH_SCRIPT_SPLIT="1")
    cuts = plan_cuts(recording.events, rounds=1, anywhere=0, seed=5)[:20]

    _, problems = check_cuts(recording.events, cuts, tmp_path, may_forget=False)

    assert problems
    assert all("a state that never was" in problem for problem in problems)


@needs_shim
@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_thousands_of_power_cuts(shim: Path, soak_path: Path, durability: str):
    recording, seed = record(shim, soak_path, durability), soak_seed()
    cuts = plan_cuts(recording.events, rounds=scaled(30), anywhere=scaled(3000), seed=seed)
    random.Random(seed).shuffle(cuts)  # patience may end before all are done

    looked, problems = check_cuts(recording.events, cuts, soak_path, may_forget=durability == "normal", patience=Patience.begin())

    report(f"power cuts, durability {durability}", seed, f"{looked} crash images of {len(recording.events)} writes and syncs", problems)
    assert problems == []


def test_what_was_synced_survives_and_what_was_not_may_be_lost():
    named = [Create(0, "a"), SyncFolder()]
    events = [*named, Write(0, b"aa", False), Sync(), Write(1, b"bbb", False), Write(6, b"c", True), Write(0, b"d", False)]

    lost, kept = image(events, Cut(7, "lost")), image(events, Cut(7, "kept"))

    assert lost == {"a": b"aa\0\0\0\0c"}
    assert kept == {"a": b"dbbb\0\0c"}


def test_a_sync_is_of_its_own_file_only():
    events = [Create(0, "a"), Create(1, "b"), SyncFolder(), Write(0, b"x", False, 0), Write(0, b"y", False, 1), Sync(1)]

    assert image(events, Cut(6, "lost")) == {"a": b"", "b": b"y"}


def test_names_that_were_not_synced_are_kept_up_to_one_of_their_changes():
    events = [Create(0, "old"), SyncFolder(), Create(1, "new"), Write(0, b"n", True, 1), Rename("new", "old"), Create(2, "last")]

    images = [image(events, Cut(6, "torn", seed)) for seed in range(60)]

    assert {tuple(found.items()) for found in images} == {
        (("old", b""),),
        (("old", b""), ("new", b"n")),
        (("old", b"n"),),
        (("old", b"n"), ("last", b"")),
    }


def test_a_torn_write_is_kept_in_some_sectors_only():
    events = [Create(0, "a"), SyncFolder(), Write(100, b"x" * 2048, False)]

    images = {image(events, Cut(3, "torn", seed))["a"] for seed in range(200)}

    halves = [torn for torn in images if 0 < torn.count(b"x") < 2048]
    assert len(halves) > 10
    assert all({torn[start : start + 512] for start in range(512, 2048, 512)} <= {b"x" * 512, bytes(512), b""} for torn in halves)


def test_a_log_becomes_the_events_it_tells_of():
    file = "0700000000000000"
    made = bytes.fromhex(f"43 00 0000 04000000 0000000000000000 {file}") + b"a\0a\0"
    write = bytes.fromhex(f"57 01 0000 02000000 0010000000000000 {file}") + b"hi"
    linked = bytes.fromhex(f"4c 00 0000 04000000 {'00' * 16}") + b"a\0b\0"
    syncs = bytes.fromhex(f"53 00 0000 00000000 0000000000000000 {file}") + bytes.fromhex("44") + bytes(23)

    events = decode_events(made + write + encode_mark("done") + linked + syncs)

    assert events[:2] == [Create(0, "a"), Write(4096, b"hi", True, 0)]
    assert events[3:] == [Rename("a", "b", is_link=True), Sync(0), SyncFolder()]
    assert promised(events, Cut(2, "kept")) == []
    assert promised(events, Cut(3, "kept")) == ["done"]


def test_a_number_that_is_given_to_another_file_is_another_file():
    first = bytes.fromhex(f"43 00 0000 04000000 {'00' * 8} 0700000000000000") + b"a\0a\0"
    again = bytes.fromhex(f"43 00 0000 04000000 {'00' * 8} 0700000000000000") + b"b\0b\0"

    assert decode_events(first + again) == [Create(0, "a"), Create(1, "b")]

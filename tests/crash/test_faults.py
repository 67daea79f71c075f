"""Faults of the system: writes, syncs, opens, maps and memory that fail, a full disk, rights lost, a clock set back.

After any of them nothing acknowledged is lost and nothing half is to be seen, and the error names the file and a cure.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mlstore as ml
from tests.support import bank, golden
from tests.support.crash_limits import LIMITS
from tests.support.processes import Child, Parent
from tests.support.soaking import report, scaled, soak_seed

ROOT = Path(__file__).parents[2]
SHIM_SOURCE = Path(__file__).with_name("fault_shim.c")
COMPILER = os.environ.get("CC", "cc")
NOBODY = 65534

needs_shim = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which(COMPILER) is None, reason="the fault shim needs Linux and a C compiler"
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "fault_shim.so"
    subprocess.run([COMPILER, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SHIM_SOURCE, "-ldl"], check=True)
    return library


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "golden.mls"
    with pytest.MonkeyPatch.context() as patch:
        for name, size in LIMITS.items():
            patch.setattr(f"mlstore.engine.limits.{name}", size)
        golden.create(path)
    return path


def run_faults(shim: Path, original: Path, place: Path, share: float, seed: int) -> tuple[Counter[str], list[str]]:
    """Let a share of all calls fail, one after the other; how many ended how, and what was wrong."""
    watched = {"LD_PRELOAD": str(shim), "FAULT_SHIM_FILE": str(place)}
    script = [sys.executable, "-m", "tests.support.fault_run", str(original), str(place), str(share), str(seed)]
    told = subprocess.run(script, check=True, cwd=ROOT, env=os.environ | watched, capture_output=True, text=True).stdout
    answer = json.loads(told)
    return Counter(answer["ends"]), answer["violations"]


@needs_shim
@pytest.mark.slow
def test_whatever_call_fails_nothing_is_lost_and_nothing_is_half_there(shim: Path, original: Path, tmp_path: Path):
    ends, violations = run_faults(shim, original, tmp_path / "faulty.mls", 0.005, 7)

    assert violations == []
    assert ends.total() > 10
    assert {call.split(":")[0] for call in ends} >= {"write", "sync"}


@needs_shim
@pytest.mark.soak
@pytest.mark.timeout(0)
def test_every_call_fails_once_and_for_ever(shim: Path, original: Path, tmp_path: Path):
    seed = soak_seed()

    ends, violations = run_faults(shim, original, tmp_path / "faulty.mls", min(1.0, scaled(100) / 100), seed)

    counted = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    report("faults", seed, f"{ends.total()} calls failed: {counted}", violations)
    assert violations == []


def as_nobody(parent: Parent, function: Callable[[Path], object], path: Path) -> str:
    """In a child: without the rights of root; the error, or what the function returned."""
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        return f"returned {function(path)}"
    except ml.MlstoreError as error:
        return f"{error.kind}: {error}"


def told(function: Callable[[Path], object], path: Path) -> str:
    with Child(as_nobody, function, path) as child:
        return str(child.result())


def write_one(path: Path) -> int:
    with ml.open(path) as store:
        store.write("bank", bank.rounds([9]))
        return len(store.history())


def read_all(path: Path) -> list[int]:
    with ml.open(path, read_only=True) as store:
        return bank.audit(store)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A store in a folder that everybody may enter and write, as may the file."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are its user's alone
        path = Path(folder) / "bank.mls"
        bank.create(path)
        path.with_name("bank.mls-lock").unlink()
        path.parent.chmod(0o777)
        path.chmod(0o666)
        yield path
        path.parent.chmod(0o777)


def test_a_folder_that_may_not_be_entered_says_so(reachable: Path):
    reachable.parent.chmod(0o600)

    assert "permission denied (change the permissions" in told(read_all, reachable)


def test_a_file_that_may_not_be_written_says_so_and_can_be_read(reachable: Path):
    reachable.chmod(0o444)

    assert "may not be written by this user (open it with read_only=True" in told(write_one, reachable)
    assert told(read_all, reachable) == "returned [0]"


def test_a_folder_that_may_not_be_written_says_so(reachable: Path):
    reachable.parent.chmod(0o555)

    refusal = told(write_one, reachable)

    assert refusal.startswith("store: ")
    assert "permission denied (change the permissions of the file, of its -lock file and of the folder)" in refusal


def test_a_file_that_may_not_be_read_says_so(reachable: Path):
    reachable.chmod(0o000)

    assert "permission denied (change the permissions" in told(read_all, reachable)


def test_rights_lost_while_the_file_is_open_take_nothing_from_who_has_it_open(tmp_path: Path):
    path = tmp_path / "bank.mls"
    bank.create(path)
    with ml.open(path) as store:
        path.chmod(0o000)
        store.write("bank", bank.rounds([1]))

        assert bank.audit(store) == [0, 1]
        store.verify()


def test_a_clock_set_back_never_turns_history_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, real = tmp_path / "bank.mls", time.time_ns
    bank.create(path)
    with ml.open(path) as store:
        for number, days in enumerate([0, -400, 3, -1, -9000], start=1):
            monkeypatch.setattr(time, "time_ns", lambda days=days: real() + days * 86_400_000_000_000)
            store.write("bank", bank.rounds([number]))
        times = [commit.time_us for commit in reversed(store.history())]

        assert times == sorted(times)
        assert bank.audit(store) == [0, 1, 2, 3, 4, 5]
        assert bank.audit(store.at(store.history()[-1].time)) == []
        store.verify()

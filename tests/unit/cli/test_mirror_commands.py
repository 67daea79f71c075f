"""The commands about copies that follow a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

Run = Callable[..., Result]
Answer = Callable[..., Any]


def test_a_clone_is_pushed_pulled_and_detached(run: Run, answer: Answer, flights: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "edge.mls"
    answer("clone", flights, mirror)
    answer("snapshot", flights, "v2")

    pushed = answer("push", flights, mirror)
    nothing = run("pull", mirror)
    refused = run("snapshot", mirror, "mine")
    answer("detach", mirror)

    assert (pushed["commits"], pushed["extents"]) == (0, 0)
    assert pushed["records"] > 0
    assert "0 commits, 0 B of segments, 0 records" in nothing.stdout
    assert refused.exit_code == 2
    assert "detach()" in refused.stderr
    assert set(answer("info", mirror)["snapshots"]) == {"v1", "v2"}
    answer("snapshot", mirror, "mine")


def test_a_store_that_follows_nobody_cannot_pull(run: Run, flights: Path) -> None:
    refused = run("pull", flights)

    assert refused.exit_code == 2
    assert "clone" in refused.stderr

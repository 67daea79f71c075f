"""Definitions from a Python file: what is taken, and how a broken file is told of in one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import mlstore as ml
from mlstore.cli.loading import load_definitions


def write_file(folder: Path, text: str) -> Path:
    path = folder / "definitions.py"
    path.write_text(text)
    return path


def test_definitions_at_the_top_level_are_taken_in_order_and_once(tmp_path: Path) -> None:
    path = write_file(
        tmp_path,
        "import mlstore as ml\n"
        "airport = ml.Entity('airport', keys={'origin': ml.string})\n"
        "same = airport\n"
        "route = ml.Entity('route', keys={'carrier': ml.string})\n"
        "names = [airport.name]\n",
    )

    found = load_definitions(path)

    assert [definition.name for definition in found] == ["airport", "route"]


def test_a_file_may_import_its_neighbours_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "neighbour_of_definitions.py").write_text(
        "import mlstore as ml\nairport = ml.Entity('airport', keys={'origin': ml.string})\n"
    )
    path = write_file(tmp_path, "from neighbour_of_definitions import airport\n")
    paths = list(sys.path)

    found = load_definitions(path)
    sys.modules.pop("neighbour_of_definitions")

    assert [definition.name for definition in found] == ["airport"]
    assert sys.path == paths
    assert sorted(file.name for file in tmp_path.iterdir()) == ["definitions.py", "neighbour_of_definitions.py"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\ny = (\n", "definitions.py:2: '(' was never closed"),
        ("x = 1\n\ny = undefined\n", "definitions.py:3: NameError: name 'undefined' is not defined"),
        ("import mlstore as ml\n\n\nbad = ml.Entity('', keys={})\n", "definitions.py:4: "),
        ("def f():\n    raise KeyError('k')\nf()\n", "definitions.py:2: KeyError: 'k'"),
        ("open('/no/such/file')\n", "definitions.py:1: FileNotFoundError"),
        ("import sys\nsys.exit('stop')\n", "definitions.py:2: SystemExit: stop"),
        ("import no_such_module_at_all\n", "definitions.py:1: ModuleNotFoundError"),
        ("x = 1\n", "definitions.py: nothing is defined at the top level"),
    ],
)
def test_a_broken_file_is_told_of_by_line_in_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    path = write_file(tmp_path, text)

    with pytest.raises(ml.DefinitionError) as refusal:
        load_definitions(path)

    assert told in refusal.value.message
    assert "\n" not in refusal.value.message


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_definitions(tmp_path / "nowhere.py")

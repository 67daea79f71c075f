"""How a call ends: exit codes, one or two lines on standard error, and no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import mlstore as ml
from mlstore.cli import app
from mlstore.cli.doorway import describe_error

Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("words", "code", "told", "cure"),
    [
        (["read", "{store}", "wether"], 2, "wether", "weather"),
        (["read", "{store}", "weather", "--columns", "tmep"], 2, "tmep", "temp"),
        (["read", "{store}", "weather", "--where", "temp >"], 2, "--where", "column op literal"),
        (["read", "{store}", "weather", "--start", "soon"], 2, "--start: 'soon' is no time", "ISO 8601"),
        (["read", "{store}", "weather", "--at", "v9"], 2, "v9", ""),
        (["read", "{store}", "weather", "-o", "-"], 2, "cannot tell the format", "--format"),
        (["read", "{store}", "weather", "--format", "csv"], 2, "--format without -o", "-o"),
        (["read", "{store}"], 2, "missing argument 'NAME'", "--help"),
        (["read", "{store}", "weather", "--no-such-option"], 2, "--no-such-option", "--help"),
        (["rite", "{store}"], 2, "did you mean 'write'", "--help"),
        (["write", "{store}", "weather", "{store}", "--mode", "merge"], 2, "'merge'", "--help"),
        (["write", "{store}", "weather", "{folder}/bad.csv"], 2, "row 1, column 'temp': 'warm' is no double", "1.5"),
        (["write", "{store}", "weather", "{folder}/nowhere.csv"], 1, "nowhere.csv: no such file", "check the path"),
        (["write", "{store}", "weather", "{folder}/short.csv"], 2, "wind", ""),
        (["apply", "{store}", "{folder}/broken.py"], 2, "broken.py:1", ""),
        (["online", "{store}", "weather", "--key", "origin"], 2, "--key origin: no value", "--key origin=JFK"),
        (["online", "{store}", "weather", "--key", "airport=JFK"], 2, "no key column 'airport'", "origin"),
        (["online", "{store}", "delays", "--key", "origin=JFK"], 2, "no value for key column 'number'", "--key number="),
        (["online", "{store}", "delays", "--key", "origin=JFK", "--key", "number=one"], 2, "'one' is no int64", "42"),
        (["online", "{store}", "delays", "-k", "origin=JFK", "-k", "origin=LGA", "-k", "number=1"], 2, "different length", "once per key"),
        (["training-set", "{store}", "{folder}/bad.csv", "weather", "--known-at", "then"], 2, "--known-at", "ISO 8601"),
        (["snapshot", "{store}", "v1"], 2, "v1", ""),
        (["info", "{folder}/nowhere.mls"], 1, "no store at", "mlstore init"),
        (["info", "{folder}/bad.csv"], 1, "bad.csv", ""),
        (["info", "{folder}"], 1, "{folder}", ""),
    ],
)
def test_a_call_that_cannot_be_done_says_so_in_two_lines(
    run: Run, flights: Path, tmp_path: Path, words: list[str], code: int, told: str, cure: str
) -> None:
    (tmp_path / "bad.csv").write_text("origin,event_timestamp,known,temp,wind\nJFK,2013-01-01,2013-01-01,warm,1\n")
    (tmp_path / "short.csv").write_text("origin,event_timestamp,known,temp\nJFK,2013-01-01,2013-01-01,1.5\n")
    (tmp_path / "broken.py").write_text("nonsense\n")
    filled = [word.format(store=flights, folder=tmp_path) for word in words]

    result = run(*filled)

    lines = result.stderr.splitlines()
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    assert 1 <= len(lines) <= 2
    assert lines[0].lower().startswith("error: ")
    assert told.format(folder=tmp_path).lower() in lines[0].lower()
    assert cure in " ".join(lines[1:])


def test_with_json_an_error_is_one_object_on_standard_error(run: Run, flights: Path) -> None:
    result = run("read", flights, "wether", "--json")

    assert result.stdout == ""
    assert json.loads(result.stderr)["error"]["kind"] == "unknown_name"
    assert set(json.loads(result.stderr)["error"]) == {"kind", "message", "hint"}


def test_json_and_a_pipe_exclude_each_other(run: Run, flights: Path) -> None:
    result = run("read", flights, "weather", "--json", "-o", "-")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "both want standard output" in json.loads(result.stderr)["error"]["message"]


def test_a_bad_option_with_json_is_an_object_too(run: Run) -> None:
    result = run("read", "--json")

    assert result.exit_code == 2
    assert json.loads(result.stderr)["error"]["kind"] == "usage"


def test_nothing_is_written_when_a_later_row_of_the_file_is_wrong(run: Run, flights: Path) -> None:
    good = '{"id": 1, "at": "2013-01-01T00:00:00Z", "late": true}\n' * 70_000
    bad = '{"id": "one", "at": "2013-01-01T00:00:00Z", "late": true}\n'

    result = run("write", flights, "flights", "-", stdin=good + bad)

    assert result.exit_code == 2
    assert "line 70001, column 'id'" in result.stderr
    with ml.open(flights, read_only=True) as store:
        assert store.read("flights").num_rows == 0


def test_every_error_has_an_exit_code() -> None:
    assert describe_error(ml.UnknownNameError("no")).exit_code == 2
    assert describe_error(ml.ReadOnlyError("no")).exit_code == 2
    assert describe_error(ml.StoreFullError("no")).exit_code == 1
    assert describe_error(ml.CorruptionError("no")).exit_code == 1
    assert describe_error(PermissionError(13, "Permission denied", "a.mls")).message == "a.mls: permission denied"
    assert describe_error(MemoryError()).exit_code == 1


def shell(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "mlstore", *map(str, words)], capture_output=True, text=True, check=False, timeout=120)


def test_the_process_leaves_with_the_exit_code(tmp_path: Path) -> None:
    path = tmp_path / "new.mls"

    codes = [shell(*words).returncode for words in (["init", path], ["info", tmp_path / "none.mls"], ["read", path, "nothing"])]

    assert codes == [0, 1, 2]


def test_the_version_is_printed() -> None:
    assert shell("--version").stdout.strip() == f"mlstore {ml.__version__}"


@pytest.mark.parametrize("form", ["--json", "-o - --format jsonl", "-o - --format csv", "-o - --format arrow"])
def test_a_reader_that_had_enough_is_no_error(run: Run, flights: Path, form: str) -> None:
    rows = "".join(f'{{"id": {row}, "at": "2013-01-01T00:00:00Z", "late": false}}\n' for row in range(20_000))  # more than a pipe holds
    assert run("write", flights, "flights", "-", stdin=rows).exit_code == 0
    command = f"{sys.executable} -m mlstore read {flights} flights {form} | head -c 9 > /dev/null; echo ${{PIPESTATUS[0]}}"

    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=120)

    assert result.stderr == ""
    assert result.stdout.strip() == "0"


def test_an_interrupt_ends_with_130_and_without_traceback(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mlstore.cli.defining.ml.open", interrupt)

    result = run("init", tmp_path / "new.mls")

    assert result.exit_code == 130
    assert "Traceback" not in result.output


def test_the_library_does_not_import_the_command_line() -> None:
    code = "import sys, mlstore; print(sorted({'typer', 'rich'} & set(sys.modules)))"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)

    assert result.stdout.strip() == "[]"


def test_the_shell_completes_commands_and_names_of_the_store(flights: Path) -> None:
    def complete(line: str) -> set[str]:
        variables = {"_MLSTORE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        return set(CliRunner().invoke(app, [], env=variables, prog_name="mlstore").stdout.split())

    assert complete("mlstore snap") == {"snapshot"}
    assert complete(f"mlstore read {flights} we") == {"weather"}
    assert complete(f"mlstore online {flights} mo") == {"model"}
    assert complete(f"mlstore online {flights} weather:t") == {"weather:temp"}
    assert complete(f"mlstore read {flights} weather --at v") == {"v1"}
    assert complete("mlstore read nowhere.mls we") == set()

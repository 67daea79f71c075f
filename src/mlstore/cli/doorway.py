"""Where every call leaves: errors become one or two lines, or one JSON object, and an exit code. Never a traceback.

0 done, 1 the job failed, 2 the call was wrong, 130 interrupted.
An error this file does not know is a bug of mlstore, and shows its traceback.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import typer
from rich.text import Text
from typer.core import TyperGroup

import mlstore as ml
from mlstore.cli.console import notes_console

JOB_FAILED = 1
CALL_WAS_WRONG = 2
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Failure:
    """What a caller is told: a stable kind, what went wrong, and the cure."""

    kind: str
    message: str
    hint: str
    exit_code: int


class Doorway(TyperGroup):
    """The group of all commands, with one way out for errors."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words, prog_name, complete_var, False, windows_expand_args, **extra)  # noqa: FBT003  Typer's own order
        except (ml.MlstoreError, typer.TyperException, typer.Abort, OSError, MemoryError) as error:
            failure = describe_error(error)
            if not _is_help(error):
                report(failure, as_json="--json" in words)
            code = failure.exit_code
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # Typer's own context is the public name
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader (`| head`) has all it wants. Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        return answer


def describe_error(error: BaseException) -> Failure:
    """The failure a user is told of, for every error a command may end with."""
    if isinstance(error, ml.MlstoreError):
        code = CALL_WAS_WRONG if isinstance(error, ml.UsageError) else JOB_FAILED
        return Failure(error.kind, error.message, error.hint, code)
    if isinstance(error, typer.TyperException):
        return _describe_call_error(error)
    if isinstance(error, OSError):
        return Failure("os", _one_line(_os_message(error)), _os_hint(error), JOB_FAILED)
    if isinstance(error, MemoryError):
        return Failure("memory", "out of memory", "read fewer columns or rows, or write to a file with -o", JOB_FAILED)
    return Failure("interrupted", "interrupted", "", INTERRUPTED)


def report(failure: Failure, *, as_json: bool) -> None:
    """Say it on standard error: two lines for people, one object for programs."""
    if as_json:
        told = {name: text for name, text in asdict(failure).items() if name != "exit_code"}
        print(json.dumps({"error": told}, ensure_ascii=False), file=sys.stderr)
        return
    console = notes_console()
    console.print(Text.assemble(("error: ", "bold red"), failure.message), soft_wrap=True)
    if failure.hint:
        console.print(Text.assemble(("hint: ", "bold cyan"), failure.hint), soft_wrap=True)


def _describe_call_error(error: typer.TyperException) -> Failure:
    context = getattr(error, "ctx", None)
    message = _one_line(error.format_message()).replace("Value error, ", "").rstrip(".")
    hint = f"`{context.command_path} --help` shows how to call it" if context is not None else ""
    return Failure("usage", message[:1].lower() + message[1:], hint, CALL_WAS_WRONG)


def _is_help(error: BaseException) -> bool:
    """`mlstore` alone: what it should have said, the help, is printed already."""
    return type(error).__name__ == "NoArgsIsHelpError"


def _os_message(error: OSError) -> str:
    if error.strerror is None:
        return str(error)
    # pyarrow writes a whole sentence, with the path in it, where the system has two words.
    if error.filename is None:
        return error.strerror
    return f"{error.filename}: {error.strerror.lower()}"


def _os_hint(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "check the path; relative paths start at the current folder"
    if isinstance(error, PermissionError):
        return "check who owns the file, and its folder"
    if isinstance(error, IsADirectoryError):
        return "name a file in that folder"
    return ""


def _one_line(text: str) -> str:
    return " ".join(text.split())

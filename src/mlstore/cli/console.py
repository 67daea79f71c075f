"""What a person sees: tables and progress, fitted to the terminal.

Answers go to standard output; notes and progress bars to standard error, and bars only where somebody watches.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

# A pipe has no width: lines stay whole there, for grep and less.
PIPE_WIDTH = 4096
CELL_WIDTH = 40


class Terminal(Console):
    """A console that leaves a closed pipe to the doorway."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def answers_console() -> Terminal:
    """For what was asked: standard output."""
    return Terminal(highlight=False, markup=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def notes_console() -> Terminal:
    """For everything else: standard error."""
    return Terminal(stderr=True, highlight=False, markup=False, width=None if sys.stderr.isatty() else PIPE_WIDTH)


def print_json(answer: object) -> None:
    """The answer for a program: one JSON document on standard output."""
    print(json.dumps(answer, ensure_ascii=False, allow_nan=False))


def print_line(*parts: str | tuple[str, str]) -> None:
    """One line of plain or (text, style) parts."""
    answers_console().print(Text.assemble(*parts), soft_wrap=True)


def print_note(text: str) -> None:
    """A remark beside the answer, on standard error."""
    notes_console().print(f"note: {text}", markup=False, highlight=False)


def print_fields(fields: Mapping[str, object]) -> None:
    """Names and values, one pair a line."""
    grid = Table.grid(padding=(0, 2))
    for name, value in fields.items():
        grid.add_row(Text(name, style="bold"), Text(show(value)))
    answers_console().print(grid)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, numeric: Sequence[str] = (), caption: str = "") -> None:
    """Data: one line a row; columns that do not fit the terminal are left out at the right and named below."""
    console = answers_console()
    cells = [[show(value) for value in row] for row in rows]
    shown = count_fitting(columns, cells, console.width)
    console.print(_grid(columns[:shown], [row[:shown] for row in cells], numeric, wraps=False))
    if shown < len(columns):
        console.print(Text(f"more columns: {', '.join(columns[shown:])}", style="dim"))
    if caption:
        console.print(Text(caption, style="dim"), soft_wrap=True)


def print_list(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[str] = ()) -> None:
    """Words: every column is shown, long ones go on in the next line."""
    answers_console().print(_grid(columns, rows, numeric, wraps=True))


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[str], *, wraps: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(
            Text(name), justify="right" if name in numeric else "left", no_wrap=not wraps, overflow="fold" if wraps else "ellipsis"
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def count_fitting(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> int:
    """How many columns, from the left, fit side by side; at least one."""
    used = 0
    for place, name in enumerate(columns):
        used += max([cell_len(name), *(cell_len(row[place]) for row in cells)]) + 2
        if used > width + 2 and place > 0:
            return place
    return len(columns)


def show(value: object) -> str:
    """A value as a person reads it in a cell."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e15 else repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
    return text if len(text) <= CELL_WIDTH else f"{text[: CELL_WIDTH - 1]}…"


def count_rows(count: int) -> str:
    """1 -> '1 row', 1200 -> '1,200 rows'."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def show_size(size_bytes: int) -> str:
    """1536 -> '1.5 KiB'."""
    size, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size_bytes} B" if unit == "B" else f"{size:.1f} {unit}"


@dataclass(slots=True)
class Bar:
    """A running bar: tell it how far the work is."""

    progress: Progress
    task: TaskID
    total: int | None

    def advance_to(self, done: int, total: int | None = None) -> None:
        self.progress.update(self.task, completed=done, total=self.total if total is None else total)


@contextmanager
def progress_bar(what: str, *, total: int | None = None) -> Iterator[Bar]:
    """A bar for long work, on standard error, while somebody watches; without a total it only shows that it runs."""
    console = notes_console()
    columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
    if total is not None:
        columns += [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(what, total=total), total)

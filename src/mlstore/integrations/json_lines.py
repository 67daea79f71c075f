"""A file of JSON lines as a source of events, read once or followed as it grows.

Its position is the offset behind the last line taken, and a digest of how the file begins, by which another file is known.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import mlstore as ml

Row = Mapping[str, Any]

_HEAD_BYTES = 1024
_READ_BYTES = 1 << 20
_ROW_BYTES = 1 << 24  # a longer line is no row


class JsonLines:
    """A source of `Store.consume`: one JSON object a line, in UTF-8.

    Parameters
    ----------
    path : path
        The file; with `follow` it may come to be later.
    follow : bool
        Wait for more at the end. A line is taken once its newline is there. Without it the end of the file is the end, and the last
        line needs no newline.
    decode : callable, optional
        The bytes of a line to a row (dict), or None to pass over it. Unless given, a line is a JSON object. What it raises as ValueError
        or KeyError says that the line is no row.

    Raises
    ------
    InvalidDataError
        While reading: the file is shorter than what was taken from it, or begins otherwise: it was replaced.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import mlstore as ml
    >>> from mlstore.integrations.json_lines import JsonLines
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "clicks.jsonl"
    >>> _ = path.write_text('{"user_id": 7, "event_timestamp": "2024-05-01T10:00:00Z", "page": "home"}\\n')
    >>> store = ml.open(":memory:")
    >>> _ = store.apply(ml.Table("clicks", schema={"user_id": ml.int64, "page": ml.string}, key=["user_id"], timestamp="event_timestamp"))
    >>> store.consume("web", JsonLines(path), into="clicks").rows
    1
    """

    def __init__(self, path: str | os.PathLike[str], *, follow: bool = False, decode: Callable[[bytes], Row | None] | None = None) -> None:
        self._path = Path(path)
        self._follow = follow
        self._decode = decode_json if decode is None else decode

    def batches(self, position: Any, *, max_rows: int, max_seconds: float) -> Iterator[ml.SourceBatch]:
        """The lines behind a position, in batches."""
        while self._follow and not self._path.exists():
            yield ml.SourceBatch([], position)
            time.sleep(max_seconds)
        with self._path.open("rb") as file:
            taken = self._resume(file, position)
            rows: list[Row] = []
            bad: list[tuple[Any, ml.MlstoreError]] = []
            due = time.monotonic() + max_seconds
            for line in self._lines(file):
                if line is not None:
                    taken += len(line)
                    self._take(line, rows, bad)
                is_waiting = line is None and time.monotonic() >= due
                if is_waiting or len(rows) + len(bad) >= max_rows:
                    yield ml.SourceBatch(rows, self._position(file, taken), bad)
                    rows, bad, due = [], [], time.monotonic() + max_seconds
                if line is None:
                    time.sleep(min(0.05, max_seconds))
            if rows or bad:
                yield ml.SourceBatch(rows, self._position(file, taken), bad)

    def _resume(self, file: BinaryIO, position: Any) -> int:
        """Go to where the position says; its offset."""
        if position is None:
            return 0
        offset = int(position["offset"])
        if _digest(file, offset) != position["head"] or os.fstat(file.fileno()).st_size < offset:
            raise ml.InvalidDataError(
                f"{self._path}: not the file it was: {offset:,} bytes of another were taken before",
                hint="a file that was rotated is another source: give it a consumer of its own name",
            )
        file.seek(offset)
        return offset

    def _lines(self, file: BinaryIO) -> Iterator[bytes | None]:
        """Whole lines; None whenever there is none at present."""
        rest = b""
        while True:
            chunk = file.read(_READ_BYTES)
            if not chunk:
                if not self._follow:
                    break
                if os.fstat(file.fileno()).st_size < file.tell():
                    raise ml.InvalidDataError(
                        f"{self._path}: became shorter while it was followed", hint="rotate by a new file; a consumer follows one file"
                    )
                yield None
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line + b"\n"
            if len(rest) > _ROW_BYTES:
                raise ml.InvalidDataError(f"{self._path}: a line of more than {_ROW_BYTES:,} bytes", hint="give one JSON object a line")
        if rest:
            yield rest

    def _take(self, line: bytes, rows: list[Row], bad: list[tuple[Any, ml.MlstoreError]]) -> None:
        if not line.strip():
            return
        try:
            row = self._decode(line)
        except (ValueError, KeyError, RecursionError) as cause:
            bad.append(
                (line, ml.InvalidDataError(f"{self._path}: {line[:60]!r} is no row: {cause}", hint="mend the file, or give decode="))
            )
        else:
            if row is not None:
                rows.append(row)

    @staticmethod
    def _position(file: BinaryIO, taken: int) -> dict[str, Any]:
        here = file.tell()
        position = {"offset": taken, "head": _digest(file, taken)}
        file.seek(here)
        return position


def decode_json(text: bytes) -> Row:
    """A JSON object; ValueError for anything else."""
    row = json.loads(text)
    if not isinstance(row, Mapping):
        raise ValueError(f"a {type(row).__name__}, not an object")
    return row


def _digest(file: BinaryIO, taken: int) -> str:
    """Tells one file from another by how it begins: by the part of it that was taken."""
    file.seek(0)
    return blake2b(file.read(min(taken, _HEAD_BYTES)), digest_size=8).hexdigest()

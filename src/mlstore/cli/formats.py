"""The file formats of the command line, and how one is told from another: by --format, by name, or by its first bytes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import mlstore as ml

# The pipe: standard input or standard output.
PIPE = "-"


class Format(StrEnum):
    """What rows look like outside of a store."""

    PARQUET = "parquet"
    CSV = "csv"
    ARROW = "arrow"
    JSONL = "jsonl"


SUFFIXES = {
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".csv": Format.CSV,
    ".arrow": Format.ARROW,
    ".arrows": Format.ARROW,
    ".feather": Format.ARROW,
    ".ipc": Format.ARROW,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
TEXT = (Format.CSV, Format.JSONL)

PARQUET_MAGIC = b"PAR1"
ARROW_FILE_MAGIC = b"ARROW1"
ARROW_STREAM_MAGIC = b"\xff\xff\xff\xff"
MAGIC_BYTES = 6


def find_compression(path: str) -> str | None:
    """The codec a name like `rows.csv.gz` tells of."""
    return COMPRESSIONS.get(Path(path).suffix.lower())


def find_format(path: str, chosen: Format | None = None, *, head: bytes = b"") -> Format:
    """The format of `path`: the one chosen, else by its suffix, else by its first bytes."""
    name = Path(path)
    if find_compression(path) is not None:
        name = name.with_suffix("")
    found = chosen or SUFFIXES.get(name.suffix.lower()) or _sniff(head)
    if found is None:
        raise ml.UsageError(
            f"{'the pipe' if path == PIPE else path}: cannot tell the format",
            hint=f"add --format {'|'.join(Format)}, or use a name that ends in {', '.join(SUFFIXES)}",
        )
    if find_compression(path) is not None and found not in TEXT:
        raise ml.UsageError(f"{path}: {found} files are compressed inside", hint="use a name without .gz or .zst")
    return found


def _sniff(head: bytes) -> Format | None:
    if head.startswith(PARQUET_MAGIC):
        return Format.PARQUET
    if head.startswith((ARROW_FILE_MAGIC, ARROW_STREAM_MAGIC)):
        return Format.ARROW
    if head.lstrip().startswith(b"{"):
        return Format.JSONL
    return None

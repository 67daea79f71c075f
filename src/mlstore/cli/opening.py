"""A store opened for one command: never created by a slip of the pen, and shown as of a version if one is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import mlstore as ml
from mlstore.cli.texts import parse_time


@contextmanager
def open_store(path: str, *, is_writing: bool = False, at: str | None = None, branch: str = "main") -> Iterator[ml.Store]:
    """The store of an existing file, closed at the end."""
    if not Path(path).exists():
        raise ml.NotAStoreError(f"no store at {path}", hint=f"`mlstore init {path}` creates one")
    with ml.open(path, branch=branch, read_only=not is_writing) as store:
        yield store if at is None else at_version(store, at)


def at_version(store: ml.Store, version: str) -> ml.Store:
    """The store as it was: a snapshot or commit by name, else a time."""
    try:
        return store.at(version)
    except ml.UnknownVersionError:
        moment = _read_time(version)
        if moment is None:
            raise
        return store.at(moment)


def find_version(store: ml.Store, version: str | None) -> ml.Commit | None:
    """The commit meant by a name, an id or a time."""
    return None if version is None else next(iter(at_version(store, version).history(limit=1)), None)


def _read_time(text: str) -> datetime | None:
    try:
        return parse_time(text, what="--at")
    except ml.InvalidDataError:
        return None

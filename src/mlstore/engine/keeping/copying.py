"""The journeys of copies: a backup is proved whole, and a clone made a mirror, before it gets its name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mlstore.engine.keeping import inspection
from mlstore.engine.mirror import put_mirror
from mlstore.engine.session import Session
from mlstore.errors import CorruptionError
from mlstore.storage.environment import Environment


def backup(session: Session, path: str | os.PathLike[str]) -> None:
    """Copy the store to a new file; see Store.backup."""

    def prove(partial: str) -> None:
        with _copy(partial, read_only=True) as environment:
            copied = Session.begin(environment, session.branch, session.clock_us)
            with copied.reading() as context:
                problems = inspection.verify(context).problems
        if problems:
            raise CorruptionError(
                f"{os.fspath(path)}: the copy is not whole, so it was thrown away: {'; '.join(problems)}",
                hint="verify() the store itself; ml.salvage(path, out) takes out what can be read",
            )

    session.environment.copy_to(path, check=prove)


def clone(session: Session, path: str | os.PathLike[str], *, writer_version: str) -> None:
    """Copy the store to a new file that follows it; see Store.clone."""
    origin, now_us = session.environment.path, session.clock_us()

    def follow(partial: str) -> None:
        with _copy(partial, writer_version=writer_version) as environment, environment.writer() as writer:
            put_mirror(writer, origin, now_us)

    session.environment.copy_to(path, check=follow)


@contextmanager
def _copy(partial: str, *, writer_version: str = "", read_only: bool = False) -> Iterator[Environment]:
    """A copy that has no name yet, for a moment."""
    try:
        with Environment.open(partial, read_only=read_only, writer_version=writer_version) as environment:
            yield environment
    finally:
        with suppress(FileNotFoundError):
            os.unlink(f"{partial}-lock")

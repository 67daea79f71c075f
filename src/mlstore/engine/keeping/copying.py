"""The backup journey: a copy of the last commit, proved whole before it gets its name."""

import os
from contextlib import suppress

from mlstore.engine.keeping import inspection
from mlstore.engine.session import Session
from mlstore.errors import CorruptionError
from mlstore.storage.environment import Environment


def backup(session: Session, path: str | os.PathLike[str]) -> None:
    """Copy the store to a new file; see Store.backup."""

    def prove(partial: str) -> None:
        try:
            with Environment.open(partial, read_only=True, writer_version="") as environment:
                copied = Session.begin(environment, session.branch, session.clock_us)
                with copied.reading() as context:
                    problems = inspection.verify(context).problems
        finally:
            with suppress(FileNotFoundError):
                os.unlink(f"{partial}-lock")
        if problems:
            raise CorruptionError(
                f"{os.fspath(path)}: the copy is not whole, so it was thrown away: {'; '.join(problems)}",
                hint="verify() the store itself; ml.salvage(path, out) takes out what can be read",
            )

    session.environment.copy_to(path, check=prove)

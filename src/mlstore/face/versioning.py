"""Versions: naming them, going back to them, listing them."""

import itertools
from datetime import date
from typing import Self

from mlstore.engine import versions
from mlstore.face.base import Face
from mlstore.format.manifest import Commit


class Versioning(Face):
    """What the store was."""

    def snapshot(self, name: str, *, message: str = "") -> Commit:
        """Name the version of now, for good. Costs one small record, whatever the size of the data.

        Raises
        ------
        AlreadyExistsError
            The name is taken; snapshots never move.
        """
        with self._session.writing() as context:
            return versions.create_tag(context.writer, context.scope, name, message=message, now_us=context.now_us)

    def at(self, version: str | date | Commit) -> Self:
        """The store as it was: a read-only handle on a snapshot's name, a commit (or its id, or the first digits of it), or a time.

        `online_features` gives what was newest then, `read` and `training_set` the history as written by then.

        Raises
        ------
        UnknownVersionError
        """
        with self._session.reading() as context:
            commit = versions.resolve(context.reader, context.scope, version)
        return type(self)(self._session.at(commit.seq, version.id if isinstance(version, Commit) else str(version)))

    def history(self, *, limit: int | None = None) -> list[Commit]:
        """The commits that made this version, newest first."""
        with self._session.reading() as context:
            return list(itertools.islice(versions.commits(context.reader, context.scope), limit))

"""Versions: naming them, going back to them, listing them."""

import itertools
from datetime import date
from typing import Self

from mlstore.engine import audit, sealing, versions
from mlstore.face.base import Face, user
from mlstore.format.manifest import Commit


class Versioning(Face):
    """What the store was."""

    def snapshot(self, name: str, *, message: str = "") -> Commit:
        """Name the version of now, for good. Costs a few small records, whatever the size of the data.

        Raises
        ------
        AlreadyExistsError
            The name is taken; snapshots never move.
        """
        with self._session.writing() as context:
            commit = versions.create_tag(context.writer, context.scope, name, message=message, now_us=context.now_us)
            audit.record_act(context.writer, audit.SNAPSHOT, name, time_us=context.now_us, author=user(), after=commit, message=message)
            return commit

    def seal(self, version: str | Commit, *, message: str = "") -> str:
        """Write a digest of all rows of a version into the audit, so that `verify(trusted_head=)` proves the rows too, not only the log.

        Reads the whole version; writers go on meanwhile. The digest is of rows, keys and clocks, so merging, tiers and `compact` do not
        change it. Rows forgotten later make it void.

        Parameters
        ----------
        version : str or Commit
            A snapshot's name or a commit.

        Returns
        -------
        str
            The id of the audit entry. Keep it outside the file.

        Raises
        ------
        UnknownVersionError
        """
        return sealing.seal(self._session, version, author=user(), message=message).id

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

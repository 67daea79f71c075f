"""Versions: naming them, going back to them, listing, comparing, merging and undoing them."""

import itertools
from collections.abc import Mapping
from typing import Any, Self

from mlstore.engine import audit, versions
from mlstore.engine.branching import branches, merge
from mlstore.engine.branching.diff import Diff
from mlstore.engine.branching.diff import diff as compute_diff
from mlstore.engine.branching.threeway import Strategy
from mlstore.engine.keeping import log, sealing
from mlstore.engine.session import ReadContext
from mlstore.engine.versions import Version
from mlstore.face.base import Face, user
from mlstore.format.manifest import Commit


class Versioning(Face):
    """What the store was, and how it came to be so."""

    def snapshot(self, name: str, *, message: str = "") -> Commit:
        """Name the version of now, for good. Costs a few small records, whatever the size of the data.

        Raises
        ------
        AlreadyExistsError
            The name is taken; snapshots never move.
        """
        self._session.require_outside("snapshot")
        with self._session.writing() as context:
            commit = versions.create_tag(context.writer, context.scope, name, message=message, now_us=context.now_us)
            audit.record_act(context.writer, audit.SNAPSHOT, name, time_us=context.now_us, author=user(), after=commit, message=message)
            return commit

    def delete_snapshot(self, name: str, *, message: str = "", author: str = "") -> None:
        """Take a snapshot's name away, so that `retain` may let its version go. The name cannot be given again.

        Raises
        ------
        UnknownVersionError
        """
        self._session.require_outside("delete_snapshot")
        with self._session.writing() as context:
            commit = versions.delete_tag(context.writer, name)
            audit.record_act(
                context.writer, audit.SNAPSHOT_DELETE, name, time_us=context.now_us, author=author or user(), before=commit, message=message
            )

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
        self._session.require_outside("seal")
        return sealing.seal(self._session, version, author=user(), message=message).id

    def at(self, version: Version) -> Self:
        """The store as it was: a read-only handle on a snapshot's name, a commit (or its id, or the first digits of it), or a time.

        `online_features` gives what was newest then, `read` and `training_set` the history as written by then.

        Raises
        ------
        UnknownVersionError
        """
        with self._session.reading() as context:
            commit = versions.resolve(context.reader, context.scope, version)
            scope = versions.scope_of(context.reader, commit)
        return type(self)(self._session.at(scope, version.id if isinstance(version, Commit) else str(version)))

    def history(
        self, *, table: str | None = None, key: Mapping[str, Any] | None = None, since: Version | None = None, limit: int | None = None
    ) -> list[Commit]:
        """The commits that made this version, newest first.

        Parameters
        ----------
        table : str, optional
            Only those that changed this view or table; found by its change feed, without looking at the others.
        key : dict, optional
            Only those that wrote or deleted rows of this key of the table.
        since : snapshot, commit or time, optional
            Only those after it.
        limit : int, optional
            Only so many.
        """
        with self._session.reading() as context:
            found = log.history(context, table=table, key=key, since=since)
            return list(itertools.islice(found, limit))

    def diff(self, before: Version, after: Version | None = None, *, table: str | None = None) -> Diff:
        """What has changed from one version to another. Its cost follows the change, not the size of the data.

        In a view rows are matched by key and event time, in a table by key. Rows only in `after` are added, only in `before` removed; a row
        that stands for another one with the same key and time (an upsert) is changed.

        Parameters
        ----------
        before, after : snapshot, branch, commit or time
            `after` is where this handle stands unless given.
        table : str, optional
            Only this view or table.

        Returns
        -------
        Diff
            Printed, and as `summary()`, it shows counts; `diff["weather"].added`, `.removed` and `.changed` are tables.
        """
        with self._session.reading() as context:
            places = [self._place(context, before), context if after is None else self._place(context, after)]
            return compute_diff(places[0], places[1], table)

    def _place(self, context: ReadContext, version: Version) -> ReadContext:
        commit = versions.resolve(context.reader, context.scope, version)
        return context.at(versions.scope_of(context.reader, commit))

    def merge(
        self, version: Version, *, strategy: Strategy = None, fast_forward: bool = True, message: str = "", author: str = ""
    ) -> Commit:
        """Bring what another branch has changed into this one: rows, deletes, definitions and online values, in one commit.

        If nothing was committed here since the other began, this branch moves to the other's newest commit, whatever the size (a
        fast-forward; no commit is made), unless window views keep tiles here, which must follow each row. Otherwise rows are merged
        three ways, by key, event time and `created`: what one side changed is taken, of a row that both changed each cell. Rows keep
        their `created`.

        Parameters
        ----------
        version : str, datetime or Commit
            A branch, or any version.
        strategy : None, "ours", "theirs" or dict, optional
            What to do where both changed a cell differently, or one changed a row that the other deleted. None: refuse. "ours", "theirs":
            that side's. A dict says it by column ("temp", "weather:temp", or "*" for all others and for whole rows): a side, or a
            function of (base, ours, theirs) that gives the value.
        fast_forward : bool
            False: always make a merge commit.

        Returns
        -------
        Commit
            The merge commit; after a fast-forward the newest commit of the other.

        Raises
        ------
        MergeConflictError
            Its `conflicts` is a table of them; nothing was changed.
        """
        self._session.require_outside("merge")
        author = author or user()
        return merge.merge(self._session, version, strategy, author=author, message=message, fast_forward=fast_forward)

    def rollback(self, to: Version, *, message: str = "", author: str = "") -> Commit:
        """Move this branch back to one of its versions; online values follow in the same transaction. Costs what has changed since.

        What came after is seen no more, but stays readable by commit id for 14 days: `reflog` tells where the branch stood,
        and `store.branch("rescue", at=commit_id)` brings it back. Snapshots keep what they name for good.

        Raises
        ------
        ReadOnlyError
            The branch is protected.
        UnknownVersionError, UsageError
            There is no such version, or it is not part of this branch.
        """
        self._session.require_outside("rollback")
        with self._session.writing() as context:
            return branches.roll_back(context, self._session.branch, to, author=author or user(), message=message)

    def revert(self, commit: Version, *, strategy: Strategy = None, message: str = "", author: str = "") -> Commit:
        """Undo what one commit did, with a new commit on top; what came after it stays. Online values follow.

        Rows changed since are conflicts: `strategy` as in `merge`; "ours" is what is here now, "theirs" what was before the commit.
        Definitions are taken back too; rows written since that hold values of a feature, or belong to a view, that would go are
        conflicts. Older versions see all they saw; a revert of the revert brings values back.

        Raises
        ------
        MergeConflictError
            Its `conflicts` is a table of them; nothing was changed.
        DefinitionError
            A service or another view is made from what would be taken back.
        UsageError
            The commit is not part of this branch.
        """
        self._session.require_outside("revert")
        return merge.revert(self._session, commit, strategy, author=author or user(), message=message)

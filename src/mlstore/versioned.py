"""What a store can do with its versions: name them, go back to them, branch, compare, merge, undo. The other half of `Store`."""

import getpass
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any, Self

from mlstore.engine import branches, log, merge, versions
from mlstore.engine.branches import Branch, RefMove
from mlstore.engine.diff import Diff
from mlstore.engine.diff import diff as compute_diff
from mlstore.engine.session import ReadContext, Session
from mlstore.engine.threeway import Strategy
from mlstore.engine.transacting import Transaction
from mlstore.format.manifest import Commit

Version = str | date | Commit


class Versioned:
    """A handle that stands on a branch, or at a version."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # -- versions ------------------------------------------------------------------------------------------------------

    def snapshot(self, name: str, *, message: str = "") -> Commit:
        """Name the version of now, for good. Costs one small record, whatever the size of the data.

        Raises
        ------
        AlreadyExistsError
            The name is taken; snapshots never move.
        """
        self._session.require_outside("snapshot")
        with self._session.writing() as context:
            return versions.create_tag(context.writer, context.scope, name, message=message, now_us=context.now_us)

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
        fast-forward; no commit is made). Otherwise rows are merged three ways, by key, event time and `created`: what one side changed
        is taken, of a row that both changed each cell. Rows keep their `created`.

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
        author = author or current_user()
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
            return branches.roll_back(context, self._session.branch, to, author=author or current_user(), message=message)

    def revert(self, commit: Version, *, strategy: Strategy = None, message: str = "", author: str = "") -> Commit:
        """Undo what one commit did, with a new commit on top; what came after it stays. Online values follow.

        Rows changed since are conflicts: `strategy` as in `merge`; "ours" is what is here now, "theirs" what was before the commit.
        """
        self._session.require_outside("revert")
        return merge.revert(self._session, commit, strategy, author=author or current_user(), message=message)

    # -- branches ------------------------------------------------------------------------------------------------------

    @property
    def branch_name(self) -> str:
        """The branch this handle stands on, or stood on when it went back to a version."""
        return self._session.branch

    def branch(self, name: str, *, at: Version | None = None, message: str = "", author: str = "") -> Self:
        """A new branch: a writable line of its own, with its own online values, that begins with everything this one has.

        Costs one small record, whatever the size of the data; with `at`, also what has changed since then, for the online values.
        What either of the two writes, deletes or applies from now on, the other does not see. Open it again with `checkout`.

        Parameters
        ----------
        name : str
        at : snapshot, commit or time, optional
            Where it begins; at the newest commit unless given.

        Returns
        -------
        Store
            Standing on the branch.

        Raises
        ------
        AlreadyExistsError
            There is a branch or snapshot of this name.
        """
        self._session.require_outside("branch")
        with self._session.on(self._session.branch).writing() as context:
            here = context.scope if self._session.past is None else self._session.past
            commit = versions.newest(context.writer, here) if at is None else versions.resolve(context.writer, here, at)
            branches.create_branch(context, name, commit, author=author or current_user(), message=message)
        return self.checkout(name)

    def checkout(self, name: str) -> Self:
        """A handle on a branch. It follows the branch wherever that moves."""
        self._session.require_outside("checkout")
        session = self._session.on(name)
        with session.reading():
            return type(self)(session)

    def branches(self) -> list[Branch]:
        """All branches by name."""
        with self._session.reading() as context:
            return branches.list_branches(context.reader)

    def rename_branch(self, name: str, new_name: str, *, author: str = "") -> None:
        """Give a branch another name; handles on the old one find no branch any more."""
        self._session.require_outside("rename_branch")
        with self._session.writing() as context:
            branches.rename_branch(context, name, new_name, author=author or current_user())

    def delete_branch(self, name: str, *, author: str = "") -> None:
        """Take a branch's name away. Its commits stay readable by id for a grace period (14 days); `reflog` tells its last head.

        Raises
        ------
        ReadOnlyError
            The branch is protected.
        """
        self._session.require_outside("delete_branch")
        with self._session.writing() as context:
            branches.delete_branch(context, name, author=author or current_user())

    def protect_branch(self, name: str, *, protected: bool = True) -> None:
        """Refuse, or allow again, to delete, rename or roll back a branch. It can be written and merged into all the same."""
        self._session.require_outside("protect_branch")
        with self._session.writing() as context:
            branches.protect_branch(context, name, is_protected=protected)

    def reflog(self, *, limit: int | None = None) -> list[RefMove]:
        """What was done to branches, newest first: made, renamed, deleted, moved by rollback or merge; with the head before and after."""
        with self._session.reading() as context:
            return list(itertools.islice(branches.reflog(context.reader), limit))

    # -- transactions --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self, *, message: str = "", author: str = "") -> Iterator[Self]:
        """Several writes, deletes and applies in one commit, all or nothing: `with store.transaction(message=...) as tx: tx.write(...)`.

        `tx` is a store that sees what it wrote so far. An error that leaves the block undoes everything. Others go on reading what was
        committed before; their writes wait. What is written must fit in memory. The steps return commits without an id: there
        is one commit, made at the end, and none if nothing was done.

        Yields
        ------
        Store

        Raises
        ------
        UsageError
            This thread is writing already, or a step failed half-way and its error was swallowed.
        """
        transaction = Transaction(self._session, author=author or current_user(), message=message)
        with transaction as session:
            yield type(self)(session)


def current_user() -> str:
    """Who is named as the author unless one is given."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user: a container with a bare number
        return ""

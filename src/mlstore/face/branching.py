"""Branching: writable lines of their own, and several steps in one commit."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Self

from mlstore.engine import versions
from mlstore.engine.branching import branches
from mlstore.engine.branching.branches import Branch, RefMove
from mlstore.engine.writing.transacting import Transaction
from mlstore.face.base import Face, user
from mlstore.format.manifest import Commit

Version = str | date | Commit


class Branching(Face):
    """Where a handle stands, and what it does at one stroke."""

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
            branches.create_branch(context, name, commit, author=author or user(), message=message)
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
            branches.rename_branch(context, name, new_name, author=author or user())

    def delete_branch(self, name: str, *, author: str = "") -> None:
        """Take a branch's name away. Its commits stay readable by id for a grace period (14 days); `reflog` tells its last head.

        Raises
        ------
        ReadOnlyError
            The branch is protected.
        """
        self._session.require_outside("delete_branch")
        with self._session.writing() as context:
            branches.delete_branch(context, name, author=author or user())

    def protect_branch(self, name: str, *, protected: bool = True, author: str = "") -> None:
        """Refuse, or allow again, to delete, rename or roll back a branch. It can be written and merged into all the same."""
        self._session.require_outside("protect_branch")
        with self._session.writing() as context:
            branches.protect_branch(context, name, is_protected=protected, author=author or user())

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
        transaction = Transaction(self._session, author=author or user(), message=message)
        with transaction as session:
            yield type(self)(session)

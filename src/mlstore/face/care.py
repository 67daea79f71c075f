"""Care: how the file is, whether it is whole, and keeping it so."""

import os
from datetime import date, timedelta
from typing import Any, Literal, overload

import pyarrow as pa

from mlstore.engine import audit
from mlstore.engine.keeping import compacting, copying, forgetting, freshness, inspection, optimizing, retaining, sizes
from mlstore.engine.writing.backfilling import backfill
from mlstore.engine.writing.ingest import Progress
from mlstore.errors import CorruptionError, UsageError
from mlstore.face.base import Face, check_choice, user
from mlstore.format.manifest import Commit
from mlstore.schema.durations import parse_duration
from mlstore.schema.entity import Entity
from mlstore.schema.table import Table
from mlstore.schema.window_view import WindowView


class Care(Face):
    """What keeps the file well."""

    def info(self) -> dict[str, Any]:
        """Sizes, counts and time ranges of the file and of each view and table; under "online" what `freshness` tells."""
        with self._session.reading() as context:
            measured = freshness.measure_freshness(context, self._session.meter, None, self._session.clock_us() * 1000)
            return inspection.describe(context) | {"online": freshness.describe_freshness(measured)}

    def version_sizes(self) -> pa.Table:
        """What each branch and snapshot holds, and what it costs to keep it. Looks at the clocks of all rows.

        Returns
        -------
        pyarrow.Table
            version, kind ("branch" or "snapshot"), commit, rows; logical_bytes: of all its rows; exclusive_bytes: of the rows that no
            other branch or snapshot shows. Rows are counted as they lie in their segments, so a column that several segments
            share (`info()["shared_bytes"]`) counts in each of them.
        """
        with self._session.reading() as context:
            return sizes.measure_versions(context)

    def verify(self, *, trusted_head: str | Commit | None = None) -> inspection.VerifyReport:
        """Prove the file whole: pages, commits, the audit, every checksum, counts, and that online values equal the history.

        Parameters
        ----------
        trusted_head : str or Commit, optional
            The id of a commit or audit entry kept outside the file. Proves that it led to this version, and that neither it nor anything
            before it was changed, removed or inserted since. Sealed versions are read, and their rows compared with the seal.

        Raises
        ------
        CorruptionError
            Something is wrong; the message lists what.
        """
        self._session.require_outside("verify")
        with self._session.reading() as context:
            report = inspection.verify(context, trusted_head=trusted_head)
        if report.problems:
            raise CorruptionError("; ".join(report.problems), hint="restore a backup; read what can still be read first")
        return report

    def audit(self, *, since: str | date | Commit | None = None) -> pa.Table:
        """Who did what to the file, and when: every commit of every branch and every act on a name, in the order of doing.

        Each entry has an id, the hash of all it says and of the ids of its `parents`, so no entry can be changed, removed or inserted
        without changing every later id. Keep an id outside the file and give it to `verify(trusted_head=)` to prove it.

        Parameters
        ----------
        since : str, date or Commit, optional
            Only what was done after this version.

        Returns
        -------
        pyarrow.Table
            seq, time, author, action ("commit", "snapshot", "branch rollback", ...), subject, rows, the commit `before` and `after`,
            message, id, parents.
        """
        with self._session.reading() as context:
            return audit.read_audit(context, since=since)

    @overload
    def optimize(
        self, *, table: str | None = None, tier: optimizing.Tier | None = None, dry_run: Literal[False] = False
    ) -> dict[str, Any]: ...
    @overload
    def optimize(self, *, table: str | None = None, tier: optimizing.Tier | None = None, dry_run: Literal[True]) -> pa.Table: ...
    def optimize(
        self, *, table: str | None = None, tier: optimizing.Tier | None = None, dry_run: bool = False
    ) -> dict[str, Any] | pa.Table:
        """Do now what the write path would do in time: seal tails, merge segments, let expired rows go, free space.

        In transactions of bounded size, so that others write in between; readers never wait.

        Parameters
        ----------
        table : str, optional
            Only this view or table.
        tier : {"hot", "cold"}, optional
            Move its segments: "cold" packs them with zstd (small), "hot" stores them raw (zero-copy).
        dry_run : bool
            Only tell what there is to do.

        Returns
        -------
        dict, or pyarrow.Table with `dry_run`
            What was done: rows sealed, moved and expired, segments freed. Or what there is to do, a row for each view and table: name,
            tail_rows (to be sealed), runs and segments as they are, rows_to_move (as often as they would be), rows_to_expire; not
            what a branch takes over from lines it has left behind.
        """
        if tier is not None:
            check_choice("tier", tier, ("hot", "cold"))
        if dry_run:
            return optimizing.foresee(self._session, table=table, tier=tier)
        self._session.require_outside("optimize")
        return optimizing.optimize(self._session, table=table, tier=tier, author=user())

    def backfill(self, view: WindowView | str, *, progress: Progress | None = None) -> int:
        """Make the tiles of a window view from the events there are, so that its online reads cost the same however many events there are.

        A view is answered right without tiles too, from the events themselves; once filled in, tiles follow every write. They are left
        behind, and no longer read until filled in again, by loads of very many rows at once and by merges; branches and versions have
        none. Works in transactions of bounded size, goes on where it was interrupted, and does nothing where nothing is left to do.
        `optimize` does it for all views.

        Parameters
        ----------
        view : WindowView or str
            The window view.
        progress : callable, optional
            Called with (keys filled in so far, None).

        Returns
        -------
        int
            How many keys were filled in.
        """
        return backfill(self._session, view if isinstance(view, str) else view.name, progress)

    def forget(
        self, entity: Entity | Table | str, keys: Any, *, compact: bool = False, message: str = "", author: str = ""
    ) -> forgetting.ForgetReport:
        """Erase all rows of some keys: from every view of the entity, every version and branch, online and offline, for good.

        The events that window views of the entity are worked out from are among them: all rows whose key begins with a named one.

        No version sees the rows any more once the commit is made; then the segments that held them are written anew, and the result
        is proved by a scan. Versions stay as they were for all other keys. The commit tells how many rows were erased from where, and
        nothing of what they were. Interrupted, the rest of the rewriting is done by the next `forget` or `optimize`.

        The bytes lie in free pages of the file until the file is compacted, and in segments that arrays still show until those are gone.
        Not touched: backups, rows of other tables that are not named, columns of other entities that hold the key as a value, and
        the digests of earlier commits, which are hashes of what they wrote or deleted.

        Parameters
        ----------
        entity : Entity, Table or str
            An entity, whose views and events are all searched, or a table with a key.
        keys : dict or table
            Key columns and their values; several columns pair up row by row.
        compact : bool
            Also give the freed pages back, see `compact`: it takes being alone with the file.
        message, author : str, optional
            Kept in the commit for good: do not name the keys there.

        Returns
        -------
        ForgetReport
            `commit`, `rows` by view, `segments_rewritten`, `segments_held`, `compacted`; `skipped`: views of another branch where the
            entity has another key.

        Raises
        ------
        UnknownNameError, SchemaMismatchError
            Nothing was erased.
        StoreBusyError
            The rows are erased, but another process has the file open, so it was not compacted.
        """
        self._session.require_outside("forget")
        return forgetting.forget(self._session, entity, keys=keys, author=author or user(), message=message, then_compact=compact)

    def retain(
        self,
        *,
        last: int | None = None,
        within: str | timedelta | None = None,
        dry_run: bool = False,
        message: str = "",
        author: str = "",
    ) -> retaining.RetainReport:
        """Let old versions go, and the rows that only they saw: those deleted or replaced since.

        Of each branch the newest `last` commits stay readable, and those made `within` a span of time; where both are given, what either
        keeps. Always stay: the newest commit of a branch, snapshots, where branches began, what a branch left behind in the last 14 days,
        and what later merges compare with. `at`, `diff`, `branch`, `rollback` and `revert` refuse a version that was let go, and so does a
        handle that stands on it; `history` and `audit` tell of its commit all the same.

        The segments that hold such rows are written anew, unless they are few, in transactions of bounded size; readers and writers go on
        meanwhile. Interrupted, the rest is done by the next `optimize`. The file gives the room back with `compact`.

        Parameters
        ----------
        last : int, optional
            At least 1.
        within : str or timedelta, optional
            Such as "30d".
        dry_run : bool
            Change nothing, and tell what would go.

        Returns
        -------
        RetainReport
            `versions_kept`, `versions_dropped`, `rows` by table, `segments_rewritten`, `segments_held`.

        Raises
        ------
        UsageError
            Neither `last` nor `within` is given, or `last` is below 1.
        """
        if last is None and within is None:
            raise UsageError("retain() was told of no versions to keep", hint='give last=, within=, or both: retain(last=10, within="30d")')
        if last is not None and (isinstance(last, bool) or not isinstance(last, int) or last < 1):
            raise UsageError(f"last={last!r}", hint="1 or more: the newest commit of a branch stays always")
        within_us = None if within is None else parse_duration(within, what="within") // 1000
        self._session.require_outside("retain")
        policy = retaining.Policy(last or 1, within_us)
        return retaining.retain(self._session, policy, dry_run=dry_run, author=author or user(), message=message)

    def compact(self) -> compacting.CompactReport:
        """Write the file anew at the size of what lives in it, and put it in the place of the old one at one stroke.

        A file never shrinks by itself: what was freed is kept for later writes. Whatever moment the machine stops at, the path names
        the old file or the new one, whole. It takes as much room on the disk as the new file while it is made.

        All handles of this process see the new file. Arrays that were read stay valid: the old file lives on without a name, and
        keeps its room on the disk, until the last of them is gone. Processes that open the store meanwhile wait.

        Returns
        -------
        CompactReport
            `bytes_before`, `bytes_after`, `bytes_freed`.

        Raises
        ------
        StoreBusyError
            Another process has the store open; nothing was done.
        ReadOnlyError, StoreFullError
        """
        self._session.require_outside("compact")
        return compacting.compact(self._session)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the store, as of now and without gaps, to a new file, while others read and write.

        The copy is as small as `compact` would make it, and verified like `verify` does before it gets its name.

        Raises
        ------
        AlreadyExistsError
            There is a file of that name; a copy never replaces one.
        CorruptionError
            The copy, and so the store, is not whole; no file was made.
        StoreFullError
        """
        self._session.require_outside("backup")
        copying.backup(self._session, path)

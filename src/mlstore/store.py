"""The store: one object over one file. Each method hands straight on to the journey that does the work."""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import date
from types import TracebackType
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc

from mlstore.engine import deleting, explain, ingest, inspection, optimizing, reading, registration, serving, training, versions
from mlstore.engine.catalog import CatalogEntry, Definition, search_catalog
from mlstore.engine.ingest import Mode, Progress
from mlstore.engine.selection import Features
from mlstore.engine.session import Session
from mlstore.errors import CorruptionError, UsageError
from mlstore.format.manifest import Commit, Ref
from mlstore.schema.timestamps import instant_ns
from mlstore.storage.environment import Environment
from mlstore.version import __version__
from mlstore.versioned import Versioned, current_user

TimeLike = str | date


class Store(Versioned):
    """A store, open in this process; made by `mlstore.open`. Safe to share between threads; reopens itself after a fork.

    Examples
    --------
    >>> import mlstore as ml
    >>> store = ml.open(":memory:")
    >>> user = ml.Entity("user", keys={"user_id": ml.int64})
    >>> spend = ml.FeatureView("spend", entity=user, schema={"amount": ml.float64})
    >>> print(store.apply(user, spend))
    + create      entity  user
    + create      view    spend
    >>> _ = store.write("spend", {"user_id": [7, 7], "event_timestamp": ["2024-05-01", "2024-05-03"], "amount": [1.5, 4.0]})
    >>> store.online_features(["spend"], {"user_id": 7})
    {'user_id': 7, 'amount': 4.0}
    >>> labels = {"user_id": [7], "event_timestamp": ["2024-05-02"]}
    >>> store.training_set(labels, ["spend"])["amount"].to_pylist()
    [1.5]
    """

    # -- definitions ---------------------------------------------------------------------------------------------------

    def plan(self, *definitions: Definition) -> registration.Plan:
        """What `apply` would change, without changing it.

        Parameters
        ----------
        *definitions : Entity, FeatureView, Table, FeatureService
            In any order. What they refer to must be among them or registered already.

        Returns
        -------
        Plan
            Its `changes` say for each definition: create, evolve, new_version or unchanged. True if anything changes.

        Raises
        ------
        DefinitionError, UnknownNameError, AlreadyExistsError
            Where `apply` would.
        """
        with self._session.reading() as context:
            steps = registration.plan_registration(context.catalog, definitions)
        return registration.Plan(tuple(step.change for step in steps))

    def apply(self, *definitions: Definition, message: str = "", author: str = "") -> registration.Plan:
        """Register definitions, or evolve them; all or nothing, and nothing at all if all are as they were.

        Added features, wider numbers, and changes of description, owner, tags, ttl or retention happen in place: old data
        stays readable, added features read as null in it. Any other change makes a new version of the view (`weather@2`), which
        starts empty; the old one stays readable under its number.

        Returns
        -------
        Plan
            What was changed.
        """
        with self._session.reading() as context:
            if not any(step.entry for step in registration.plan_registration(context.catalog, definitions)):
                return self.plan(*definitions)
        with self._session.writing() as writing:
            steps = registration.plan_registration(writing.catalog, definitions)
            return registration.apply_registration(writing, steps, author=author or current_user(), message=message)

    def catalog(
        self, search: str | None = None, *, tag: str | None = None, owner: str | None = None, kind: str | None = None
    ) -> list[CatalogEntry]:
        """The definitions, latest revision of each version.

        Parameters
        ----------
        search : str, optional
            Only those whose name, description, features or tags contain this text, whatever the case.
        tag : str, optional
            Only those with this tag: "tier", or "tier=gold".
        owner, kind : str, optional
            Only those of this owner; of this kind: entity, view, table, service.
        """
        with self._session.reading() as context:
            return search_catalog(context.catalog, search, tag=tag, owner=owner, kind=kind)

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(
        self,
        name: str,
        data: Any,
        *,
        mode: Mode = "append",
        message: str = "",
        author: str = "",
        progress: Progress | None = None,
    ) -> Commit:
        """Write rows to a view or table: online values, history, change feed and version in one commit, all or nothing.

        Parameters
        ----------
        name : str
            A view or table: "weather", or an older version of it, "weather@1".
        data : Arrow table or stream, pandas, polars, dict of columns, list of dicts, dict
            Columns by name: the keys, the time columns, the features. Naive times are UTC. A stream is read piece by piece, so it
            may be larger than memory.
        mode : {"append", "upsert"}
            "append" adds rows; of equal (key, event time, created) the later written wins. "upsert" replaces: in a view the rows of
            the same key and event time, in a table with a key the rows of the same key.
        message, author : str, optional
            Kept in the commit. The author is the user of the process unless given.
        progress : callable, optional
            Called with (rows done, rows in all or None) during a large write.

        Returns
        -------
        Commit

        Raises
        ------
        SchemaMismatchError, InvalidDataError
            The data does not fit; nothing was written.
        UnknownNameError, ReadOnlyError, StoreFullError
        """
        _check_choice("mode", mode, ("append", "upsert"))
        return ingest.write(self._session, name, data, mode=mode, author=author or current_user(), message=message, progress=progress)

    def delete(
        self,
        name: str,
        *,
        keys: Any = None,
        where: pc.Expression | None = None,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        message: str = "",
        author: str = "",
    ) -> Commit:
        """Delete rows from this commit on: by key, by event time in [start, end), by a filter, or by all of them together.

        Versions before the delete still see the rows.

        Parameters
        ----------
        keys : dict or table, optional
            Key columns and their values; several columns pair up row by row.
        where : pyarrow.compute.Expression, optional
            Over the columns that `read` gives.
        """
        return deleting.delete(
            self._session, name, keys=keys, where=where, start=start, end=end, author=author or current_user(), message=message
        )

    # -- reading -------------------------------------------------------------------------------------------------------

    def online_features(
        self,
        features: Features,
        keys: Any,
        *,
        now: TimeLike | None = None,
        full_names: bool = False,
        status: bool = False,
    ) -> Any:
        """The newest features of one key or of many, all views at one consistent point.

        Parameters
        ----------
        features : list of "view", "view:feature", "view@2:feature", FeatureView; or a FeatureService or its name
        keys : dict of values, or dict of columns or table
            The key columns of all entities concerned. Values ask for one key, columns for many.
        now : datetime or str, optional
            The time against which `ttl` is measured; the clock's unless given.
        full_names : bool
            Name outputs `view__feature` always, not only where a bare name would be ambiguous.
        status : bool
            Add per view: `view__status` (PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_TTL), `view__event_timestamp` (of the row that won)
            and `view__valid_to` (until when it stays the answer: the next row's event time or the end of the ttl; null: no end).

        Returns
        -------
        dict or pyarrow.Table
            The keys, then the features; a table has one row per row of keys, in their order, unknown keys as nulls.
        """
        now_ns = self._session.clock_us() * 1000 if now is None else instant_ns(now)
        with self._session.reading() as context:
            return serving.online_features(context, features, keys, serving.Ask(now_ns, full_names, status))

    def training_set(
        self,
        labels: Any,
        features: Features,
        *,
        timestamp: str = "event_timestamp",
        known_at: training.KnownAt = None,
        full_names: bool = False,
        status: bool = False,
    ) -> pa.Table:
        """The labels, each with the features as they were at its time: one output row per label row, in the same order.

        For a label with key k at time t the candidates are the rows of k with event time <= t (< t if the view's boundary is
        strict), not older than the view's ttl, and known by `known_at`; the greatest (event time, created, order of writing) wins,
        and its values are given as they are. No candidate: nulls. A label with a null key or time gets nulls.

        Parameters
        ----------
        labels : table, pandas, polars, dict of columns, list of dicts
            The key columns of all entities concerned, a time column, and whatever else; passed through unchanged.
        features
            As in `online_features`.
        timestamp : str
            The labels' time column.
        known_at : None, "label", datetime or str
            None: rows count whenever they became known, backfills included, which may leak the future. "label": only rows
            known (`created`) at the label's time. A time: only rows known by then.
        full_names, status : bool
            As in `online_features`.

        Returns
        -------
        pyarrow.Table
            Its schema metadata holds `mlstore.version` (commit id), `mlstore.features` and `mlstore.fingerprint`.
        """
        options = training.Options(timestamp, known_at, full_names, status)
        with self._session.reading() as context:
            return training.training_set(context, labels, features, options)

    def explain(
        self, label: Mapping[str, Any], feature: str, *, timestamp: str = "event_timestamp", known_at: training.KnownAt = None
    ) -> explain.Explanation:
        """Why one cell of a training set holds what it holds: the rows of its key, and why each won or lost."""
        with self._session.reading() as context:
            return explain.explain(context, label, feature, timestamp=timestamp, known_at=known_at)

    def read(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        as_of: TimeLike | None = None,
    ) -> reading.Rows:
        """The history rows of a view or table, without copying what is stored raw.

        Parameters
        ----------
        columns : list of str, optional
            Which columns; all unless given: keys, event time, created, features.
        where : pyarrow.compute.Expression, optional
            A filter; blocks that it cannot match are not read.
        start, end : datetime or str, optional
            Event times in [start, end).
        as_of : datetime or str, optional
            Instead of all rows, the winning row of every key at this time.

        Returns
        -------
        Rows
            Behaves as the `pyarrow.Table`; `batches()` streams. Arrays stay valid after later writes, deletes and `close()`.
        """
        return reading.read(self._session, name, columns=columns, where=where, start=start, end=end, as_of=as_of)

    # -- care ----------------------------------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Sizes, counts and time ranges of the file and of each view and table."""
        with self._session.reading() as context:
            return inspection.describe(context)

    def verify(self) -> inspection.VerifyReport:
        """Prove the file whole: pages, commits, every checksum, counts, and that online values equal the history.

        Raises
        ------
        CorruptionError
            Something is wrong; the message lists what.
        """
        self._session.require_outside("verify")
        with self._session.reading() as context:
            report = inspection.verify(context)
        if report.problems:
            raise CorruptionError("; ".join(report.problems), hint="restore a backup; read what can still be read first")
        return report

    def optimize(self, *, table: str | None = None, tier: optimizing.Tier | None = None) -> dict[str, Any]:
        """Do now what the write path would do in time: seal tails, merge segments, let expired rows go, free space.

        Parameters
        ----------
        table : str, optional
            Only this view or table.
        tier : {"hot", "cold"}, optional
            Move its segments: "cold" packs them with zstd (small), "hot" stores them raw (zero-copy).
        """
        self._session.require_outside("optimize")
        if tier is not None:
            _check_choice("tier", tier, ("hot", "cold"))
        return optimizing.optimize(self._session, table=table, tier=tier, author=current_user())

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the store, as of now and without gaps, to a new file, while others read and write."""
        self._session.require_outside("backup")
        self._session.environment.copy_to(path)

    @property
    def path(self) -> str:
        """The file."""
        return self._session.environment.path

    def close(self) -> None:
        """Let go of the file. Arrays that were read stay valid."""
        self._session.require_outside("close")
        self._session.environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        branch, place = self._session.branch, self._session.place
        shown = f" at {place}" if place else f" on {branch}" if branch != versions.MAIN else ""
        return f"<mlstore.Store {self.path}{shown}>"

    def __reduce__(self) -> tuple[Any, ...]:
        session = self._session
        session.require_outside("pickling the handle")
        return _reopen, (session.environment, session.branch, session.past, session.place)


def open(
    path: str | os.PathLike[str],
    *,
    branch: str = versions.MAIN,
    read_only: bool = False,
    durability: Literal["full", "normal"] = "full",
) -> Store:
    """Open a store, and create it if there is none.

    Parameters
    ----------
    path : str or path
        The file; ":memory:" for a store that vanishes when closed. A small `<file>-lock` beside it coordinates processes.
    branch : str
        Where to stand; it must exist.
    read_only : bool
        Refuse to write through this handle; the file must exist.
    durability : {"full", "normal"}
        "full": what a call has written survives a power cut once it returns. "normal": faster; a power cut may lose the last
        commits, and never corrupts.

    Raises
    ------
    NotAStoreError, FormatVersionError, StoreError, UnknownVersionError
    """
    _check_choice("durability", durability, ("full", "normal"))
    environment = Environment.open(path, read_only=read_only, durability=durability, writer_version=__version__)
    try:
        return Store(_session(environment, branch))
    except BaseException:
        environment.close()
        raise


def _session(environment: Environment, branch: str) -> Session:
    with environment.reader() as reader:
        is_new = versions.find_ref(reader, versions.MAIN) is None
    if is_new and not environment.is_read_only:
        with environment.writer() as writer:
            if versions.find_ref(writer, versions.MAIN) is None:
                scope = versions.create_line(writer, ())
                versions.put_ref(writer, versions.MAIN, Ref("branch", scope.line, 0, "", _clock_us(), ""))
    with environment.reader() as reader:
        versions.branch_ref(reader, branch)
    return Session.begin(environment, branch, _clock_us)


def _reopen(environment: Environment, branch: str, past: versions.Scope | None, place: str) -> Store:
    return Store(Session.begin(environment, branch, _clock_us, past=past, place=place))


def _clock_us() -> int:
    return time.time_ns() // 1000


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name}={value!r}", hint=f"choose {' or '.join(map(repr, choices))}")

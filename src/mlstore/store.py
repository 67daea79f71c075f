"""The store: one object over one file, put together from the parts of its face."""

import os
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Literal, Self

from mlstore.engine import versions
from mlstore.engine.keeping import forensics, salvaging
from mlstore.engine.keeping.forensics import DumpedRecord
from mlstore.engine.keeping.salvaging import SalvageReport
from mlstore.engine.session import Session
from mlstore.face.asking import Asking
from mlstore.face.base import check_choice
from mlstore.face.branching import Branching
from mlstore.face.care import Care
from mlstore.face.definitions import Definitions
from mlstore.face.mirroring import Mirroring
from mlstore.face.online import Online
from mlstore.face.versioning import Versioning
from mlstore.face.writing import Writing
from mlstore.format.manifest import Ref
from mlstore.storage.environment import Environment
from mlstore.version import __version__


class Store(Definitions, Writing, Online, Asking, Versioning, Branching, Care, Mirroring):
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
    untrusted: bool = False,
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
    untrusted : bool
        For a file from a stranger: first look at every page without mapping the file, then `verify` all that stands in it, and refuse
        it if anything is wrong. Takes as long as reading the whole file. Nobody else may write to the file meanwhile or afterwards.

    Raises
    ------
    NotAStoreError, FormatVersionError, StoreError, UnknownVersionError
    CorruptionError
        The file was cut short; or it is untrusted, and anything in it is wrong.
    """
    check_choice("durability", durability, ("full", "normal"))
    environment = Environment.open(path, read_only=read_only, durability=durability, writer_version=__version__, is_trusted=not untrusted)
    try:
        store = Store(_session(environment, branch))
        if untrusted:
            store.verify()
        return store
    except BaseException:
        environment.close()
        raise


def salvage(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> SalvageReport:
    """Take everything that can be read out of a damaged file into a fresh one; the damaged file is only read, page by page.

    History, snapshots and branches come along as far as they are whole. A segment with a damaged column keeps its other columns, the
    damaged one reads as nulls. Online values are taken from the history anew.

    Parameters
    ----------
    path : str or path
        The damaged file. Nobody should write to it meanwhile.
    out : str or path
        The new file; it must not exist.

    Returns
    -------
    SalvageReport
        `records` taken over, `rows` by view and table, what was `lost`, and the `problems` that `verify` still finds in the new file.

    Raises
    ------
    NotAStoreError
        Nothing in the file can be read as a store; no new file was made.
    AlreadyExistsError
        There is a file at `out`.
    """
    return salvaging.salvage(path, out, writer_version=__version__, clock_us=_clock_us)


def dump(path: str | os.PathLike[str], keyspace: str | None = None) -> Iterator[DumpedRecord]:
    """Every record of a file, whole or damaged, taken apart: for forensics. The file is only read, page by page, and never mapped.

    Parameters
    ----------
    path : str or path
        The file. Nobody should write to it meanwhile.
    keyspace : str, optional
        Only one of the named databases of docs/format.md, such as "commits", "segments" or "tail".

    Returns
    -------
    iterator of DumpedRecord
        `keyspace`, `key`, `value`, `size_bytes`, `is_readable`; at the end, with an empty keyspace, what could not be read.

    Raises
    ------
    UnknownNameError, NotAStoreError
    """
    return forensics.dump(path, keyspace)


def _session(environment: Environment, branch: str) -> Session:
    with environment.reader() as reader:
        is_new = versions.find_ref(reader, versions.MAIN) is None
    if is_new and not environment.is_read_only:
        with environment.writer() as writer:
            if versions.find_ref(writer, versions.MAIN) is None:
                scope = versions.create_line(writer, None)
                versions.put_ref(writer, versions.MAIN, Ref("branch", scope.line, 0, "", _clock_us(), ""))
    with environment.reader() as reader:
        versions.branch_ref(reader, branch)
    return Session.begin(environment, branch, _clock_us)


def _reopen(environment: Environment, branch: str, past: versions.Scope | None, place: str) -> Store:
    return Store(Session.begin(environment, branch, _clock_us, past=past, place=place))


def _clock_us() -> int:
    return time.time_ns() // 1000

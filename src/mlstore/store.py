"""The store: one object over one file, put together from the parts of its face."""

import os
import time
from types import TracebackType
from typing import Any, Literal, Self

from mlstore.engine import versions
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
    check_choice("durability", durability, ("full", "normal"))
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

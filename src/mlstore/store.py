"""The store: one object over one file, put together from the parts of its face."""

import os
import time
from types import TracebackType
from typing import Any, Literal, Self

from mlstore.engine import versions
from mlstore.engine.session import Session
from mlstore.face.asking import Asking
from mlstore.face.base import check_choice
from mlstore.face.care import Care
from mlstore.face.definitions import Definitions
from mlstore.face.online import Online
from mlstore.face.versioning import Versioning
from mlstore.face.writing import Writing
from mlstore.storage.environment import Environment
from mlstore.version import __version__


class Store(Definitions, Writing, Online, Asking, Versioning, Care):
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
        self._session.environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        place = self._session.place
        return f"<mlstore.Store {self.path}{place and f' at {place}'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        environment, scope = self._session.environment, self._session.scope
        return _reopen, (environment, scope, self._session.place)


def open(path: str | os.PathLike[str], *, read_only: bool = False, durability: Literal["full", "normal"] = "full") -> Store:
    """Open a store, and create it if there is none.

    Parameters
    ----------
    path : str or path
        The file; ":memory:" for a store that vanishes when closed. A small `<file>-lock` beside it coordinates processes.
    read_only : bool
        Refuse to write through this handle; the file must exist.
    durability : {"full", "normal"}
        "full": what a call has written survives a power cut once it returns. "normal": faster; a power cut may lose the last
        commits, and never corrupts.

    Raises
    ------
    NotAStoreError, FormatVersionError, StoreError
    """
    check_choice("durability", durability, ("full", "normal"))
    environment = Environment.open(path, read_only=read_only, durability=durability, writer_version=__version__)
    try:
        return Store(_session(environment))
    except BaseException:
        environment.close()
        raise


def _session(environment: Environment) -> Session:
    with environment.reader() as reader:
        is_new = reader.get(versions.REFS, versions.MAIN.encode()) is None
    if is_new and not environment.is_read_only:
        with environment.writer() as writer:
            if writer.get(versions.REFS, versions.MAIN.encode()) is None:
                versions.create_branch(writer, versions.MAIN, (), now_us=_clock_us())
    with environment.reader() as reader:
        scope = versions.branch_scope(reader, versions.MAIN)
    return Session.begin(environment, scope, _clock_us)


def _reopen(environment: Environment, scope: versions.Scope, place: str) -> Store:
    return Store(Session.begin(environment, scope, _clock_us, place=place))


def _clock_us() -> int:
    return time.time_ns() // 1000

"""Writing: rows in, rows out of sight."""

from datetime import date
from typing import Any

import pyarrow.compute as pc

from mlstore.engine.writing import deleting, ingest
from mlstore.engine.writing.appending import Pace
from mlstore.engine.writing.batch import Mode
from mlstore.engine.writing.ingest import Progress
from mlstore.engine.writing.streaming import Stream
from mlstore.face.base import Face, check_choice, user
from mlstore.format.manifest import Commit

TimeLike = str | date


class Writing(Face):
    """What changes rows."""

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
        check_choice("mode", mode, ("append", "upsert"))
        return ingest.write(self._session, name, data, mode=mode, author=author or user(), message=message, progress=progress)

    def stream(
        self,
        name: str,
        *,
        max_rows: int = 8192,
        max_seconds: float = 0.05,
        max_pending: int | None = None,
        message: str = "",
        author: str = "",
    ) -> Stream:
        """Open a stream, to append rows one by one at a high rate: many share a commit, and a receipt tells when each is durable.

        Parameters
        ----------
        name : str
            A view or table.
        max_rows : int
            Write when so many rows have come together. Whatever has become full while the last commit was made shares the next one.
        max_seconds : float
            Write so long after the first of them at the latest; at once if somebody waits for a receipt.
        max_pending : int, optional
            So many rows at most wait to be written; beyond, `append` waits. Eight times `max_rows` unless given.
        message, author : str, optional
            Kept in every commit.

        Returns
        -------
        Stream
            To be used in a `with` block, whose end writes what is left. Threads may share it.

        Raises
        ------
        UnknownNameError, ReadOnlyError
        UsageError
            This handle is inside a transaction.

        Examples
        --------
        >>> import mlstore as ml
        >>> store = ml.open(":memory:")
        >>> user = ml.Entity("user", keys={"user_id": ml.int64})
        >>> _ = store.apply(user, ml.FeatureView("spend", entity=user, schema={"amount": ml.float64}))
        >>> with store.stream("spend") as stream:
        ...     receipt = stream.append({"user_id": 7, "event_timestamp": "2024-05-01", "amount": 1.5})
        >>> receipt.result().changes[0].rows
        1
        """
        self._session.require_outside("a stream")
        pace = Pace(max_rows, max_seconds, 8 * max_rows if max_pending is None else max_pending)
        return Stream(self._session, name, pace, author=author or user(), message=message)

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
        return deleting.delete(self._session, name, keys=keys, where=where, start=start, end=end, author=author or user(), message=message)

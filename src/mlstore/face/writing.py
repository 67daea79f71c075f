"""Writing: rows in, rows out of sight."""

from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from mlstore.engine.asking.filters import Condition
from mlstore.engine.writing import consuming, deleting, ingest
from mlstore.engine.writing.appending import Pace
from mlstore.engine.writing.batch import Mode
from mlstore.engine.writing.consumers import ConsumerState, list_consumers
from mlstore.engine.writing.consuming import Pull, Refused, Source
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

    def consume(
        self,
        name: str,
        source: Source | Iterable[Any],
        *,
        into: str,
        mode: Mode = "append",
        max_rows: int = 8192,
        max_seconds: float = 0.2,
        limit: int | None = None,
        refuse: Callable[[Refused], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        message: str = "",
        author: str = "",
    ) -> ConsumerState:
        """Fetch events from a source and write each exactly once: rows and place in the source share a commit.

        Returns when the source ends. Called again under the same name, by whatever process, it goes on where its rows end, also
        after a crash, a rollback, or on a branch.

        Parameters
        ----------
        name : str
            Of the consumer; one process at a time.
        source : iterable or Source
            Rows (dicts) or batches of rows, from the beginning each time: what was taken before is passed over; None says that
            nothing is there at present. Or a source that knows positions: `mlstore.integrations.json_lines.JsonLines`,
            `mlstore.integrations.kafka.KafkaTopic`, or your own `ml.Source`.
        into : str
            A view or table.
        mode : {"append", "upsert"}
            "upsert", into a table whose key ends in the id of the event, makes events that several sources give count once.
        max_rows : int
            Rows of one commit, fewer than 16,384. A batch of an iterable stays together.
        max_seconds : float
            How long a row may wait for others.
        limit : int, optional
            Stop once at least so many rows were written.
        refuse : callable, optional
            Called with each `Refused` row, which is then passed over; after a crash perhaps again. Without it such a row ends the call,
            and nothing of its batch is written.
        should_stop : callable, optional
            Asked after each batch.
        message, author : str, optional
            Kept in every commit.

        Returns
        -------
        ConsumerState
            Position, rows and refusals since the consumer exists.

        Raises
        ------
        SchemaMismatchError, InvalidDataError
            A row does not fit, and `refuse` is not given.
        StoreBusyError
            Another process consumes under this name.
        UnknownNameError, ReadOnlyError, StoreFullError
        UsageError
            The consumer feeds another table, or this handle is inside a transaction.

        Examples
        --------
        >>> import mlstore as ml
        >>> store = ml.open(":memory:")
        >>> orders = ml.Table("orders", schema={"user_id": ml.int64, "amount": ml.float64},
        ...                   key=["user_id"], timestamp="ts")
        >>> _ = store.apply(orders)
        >>> events = [{"user_id": 7, "ts": "2024-05-01", "amount": 1.5}]
        >>> store.consume("feed", events, into="orders").rows
        1
        >>> store.consume("feed", events, into="orders").rows  # nothing new
        1
        """
        check_choice("mode", mode, ("append", "upsert"))
        pull = Pull(mode, max_rows, max_seconds, limit, refuse, should_stop, author or user(), message)
        return consuming.consume(self._session, name, into, source, pull)

    def consumers(self) -> list[ConsumerState]:
        """How far each consumer has come, as this branch or version knows it, by name."""
        with self._session.reading() as context:
            return list_consumers(context)

    def delete(
        self,
        name: str,
        *,
        keys: Any = None,
        where: Condition | None = None,
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
        where : Expression or pyarrow.compute.Expression, optional
            Over the columns that `read` gives, such as `ml.col("amount") < 0`.
        """
        return deleting.delete(self._session, name, keys=keys, where=where, start=start, end=end, author=author or user(), message=message)

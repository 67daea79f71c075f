"""Writing: rows in, rows out of sight."""

from datetime import date
from typing import Any

import pyarrow.compute as pc

from mlstore.engine import deleting, ingest
from mlstore.engine.ingest import Mode, Progress
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

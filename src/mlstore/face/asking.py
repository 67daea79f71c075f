"""Asking: features as they were, and the rows themselves."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from mlstore.engine.asking import explain, explanation, reading, reproducing, training
from mlstore.engine.asking.filters import Condition
from mlstore.engine.asking.questions import KnownAt
from mlstore.engine.asking.selection import Features
from mlstore.face.base import Face, check_choice
from mlstore.schema.durations import parse_duration

TimeLike = str | date


class Asking(Face):
    """What reads rows."""

    def training_set(
        self,
        labels: Any,
        features: Features,
        *,
        timestamp: str = "event_timestamp",
        known_at: KnownAt = None,
        ttl: str | timedelta | None = None,
        full_names: bool = False,
        status: bool = False,
        leakage: training.Leakage = "ignore",
    ) -> Any:
        """The labels, each with the features as they were at its time: one output row per label row, in the same order.

        For a label with key k at time t the candidates are the rows of k with event time <= t (< t if the view's boundary is
        strict), not older than the view's ttl, and known by `known_at`; the greatest (event time, created, order of writing) wins,
        and its values are given as they are. No candidate: nulls. A label with a null key or time gets nulls.

        Parameters
        ----------
        labels : table, pandas, polars, dict of columns, list of dicts; or pyarrow.RecordBatchReader
            The key columns of all entities concerned, a time column, and whatever else; passed through unchanged. A reader is
            answered batch by batch, in memory that does not grow with it.
        features
            As in `online_features`; `ml.ref` names other key columns, an offset in time, a prefix, a ttl.
        timestamp : str
            The labels' time column.
        known_at : None, "label", datetime or str
            None: rows count whenever they became known, backfills included, which may leak the future. "label": only rows
            known (`created`) at the label's time. A time: only rows known by then.
        ttl : str or timedelta, optional
            How old a value may be, in this call, instead of the views' own ttl: "6h".
        full_names, status : bool
            As in `online_features`.
        leakage : {"ignore", "report", "refuse"}
            Whether to count the label rows that are given a value not yet known (`created`) at their time. "report": a
            `LeakageWarning` if there are any, and the counts by view as JSON in the metadata, `mlstore.leakage`. "refuse": a
            `LeakageError`. Of a reader it is told at its end, and the metadata do not have it.

        Returns
        -------
        pyarrow.Table; pyarrow.RecordBatchReader for a reader
            The schema metadata hold `mlstore.version` (commit id), `mlstore.features`, `mlstore.labels` and `mlstore.fingerprint`
            (hashes of the labels, and of all); a reader's, only the first two. `reproduce` makes the same table of them again.

        Raises
        ------
        SchemaMismatchError, InvalidDataError
            The labels lack a column, or hold keys or times of a wrong kind.
        UnknownNameError, NameClashError, LeakageError
        """
        check_choice("leakage", leakage, ("ignore", "report", "refuse"))
        ttl_ns = None if ttl is None else parse_duration(ttl, what="ttl")
        options = training.Options(timestamp, known_at, ttl_ns, full_names, status, leakage)
        return training.training_set(self._session, labels, features, options)

    def reproduce(self, source: Any, *, labels: Any = None) -> pa.Table:
        """A training set made anew, bit for bit, from what its schema metadata tell of version, features and options.

        Parameters
        ----------
        source : pyarrow.Table, pyarrow.Schema or mapping
            A training set, or its schema (metadata).
        labels : table, optional
            Its labels, where only metadata are at hand; else they are taken from the training set.

        Raises
        ------
        ReproductionError
            What is missing: the version, the labels, or rows that are gone since.
        UsageError
            The metadata are not those of a training set.
        """
        return reproducing.reproduce(self._session, source, labels)

    def explain(
        self, label: Mapping[str, Any], feature: Features, *, timestamp: str = "event_timestamp", known_at: KnownAt = None
    ) -> explanation.Explanation:
        """Why one cell of a training set holds what it holds: the rows of its key, and why each won or lost."""
        with self._session.reading() as context:
            return explain.explain(context, label, feature, timestamp=timestamp, known_at=known_at)

    def read(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: Condition | None = None,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        as_of: TimeLike | None = None,
    ) -> reading.Rows:
        """The history rows of a view or table, without copying what is stored raw.

        Parameters
        ----------
        columns : list of str, optional
            Which columns; all unless given: keys, event time, created, features.
        where : Expression or pyarrow.compute.Expression, optional
            A filter over any of the columns, such as `ml.col("temp") > 30`; blocks that it cannot match are not read.
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

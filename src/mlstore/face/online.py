"""Online: features as they are now, one key or many, in the time of a dictionary look-up or two."""

from collections.abc import Mapping
from typing import Any, cast

from mlstore.aio import AsyncStore, Synchronous
from mlstore.engine.asking.keyrange import KeyBound, OnlineRows, RangeAsk
from mlstore.engine.asking.reader import OnlineReader, TimeLike, reference_texts
from mlstore.engine.asking.selection import Features
from mlstore.engine.asking.skew import SkewReport, verify_skew
from mlstore.engine.catalog import REMEMBERED
from mlstore.engine.keeping.freshness import Duration, Freshness, measure_freshness
from mlstore.engine.session import Session
from mlstore.face.base import Face
from mlstore.schema.timestamps import instant_ns


class Online(Face):
    """What serves features."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._aio = AsyncStore(cast(Synchronous, self))
        self._readers: dict[tuple[tuple[str, ...], bool, bool], OnlineReader] = {}

    def online_features(
        self,
        features: Features,
        keys: Any,
        *,
        now: TimeLike | None = None,
        last_n: int | None = None,
        full_names: bool = False,
        status: bool = False,
    ) -> Any:
        """The newest features of one key or of many, all views at one consistent point.

        Parameters
        ----------
        features : list of "view", "view:feature", "view@2:feature", FeatureView, ml.ref(...); or a FeatureService or its name
        keys : dict of values, or dict of columns or table
            The key columns of all entities concerned. Values ask for one key, columns for many.
        now : datetime or str, optional
            The time against which `ttl` is measured; the clock's unless given.
        last_n : int, optional
            Instead of the newest value of each feature, a list of its values in the newest `last_n` rows of the key, oldest first: the
            rows as they were written (rows older than the ttl left out; an empty list for an unknown key). The lists of one view have
            one length; with `status`, `view__event_timestamp` is the list of their times, and there is no `view__valid_to`.
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
        return self._prepared(reference_texts(features), full_names=full_names, status=status).online_features(keys, now=now, last_n=last_n)

    def verify_skew(
        self, features: Features, *, sample: Any = 100, now: TimeLike | None = None, timestamp: str = "event_timestamp", seed: int = 0
    ) -> SkewReport:
        """Prove that online reads and training sets say the same: reads are asked again as point-in-time rows, at the same version.

        Parameters
        ----------
        features : as of `online_features`
            A service, or any list of features.
        sample : int, or dict of columns or table
            How many keys to draw from those the views know; or the keys to ask for, such as those of a log of reads, with the time of each
            read in the column `timestamp` if there is one, and the request columns of on-demand views.
        now : datetime or str, optional
            The moment of reads that tell none; the clock's unless given.
        timestamp : str
            The time column of `sample`.
        seed : int
            Of the draw.

        Returns
        -------
        SkewReport
            True if every value is equal, bit for bit; `differences` are the first that are not. Stored views differ where a row lies in the
            future of the moment asked about: online features are the newest whatever the time.

        Examples
        --------
        >>> store = ml.open(":memory:")
        >>> user = ml.Entity("user", keys={"user_id": ml.int64})
        >>> _ = store.apply(user, ml.FeatureView("profile", entity=user, schema={"age": ml.int64}))
        >>> _ = store.write("profile", {"user_id": [7], "event_timestamp": ["2024-05-01"], "age": [44]})
        >>> bool(store.verify_skew(["profile"]))
        True
        """
        now_ns = self._session.clock_us() * 1000 if now is None else instant_ns(now)
        return verify_skew(self._session, reference_texts(features), sample=sample, now_ns=now_ns, timestamp=timestamp, seed=seed)

    def online_range(
        self,
        features: Features,
        *,
        prefix: KeyBound | None = None,
        start: KeyBound | None = None,
        stop: KeyBound | None = None,
        now: TimeLike | None = None,
        full_names: bool = False,
        status: bool = False,
    ) -> OnlineRows:
        """The newest features of all known keys of one entity, or of a range of them, in the order of the keys.

        Parameters
        ----------
        features, now, full_names, status
            As in `online_features`; the views share one entity.
        prefix : dict, optional
            Values of the first key column, or of the first two, ...: only keys that begin so.
        start, stop : dict, optional
            Bounds given likewise: keys at or after `start`, and before `stop` (a key that begins with `stop` is not before it).

        Returns
        -------
        OnlineRows
            Behaves as the `pyarrow.Table`; `batches()` streams, each batch at one consistent point.
        """
        ask = RangeAsk(
            reference_texts(features), prefix or {}, start or {}, stop or {}, self._now_ns(now), full_names=full_names, status=status
        )
        return OnlineRows(self._session, ask)

    def reader(self, features: Features, *, full_names: bool = False, status: bool = False) -> OnlineReader:
        """A prepared handle for one selection: names, plans and versions are worked out once, and anew when definitions change.

        Threads may share it, it survives a fork, and pickles where the store does.

        Parameters
        ----------
        features, full_names, status
            As in `online_features`.

        Raises
        ------
        UnknownNameError, UsageError, NameClashError
            The selection means nothing now.
        """
        reader = OnlineReader(self._session, reference_texts(features), full_names=full_names, status=status)
        reader.check()
        return reader

    def freshness(self, *, threshold: Duration | Mapping[str, Duration] | None = None, now: TimeLike | None = None) -> Freshness:
        """How old the newest row of each view is, and how old, how late and how quickly given what this handle has read.

        Parameters
        ----------
        threshold : str, timedelta, or dict of view to either; optional
            How old the newest row may be: "6h". Unless given: the view's tag `freshness`, or its ttl.
        now : datetime or str, optional
            The time against which ages are measured; the clock's unless given.

        Returns
        -------
        Freshness
            `views`, one `ViewFreshness` each, `stale`, the names of those that are too old, and latencies of online reads.
        """
        with self._session.reading() as context:
            return measure_freshness(context, self._session.meter, threshold, self._now_ns(now))

    @property
    def aio(self) -> AsyncStore:
        """The same for asyncio: `await store.aio.online_features(...)`, `training_set`, `read`, `write`."""
        return self._aio

    def _now_ns(self, now: TimeLike | None) -> int:
        return self._session.clock_us() * 1000 if now is None else instant_ns(now)

    def _prepared(self, features: tuple[str, ...], *, full_names: bool, status: bool) -> OnlineReader:
        wanted = (features, full_names, status)
        found = self._readers.get(wanted)
        if found is None:
            if len(self._readers) >= REMEMBERED:
                self._readers.clear()
            found = self._readers[wanted] = OnlineReader(self._session, features, full_names=full_names, status=status)
        return found

"""Blocks: a stretch of history ready to be searched, whether it lies in a segment or in the tail.

Rows of a block ascend by (key, event_time, created, seq). Columns come in the type the relation has now.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlstore.engine.catalog import Relation
from mlstore.engine.lazy import lazy
from mlstore.engine.versions import FIRST_LINE, LIVE
from mlstore.format.keys import Keys
from mlstore.storage.transaction import Reader

Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]
Deletes = tuple[Int64, Int64]  # row numbers ascending, and the sequence that deleted each
Lend = Callable[[int, int], pa.Buffer]  # (address, size) -> a buffer that outlives the transaction

ERASED: Final = 0  # deleted before anything was: no version sees the row, and the next rewrite drops it

NO_NUMBERS: Int64 = np.empty(0, np.int64)
NO_BYTES: NDArray[np.uint8] = np.empty(0, np.uint8)


class Content:
    """What is immutable of a block: keys, first row of each key, clocks, columns.

    `created` and `seq` are empty where one value, `same_created` or `same_seq`, holds for every row.
    """

    keys: Keys
    offsets: Int64
    time: Int64
    created: Int64 = NO_NUMBERS
    same_created: int = 0
    seq: Int64 = NO_NUMBERS
    same_seq: int = 0

    @property
    def rows(self) -> int:
        return len(self.time)

    def lent_time(self, lend: Lend | None) -> pa.Array:
        """Event times as int64; with `lend`, in memory that may be handed on."""
        return pa.array(self.time)

    def zone(self, relation: Relation, number: int) -> tuple[object, object, bool] | None:
        """Least and greatest value of a feature, and whether there are nulls; None: not known, or stored in another type."""
        return None

    def prepare(self, reader: Reader, relation: Relation, numbers: Collection[int]) -> None:
        """Find features in the file, so that `column` and `plain` need no transaction."""

    def plain(self, relation: Relation, number: int) -> int:
        """The address of a feature's values, if they lie there in that type, of fixed width, without a null; 0: ask for the column."""
        return 0

    def column(self, relation: Relation, number: int, lend: Lend | None = None) -> pa.Array:
        """All values of a feature, in the relation's type; with `lend`, in memory that may be handed on."""
        raise NotImplementedError(type(self))


@dataclass(frozen=True, slots=True)
class Span:
    """Bounds of keys, as they stand in the file, and of event times; all inclusive."""

    first_key: bytes
    last_key: bytes
    first_time: int
    last_time: int


class Block:
    """A content as one version sees it: rows from `start` on, written up to `bound`, not deleted by then.

    `line` wrote it. `shadowed`: the rows that lines which see this one have deleted.
    """

    def __init__(
        self,
        relation: Relation,
        content: Content | Callable[[], Content],
        *,
        bound: int,
        deletes: Deletes | None,
        start: int = 0,
        segment: int | None = None,
        run: int | None = None,
        span: Span | None = None,
        reader: Reader | None = None,
        line: int = FIRST_LINE,
        shadowed: Callable[["Block"], Int64] | None = None,
    ) -> None:
        self.relation = relation
        self.segment = segment
        self.run = run
        self.bound = bound
        self.start = start
        self.line = line
        self._content = content
        self._deletes = deletes
        self._shadowed = shadowed
        self._reader = reader
        if span is not None:
            self.span = span

    @lazy
    def content(self) -> Content:
        """What lies in it; opened when first asked for, which takes the transaction."""
        return self._content if isinstance(self._content, Content) else self._content()

    def open(self, numbers: Collection[int] = ()) -> None:
        """Open its content and these features now: while the transaction lasts, and in the thread that has it."""
        content = self.content
        if self._reader is not None:
            content.prepare(self._reader, self.relation, numbers)

    @lazy
    def span(self) -> Span:
        """Between which keys and times its rows lie, hidden ones included."""
        keys, time = self.keys, self.content.time
        return Span(keys.encoded_at(0), keys.encoded_at(len(keys) - 1), int(time.min()), int(time.max()))

    def zone(self, number: int) -> tuple[object, object, bool] | None:
        """See Content.zone."""
        return self.content.zone(self.relation, number)

    def plain(self, number: int) -> int:
        """See Content.plain."""
        self.open([number])
        return self.content.plain(self.relation, number)

    def column(self, number: int, lend: Lend | None = None) -> pa.Array:
        self.open([number])
        return self.content.column(self.relation, number, lend)

    @lazy
    def _first_key(self) -> int:
        return max(0, int(np.searchsorted(self.content.offsets, self.start, "right")) - 1) if self.start else 0

    @lazy
    def keys(self) -> Keys:
        return self.content.keys.slice(self._first_key, len(self.content.keys)) if self.start else self.content.keys

    @lazy
    def offsets(self) -> Int64:
        return np.maximum(self.content.offsets[self._first_key :], self.start) if self.start else self.content.offsets

    @lazy
    def hidden(self) -> NDArray[np.uint8]:
        """1 for each row deleted by this version; empty when none is."""
        shadowed = NO_NUMBERS if self._shadowed is None else self._shadowed(self)
        if self._deletes is None and not shadowed.size:
            return NO_BYTES
        mask = np.zeros(self.content.rows, np.uint8)
        mask[shadowed] = 1
        if self._deletes is not None:
            rows, seqs = self._deletes
            mask[rows[seqs <= self.bound]] = 1
        return mask

    @lazy
    def visible(self) -> NDArray[np.bool_] | None:
        """Which rows this version sees; None: all."""
        content = self.content
        newer = content.seq.size > 0 and self.bound != LIVE and int(content.seq.max()) > self.bound
        if not newer and not self.hidden.size and not self.start:
            return None
        mask = np.ones(content.rows, np.bool_)
        mask[: self.start] = False
        if newer:
            mask &= content.seq <= self.bound
        if self.hidden.size:
            mask &= self.hidden == 0
        return mask

    def deleted_seq(self) -> Int64:
        """For each row the sequence that deleted it, LIVE where none did; whatever the version."""
        seqs = np.full(self.content.rows, LIVE, np.int64)
        if self._deletes is not None:
            seqs[self._deletes[0]] = self._deletes[1]
        return seqs

    def marked(self, deletes: Deletes | None) -> "Block":
        """The same rows, with other ones deleted."""
        return Block(self.relation, self.content, bound=self.bound, deletes=deletes, start=self.start, segment=self.segment)

    def created_of(self, rows: Int64) -> Int64:
        created = self.content.created
        return created[rows] if created.size else np.full(len(rows), self.content.same_created, np.int64)

    def seq_of(self, rows: Int64) -> Int64:
        return self.content.seq[rows] if self.content.seq.size else np.full(len(rows), self.content.same_seq, np.int64)

    def key_of(self, rows: Int64) -> Int64:
        """Position in `keys` of each row's key."""
        return np.searchsorted(self.offsets, rows, "right") - 1

"""Key ranges: the online features of all keys of an entity between two bounds, in the order of the keys, batch by batch.

Each row is what `online_features` says of its key. Each batch is read at one consistent point; a range of a past version is one throughout.
Invariant: no transaction outlives a batch: where the next one goes on is remembered as a key.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlstore.engine.asking.reading import Rows
from mlstore.engine.asking.selection import Selected, select, status_names
from mlstore.engine.asking.serving import Ask, answer_many
from mlstore.engine.history.online import ONLINE, online_prefix
from mlstore.engine.meter import Meter
from mlstore.engine.session import ReadContext, Session
from mlstore.engine.windows.prefixes import first_prefixes
from mlstore.errors import UsageError
from mlstore.format.answers import NOT_FOUND
from mlstore.format.keys import Keys, decode_keys
from mlstore.storage.keyspace import prefix_end

BATCH_KEYS = 4096

KeyBound = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RangeAsk:
    """What is asked for, and between which keys."""

    features: tuple[str, ...]
    prefix: KeyBound
    start: KeyBound
    stop: KeyBound
    now_ns: int
    full_names: bool
    status: bool


class OnlineRows(Rows):
    """Online features of a range of keys, in their order. Stands for the `pyarrow.Table` of them, and streams.

    `batches()` reads one batch after the other, each at one consistent point and in bounded memory. Of a store that is written to
    meanwhile, later batches see later commits; of a version (`store.at(...)`) all see the same.
    """

    def __init__(self, session: Session, ask: RangeAsk) -> None:
        self._session = session
        self._ask = ask
        with session.reading() as context:
            schema = _Range(context, ask).answer([]).schema
        super().__init__(schema, ())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, batch by batch."""
        after: bytes | None = None
        while True:
            with self._session.reading() as context:
                asked = _Range(context, self._ask)
                keys = asked.next_keys(after)
                table = asked.answer(keys)
            # A definition may have changed between two batches: the rows stay of the kind that was promised.
            yield from (batch for batch in table.select(self.schema.names).cast(self.schema).to_batches() if batch.num_rows)
            if len(keys) < BATCH_KEYS:
                return
            after = keys[-1]

    def __repr__(self) -> str:
        return f"<mlstore.OnlineRows of {', '.join(self.schema.names)}>"


class _Range:
    """The range, as one transaction sees it."""

    def __init__(self, context: ReadContext, ask: RangeAsk) -> None:
        # What names the features are given depends on the names of the keys, which the selection tells.
        named = select(context.catalog, ask.features, taken=(), full_names=True)
        self._context = context
        self._ask = ask
        self._columns = _shared_columns(named)
        self._selection = select(context.catalog, ask.features, taken=self._columns, full_names=ask.full_names, status=True)
        self._spec = named[0].relation.key_spec
        self._low, self._high = self._bounds()

    def next_keys(self, after: bytes | None) -> list[bytes]:
        """The next keys in order, as they stand in the file."""
        low = self._low if after is None else max(self._low, after + b"\0")
        scope = self._context.scope
        is_plain = scope.is_live and not scope.ancestry
        found = set[bytes]()
        for selected in self._selection:
            if is_plain and selected.relation.window is None and not selected.relation.layout.last_valid:
                found.update(self._online_keys(selected, low))
            else:
                found.update(self._history_keys(selected, low))
        return sorted(found)[:BATCH_KEYS]

    def answer(self, keys: Sequence[bytes]) -> pa.Table:
        """What is said of these keys, but for those of which there is nothing."""
        columns = decode_keys(self._spec, Keys.from_encoded(keys, self._spec.kind))
        table = pa.Table.from_arrays(columns, names=list(self._columns))
        ask = Ask(self._ask.now_ns, status=True)
        answer = answer_many(self._context, self._selection, table, ask, Meter())
        told = [status_names(selected) for selected in self._selection]
        missing = [np.asarray(pc.equal(answer[names[0]], NOT_FOUND)) for names in told]
        answer = answer.filter(pa.array(~np.logical_and.reduce(missing)))
        return answer if self._ask.status else answer.drop_columns([name for names in told for name in names])

    def _online_keys(self, selected: Selected, low: bytes) -> list[bytes]:
        prefix = online_prefix(selected.relation, self._context.scope.line)
        stop = prefix_end(prefix) if self._high is None else prefix + self._high
        records = self._context.reader.scan(ONLINE, start=prefix + low, stop=stop, keys_only=True)
        return [record[len(prefix) :] for record, _ in islice(records, BATCH_KEYS)]

    def _history_keys(self, selected: Selected, low: bytes) -> Iterator[bytes]:
        for block in self._context.history(selected.stored).blocks():
            first = block.keys.lower_bound(low)
            last = len(block.keys) if self._high is None else block.keys.lower_bound(self._high)
            if selected.relation.window is None:
                yield from block.keys.slice(first, min(last, first + BATCH_KEYS)).encoded()
            else:
                yield from first_prefixes(block.keys.slice(first, last), selected.stored.key_spec, selected.relation.key_spec, BATCH_KEYS)

    def _bounds(self) -> tuple[bytes, bytes | None]:
        prefix, start, stop = (self._encode(bound) for bound in (self._ask.prefix, self._ask.start, self._ask.stop))
        ends = [end for end in (prefix_end(prefix), stop or None) if end is not None]
        return max(prefix, start), min(ends, default=None)

    def _encode(self, bound: KeyBound) -> bytes:
        names = self._columns[: len(bound)]
        if set(bound) != set(names) or any(value is None for value in bound.values()):
            raise UsageError(
                f"{dict(bound)!r:.120} is no bound of keys ({', '.join(self._columns) or 'there are none'})",
                hint="give values, none of them null, of the first key column, or the first two, ...",
            )
        parts = [encode(bound[name]) for name, encode in zip(names, self._spec.encoders, strict=False)]
        return b"".join(part for part in parts if part is not None)


def _shared_columns(selection: Sequence[Selected]) -> tuple[str, ...]:
    keys = {(selected.key_columns, selected.relation.key_spec.dtypes) for selected in selection}
    if len(keys) > 1:
        labels = ", ".join(selected.relation.label for selected in selection)
        raise UsageError(f"{labels} have different keys, so no one range of keys is of all", hint="ask for views of one entity at a time")
    return selection[0].key_columns

"""The training journey: labels in, the same rows in the same order out, each with the features as they were at its time.

Labels are answered piece by piece, so that the working memory does not grow with them; a stream of labels is never held whole.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pyarrow as pa

from mlstore.engine import limits
from mlstore.engine.asking import provenance
from mlstore.engine.asking.deriving import FeaturePlan, plan_features
from mlstore.engine.asking.holding import hold
from mlstore.engine.asking.lookup import Answer
from mlstore.engine.asking.questions import Asker, KnownAt, LabelClocks, check_labels, known_instant
from mlstore.engine.asking.selection import Features, Selected
from mlstore.engine.asking.windowed import WindowAnswer
from mlstore.engine.history.offline import Blocks
from mlstore.engine.parallel import in_parallel
from mlstore.engine.session import ReadContext, Session
from mlstore.errors import LeakageError, LeakageWarning
from mlstore.format.fingerprint import hash_column
from mlstore.schema.frames import to_table

Leakage = Literal["ignore", "report", "refuse"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a training set is asked for; see Store.training_set."""

    timestamp: str = "event_timestamp"
    known_at: KnownAt = None
    ttl_ns: int | None = None
    full_names: bool = False
    status: bool = False
    leakage: Leakage = "ignore"


def training_set(session: Session, labels: Any, features: Features, options: Options) -> pa.Table | pa.RecordBatchReader:
    """The labels with the features as of each label's time; see Store.training_set."""
    if isinstance(labels, pa.RecordBatchReader):
        session.require_outside("a stream of labels")
        return _stream(session, labels, features, options)
    with session.reading() as context:
        return join_labels(context, to_table(labels, what="labels"), features, options)


def join_labels(context: ReadContext, table: pa.Table, features: Features, options: Options) -> pa.Table:
    """A table of labels with its features, and where they come from."""
    plan = _select(context, table.schema, features, options)
    joiner = _Joiner(plan, [context.history(selected.stored) for selected in plan.stored], options)
    pieces = [joiner.join(piece) for piece in _pieces(table)]
    columns = [pa.chunked_array(chunks) for chunks in zip(*pieces, strict=True)]
    schema = joiner.schema(table.schema, columns)
    made = pieces[0] if len(pieces) == 1 else columns
    jobs = [partial(hash_column, column) for column in (*table.columns, *made)]
    hashes = in_parallel(jobs, table.num_rows)
    spec = joiner.spec(context)
    metadata = provenance.describe(spec, hashes[: table.num_columns], hashes[table.num_columns :], table.column_names)
    joiner.judge(metadata)
    return pa.Table.from_arrays([*table.columns, *columns], schema=schema.with_metadata({**(table.schema.metadata or {}), **metadata}))


def _stream(session: Session, labels: pa.RecordBatchReader, features: Features, options: Options) -> pa.RecordBatchReader:
    """Reader in, reader out: what is read is fixed when the call returns, and each batch is answered when its turn comes."""
    with ExitStack() as stack:
        context = stack.enter_context(session.reading())
        plan = _select(context, labels.schema, features, options)
        held = hold(session, context, plan.stored)
        if held is None:  # nothing here can keep segments in place but the transaction itself
            histories: Sequence[Blocks] = [context.history(selected.stored) for selected in plan.stored]
            transaction = stack.pop_all()
        else:
            histories, transaction = held, ExitStack()
        joiner = _Joiner(plan, histories, options)
        nothing = joiner.join(labels.schema.empty_table())
        metadata = {**(labels.schema.metadata or {}), **provenance.describe_stream(joiner.spec(context))}
    schema = joiner.schema(labels.schema, nothing).with_metadata(metadata)

    def answers() -> Iterator[pa.RecordBatch]:
        with transaction:
            for batch in labels:
                for piece in _pieces(pa.Table.from_batches([batch])):
                    columns = [column.combine_chunks() for column in piece.columns]
                    yield pa.RecordBatch.from_arrays([*columns, *joiner.join(piece)], schema=schema)
            joiner.judge({})

    return pa.RecordBatchReader.from_batches(schema, answers())


def _select(context: ReadContext, labels: pa.Schema, features: Features, options: Options) -> FeaturePlan:
    check_labels(labels, options.timestamp)
    if options.known_at is not None and options.known_at != "label":
        known_instant(options.known_at)
    names, status, ttl_ns = options.full_names, options.status, options.ttl_ns
    plan = plan_features(context.catalog, features, taken=labels.names, full_names=names, status=status, ttl_ns=ttl_ns)
    plan.require_brought(labels.names, "labels")
    return plan


def _pieces(table: pa.Table) -> Iterator[pa.Table]:
    """A table in pieces of bounded size; at least one."""
    for start in range(0, max(1, table.num_rows), limits.LABEL_ROWS):
        yield table.slice(start, limits.LABEL_ROWS)


class _Joiner:
    """What answers pieces of labels, one like the other; counts the rows that were given what was not yet known."""

    def __init__(self, plan: FeaturePlan, histories: Sequence[Blocks], options: Options) -> None:
        self._plan = plan
        self._selection = selection = plan.stored
        self._histories = histories
        self._options = options
        self._clocks = LabelClocks(options.timestamp, options.known_at)
        self._leaks = dict.fromkeys((f"{selected.way.prefix}{selected.relation.label}" for selected in selection), 0)

    def join(self, labels: pa.Table) -> list[pa.Array]:
        """The columns to the right of these labels."""
        asker = Asker(labels, self._clocks)
        columns: list[pa.Array] = []
        for selected, history in zip(self._selection, self._histories, strict=True):
            answer = self._answer(history, selected, asker, labels.num_rows)
            columns += answer.columns
            if self._options.status:
                columns += [answer.status, answer.event_time, answer.valid_to]
            if self._options.leakage != "ignore":
                name = f"{selected.way.prefix}{selected.relation.label}"
                self._leaks[name] += answer.count_unknown(asker.label_ticks(selected))
        return self._plan.finish(labels, columns)

    def _answer(self, history: Blocks, selected: Selected, asker: Asker, length: int) -> Answer | WindowAnswer:
        if selected.relation.window is None:
            return Answer(history, selected, asker.questions(selected), length)
        options = self._options
        return WindowAnswer(history, selected, asker.window_questions(selected), status=options.status, unknown=options.leakage != "ignore")

    def schema(self, labels: pa.Schema, columns: Sequence[pa.Array | pa.ChunkedArray]) -> pa.Schema:
        return pa.schema([*labels, *(pa.field(name, column.type) for name, column in zip(self._plan.outputs, columns, strict=True))])

    def spec(self, context: ReadContext) -> provenance.Spec:
        options = self._options
        known_at = None if options.known_at is None else str(options.known_at)
        return provenance.Spec(
            version=provenance.version_of(context),
            features=self._plan.references,
            outputs=self._plan.outputs,
            timestamp=options.timestamp,
            known_at=known_at,
            full_names=options.full_names,
            status=options.status,
            functions=self._plan.functions,
        )

    def judge(self, metadata: dict[bytes, bytes]) -> None:
        """Tell of rows that were given what was not yet known at their time, as the options ask."""
        if self._options.leakage == "ignore":
            return
        metadata[b"mlstore.leakage"] = json.dumps(self._leaks).encode()
        if any(self._leaks.values()):
            told = ", ".join(f"{rows:,} from {view}" for view, rows in self._leaks.items() if rows)
            message = f"label rows received values that were not yet known at their time: {told}"
            if self._options.leakage == "refuse":
                raise LeakageError(message, hint='ask with known_at="label", or state available_after= in the view', rows=self._leaks)
            warnings.warn(LeakageWarning(message), stacklevel=5)

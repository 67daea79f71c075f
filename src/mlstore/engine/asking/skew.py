"""Skew: online reads asked again as training rows at the same version and moment, and compared bit for bit.

Both are asked within one transaction, so nothing can come in between.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from mlstore.engine.asking.deriving import plan_features
from mlstore.engine.asking.provenance import version_of
from mlstore.engine.asking.selection import Selected
from mlstore.engine.asking.serving import Ask, answer_many
from mlstore.engine.asking.training import Options, join_labels
from mlstore.engine.meter import Meter
from mlstore.engine.session import ReadContext, Session
from mlstore.engine.windows.prefixes import first_prefixes
from mlstore.errors import SchemaMismatchError, UsageError
from mlstore.format.keys import Keys, decode_keys
from mlstore.schema.frames import to_table
from mlstore.schema.timestamps import floor_to_unit

MOST_SHOWN = 20
KEYS_OF_BLOCK = 1 << 12
_ASKED_AT = "mlstore asked at"


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that online features and a training set give differently."""

    feature: str
    keys: Mapping[str, Any]
    time: datetime
    online: Any
    point_in_time: Any

    def __str__(self) -> str:
        return f"{self.feature} of {dict(self.keys)} at {self.time}: online {self.online!r}, in a training set {self.point_in_time!r}"


@dataclass(frozen=True, slots=True)
class SkewReport:
    """What was compared, at which version, and the values that differ (the first of them); true if none does."""

    version: str
    features: tuple[str, ...]
    reads: int
    values: int
    differing: int
    differences: tuple[Difference, ...]

    def __bool__(self) -> bool:
        return not self.differing

    def __str__(self) -> str:
        head = f"{self.reads} reads, {self.values} values at version {self.version[:12]}: "
        told = f"{self.differing} differ" if self.differing else "online and training are equal, bit for bit"
        return "\n".join([head + told, *map(str, self.differences)])


def verify_skew(session: Session, features: tuple[str, ...], *, sample: Any, now_ns: int, timestamp: str, seed: int) -> SkewReport:
    """Compare sampled or given reads with the training set of the same keys and times; see Store.verify_skew."""
    with session.reading() as context:
        plan = plan_features(context.catalog, features, taken=(), full_names=True)
        selection = plan.stored
        if isinstance(sample, int) and not isinstance(sample, bool):
            if sample < 1:
                raise UsageError(f"sample={sample}", hint="give how many keys to compare, from 1 on, or a table of keys")
            plan.require_brought((), "sample")
            keys = _sample_keys(context, selection, sample, random.Random(seed))
            times = np.full(keys.num_rows, now_ns, np.int64)
        else:
            given = to_table(sample, what="sample")
            has_times = timestamp in given.column_names
            times = floor_to_unit(given[timestamp], "ns") if has_times else np.full(given.num_rows, now_ns, np.int64)
            keys = given.drop_columns([timestamp]) if has_times else given
        _check_keys(selection, keys.column_names)
        plan.require_brought(keys.column_names, "sample")
        labels = keys.append_column(_ASKED_AT, pa.array(times).view(pa.timestamp("ns", "UTC")))
        trained = join_labels(context, labels, features, Options(_ASKED_AT, full_names=True))
        names = trained.column_names[labels.num_columns :]
        served = _serve(context, features, keys, times).select(names)
        return _compare(version_of(context), plan.references, labels, served, trained.select(names))


def _serve(context: ReadContext, features: tuple[str, ...], keys: pa.Table, times: np.ndarray) -> pa.Table:
    """The online answers, in the order of the keys, those of one moment together."""
    plan = plan_features(context.catalog, features, taken=keys.column_names, full_names=True)

    def serve(asked: pa.Table, moment: int) -> pa.Table:
        return plan.finish_table(asked, answer_many(context, plan.stored, asked, Ask(moment, status=False), Meter()))

    moments, which = np.unique(times, return_inverse=True)
    answers, rows = [], []
    for number, moment in enumerate(moments.tolist()):
        places = np.flatnonzero(which == number)
        answers.append(serve(keys.take(pa.array(places)), moment))
        rows.append(places)
    if not answers:
        return serve(keys, 0)
    return pa.concat_tables(answers).take(pa.array(np.argsort(np.concatenate(rows))))


def _compare(version: str, references: tuple[str, ...], labels: pa.Table, served: pa.Table, trained: pa.Table) -> SkewReport:
    differing, shown = 0, list[Difference]()
    for name in served.column_names:
        online, point = served[name].to_pylist(), trained[name].to_pylist()
        for row, (one, other) in enumerate(zip(online, point, strict=True)):
            # The shortest text that tells a float apart from all others; NaN is NaN, and -0.0 is not 0.0.
            if repr(one) != repr(other):
                differing += 1
                if len(shown) < MOST_SHOWN:
                    told = labels.slice(row, 1)
                    at = told[_ASKED_AT].cast(pa.timestamp("us", "UTC"), safe=False)[0].as_py()
                    shown.append(Difference(name, told.drop_columns([_ASKED_AT]).to_pylist()[0], at, one, other))
    return SkewReport(version, references, labels.num_rows, served.num_rows * served.num_columns, differing, tuple(shown))


def _check_keys(selection: Sequence[Selected], names: Sequence[str]) -> None:
    for selected in selection:
        for column in selected.key_columns:
            if column not in names:
                raise SchemaMismatchError(f"sample: no column {column!r}, a key of {selected.relation.label}", hint="add it to the sample")


def _sample_keys(context: ReadContext, selection: Sequence[Selected], count: int, dice: random.Random) -> pa.Table:
    """Keys that the views know, side by side: of views with different keys each row asks for some key of each."""
    columns: dict[str, pa.Array] = {}
    for selected in sorted(selection, key=lambda selected: -len(selected.key_columns)):
        if set(selected.key_columns) <= set(columns):
            continue
        known = _known_keys(context, selected, count, dice)
        rows = pa.array(dice.choices(range(len(known)), k=count) if len(known) else [None] * count, pa.int64())
        decoded = decode_keys(selected.relation.key_spec, known)
        for column, values in zip(selected.key_columns, decoded, strict=True):
            columns.setdefault(column, values.take(rows))
    return pa.table(columns) if columns else pa.table({"mlstore row": pa.array(range(1))})


def _known_keys(context: ReadContext, selected: Selected, count: int, dice: random.Random) -> Keys:
    """Some keys of a view, from all over its blocks."""
    source, entity = selected.stored.key_spec, selected.relation.key_spec
    found = set[bytes]()
    for block in context.history(selected.stored).blocks():
        for _ in range(min(count, 16)):
            place = dice.randrange(len(block.keys))
            found.update(first_prefixes(block.keys.slice(place, place + KEYS_OF_BLOCK), source, entity, max(1, count // 16)))
    chosen = dice.sample(sorted(found), min(count, len(found)))
    return Keys.from_encoded(sorted(chosen), entity.kind)

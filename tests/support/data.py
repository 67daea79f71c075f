"""Data for the tests: tables from facts, answers from tables, and hypothesis strategies that like ties and edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import strategies as st

import mlstore as ml
from tests.support.model import Answer, Fact, Key, Row
from tests.support.worlds import FEATURES, SECOND, World

INSTANT = pa.timestamp("us", tz="UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(time_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=time_us)


def microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def key_columns(world: World, keys: Sequence[Key]) -> dict[str, list[object]]:
    """The keys as the columns `online_features` takes."""
    return {name: [key[position] for key in keys] for position, name in enumerate(world.keys)}


def fact_table(world: World, facts: Sequence[Fact], *, schema: Mapping[str, ml.DType] = FEATURES) -> pa.Table:
    """The facts as a table that fits the view of `world`, or what became of it."""
    columns = {name: pa.array(part, world.keys[name].arrow) for name, part in key_columns(world, [fact.key for fact in facts]).items()}
    columns["event_timestamp"] = pa.array([fact.event_time for fact in facts], INSTANT)
    if world.has_created:
        columns["known_time"] = pa.array([fact.created for fact in facts], INSTANT)
    for name, dtype in schema.items():
        columns[name] = pa.array([fact.values.get(name) for fact in facts], dtype.arrow)
    return pa.table(columns)


def label_table(world: World, labels: Sequence[tuple[Key, int | None]]) -> pa.Table:
    """One row per question (key, time), with a number that tells the rows apart."""
    columns = {name: pa.array(part, world.keys[name].arrow) for name, part in key_columns(world, [key for key, _ in labels]).items()}
    columns["event_timestamp"] = pa.array([time for _, time in labels], INSTANT)
    columns["label_id"] = pa.array(range(len(labels)), pa.int64())
    return pa.table(columns)


def answers(table: pa.Table, world: World, features: Sequence[str] = tuple(FEATURES)) -> list[Answer]:
    """The answers of `world` in a table that was asked for with status=True, one per row."""
    values = table.select(list(features)).to_pylist()
    status = table.column(f"{world.name}__status").to_pylist()
    times = table.column(f"{world.name}__event_timestamp").cast(pa.int64()).to_pylist()
    return [Answer(*parts) for parts in zip(values, status, times, strict=True)]


def online_answers(store: ml.Store, world: World, *, now: int, features: Sequence[str] = tuple(FEATURES)) -> list[Answer]:
    """What the store says online of every key of the world."""
    asked = [f"{world.name}:{name}" for name in features]
    keys = key_columns(world, world.universe)
    online = store.online_features(asked, keys, now=instant(now), status=True)
    if keys:
        return answers(online, world, features)
    moment = online[f"{world.name}__event_timestamp"]
    values = {name: online[name] for name in features}
    return [Answer(values, online[f"{world.name}__status"], None if moment is None else microseconds(moment))]


def history_rows(table: pa.Table, world: World, features: Sequence[str] = tuple(FEATURES)) -> list[tuple[object, ...]]:
    """Rows of `store.read` in a form that compares: key, event time, created, values."""
    times = {name: table.column(name).cast(pa.int64()) for name in ("event_timestamp", world.created_column)}
    columns = [table.column(name).to_pylist() for name in world.keys]
    columns += [times["event_timestamp"].to_pylist(), times[world.created_column].to_pylist()]
    columns += [table.column(name).to_pylist() for name in features]
    return list(zip(*columns, strict=True))


def model_rows(rows: Sequence[Row], features: Sequence[str] = tuple(FEATURES)) -> list[tuple[object, ...]]:
    """Rows of the model in the form of `history_rows`."""
    return [(*row.key, row.event_time, row.created, *(row.values.get(name) for name in features)) for row in rows]


# Few distinct times, on both sides of 1970, so that ties and exact boundaries are common.
times = st.builds(lambda second, off: second * SECOND + off, st.integers(-4, 12), st.sampled_from([0, 0, 0, 0, 1, -1]))

feature_values = st.fixed_dictionaries(
    {
        "amount": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 9)),
        "ratio": st.one_of(st.none(), st.floats(allow_nan=False), st.just(-0.0)),
        "note": st.one_of(st.none(), st.text(max_size=3)),
        "level": st.one_of(st.none(), st.integers(-(2**15), 2**15 - 1)),
    }
)


def facts(world: World) -> st.SearchStrategy[Fact]:
    created = st.one_of(st.none(), times) if world.has_created else st.none()
    return st.builds(Fact, st.sampled_from(world.written_keys), times, feature_values, created)


def fact_lists(world: World, *, bulk_rows: int) -> st.SearchStrategy[list[Fact]]:
    """Small writes (the tail) and bulk writes (straight to segments) in equal measure."""
    return st.one_of(st.lists(facts(world), min_size=1, max_size=3), st.lists(facts(world), min_size=bulk_rows, max_size=2 * bulk_rows))


def labels(world: World) -> st.SearchStrategy[list[tuple[Key, int | None]]]:
    """Questions with repeated rows, unknown keys, null keys and null times among them."""
    keys = st.sampled_from(world.universe)
    if world.keys:
        keys = st.one_of(keys, keys, keys, st.builds(with_null, keys, st.integers(0, len(world.keys) - 1)))
    label_times = st.one_of(times, times, times, st.integers(0, 25).map(lambda second: second * SECOND), st.none())
    return st.lists(st.tuples(keys, label_times), min_size=1, max_size=12)


def with_null(key: Key, position: int) -> Key:
    return (*key[:position], None, *key[position + 1 :])

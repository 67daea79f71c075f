"""Training sets agree with the model, row by row, whatever is asked of them and however the work is cut up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlstore as ml
from mlstore.engine import limits
from tests.support.data import answers, fact_lists, fact_table, instant, label_table, labels, microseconds
from tests.support.model import Answer, Key
from tests.support.worlds import KNOWN, NAMED, SECOND, WORLDS, World, shrink_limits

BULK_ROWS = 5  # of shrink_limits


@pytest.fixture(scope="module", autouse=True)
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_limits(monkeypatch)
        yield


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked beside keys and times: bounds of knowledge and age, and how long before."""

    known_at: str | int | None
    ttl_seconds: int | None
    offset_us: int

    def known(self, time: int | None) -> int | None:
        return time if self.known_at == "label" else self.known_at if isinstance(self.known_at, int) else None

    def answer(self, world: World, model: Any, key: Key, time: int | None) -> Answer:
        if self.ttl_seconds is not None:
            model = replace(model, max_age=self.ttl_seconds * SECOND)
        return model.as_of(key, None if time is None else time - self.offset_us, known=self.known(time))


asks = st.builds(
    Ask,
    known_at=st.sampled_from([None, "label", 3 * SECOND, 12 * SECOND]),
    ttl_seconds=st.sampled_from([None, None, 1, 4]),
    offset_us=st.sampled_from([0, 0, 1, SECOND, 7 * SECOND]),
)
cuts = st.fixed_dictionaries(
    {"LABEL_ROWS": st.sampled_from([1, 3, 1000]), "PARALLEL_ROWS": st.sampled_from([1, 1000]), "READ_THREADS": st.sampled_from([1, 3])}
    | {"SORTED_ASKS": st.sampled_from([0, 1000])}
)


def ask_store(store: ml.Store, world: World, questions: list[tuple[Key, int | None]], ask: Ask) -> pa.Table:
    offset = timedelta(microseconds=ask.offset_us) if ask.offset_us else None
    ttl = None if ask.ttl_seconds is None else f"{ask.ttl_seconds}s"
    known_at = instant(ask.known_at) if isinstance(ask.known_at, int) else ask.known_at
    return store.training_set(label_table(world, questions), [ml.ref(world.name, offset=offset, ttl=ttl)], known_at=known_at, status=True)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
@given(data=st.data())
@settings(deadline=None)
def test_every_switch_and_every_cut_of_the_work_gives_what_the_model_gives(world: World, data: st.DataObject) -> None:
    writes = data.draw(st.lists(fact_lists(world, bulk_rows=BULK_ROWS), min_size=1, max_size=5))
    questions, ask = data.draw(labels(world)), data.draw(asks)
    model = world.model()
    with ml.open(":memory:") as store, pytest.MonkeyPatch.context() as monkeypatch:
        store.apply(*world.definitions())
        for facts in writes:
            commit = store.write(world.name, fact_table(world, facts))
            model.append(facts, commit_time=microseconds(commit.time))
        for name, size in data.draw(cuts).items():
            monkeypatch.setattr(limits, name, size)

        found = ask_store(store, world, questions, ask)

    assert found["label_id"].to_pylist() == list(range(len(questions)))
    assert answers(found, world) == [ask.answer(world, model, key, time) for key, time in questions]


@given(data=st.data())
@settings(deadline=None)
def test_leaks_are_the_rows_that_a_bound_on_knowledge_would_answer_otherwise(data: st.DataObject) -> None:
    world, model = KNOWN, KNOWN.model()
    facts, questions = data.draw(fact_lists(world, bulk_rows=BULK_ROWS)), data.draw(labels(world))
    model.append(facts, commit_time=0)
    expected = 0
    for key, time in questions:
        answer = model.as_of(key, time)
        winners = [row for row in model.rows if row.key == key and row.event_time == answer.event_time]
        known = max(winners, key=lambda row: row.rank).created if winners and time is not None else None
        expected += known is not None and time is not None and known > time
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())
        store.write(world.name, fact_table(world, facts))

        with pytest.warns(ml.LeakageWarning) if expected else pytest.MonkeyPatch.context():
            table = store.training_set(label_table(world, questions), [world.name], leakage="report")

    assert table.schema.metadata[b"mlstore.leakage"] == b'{"known": %d}' % expected


@given(data=st.data())
@settings(deadline=None)
def test_a_reader_gives_what_a_table_gives_however_it_is_cut(data: st.DataObject) -> None:
    world = NAMED
    writes = data.draw(st.lists(fact_lists(world, bulk_rows=BULK_ROWS), min_size=1, max_size=4))
    table = label_table(world, data.draw(labels(world)))
    size = data.draw(st.integers(1, 5))
    with ml.open(":memory:") as store:
        store.apply(*world.definitions())
        for facts in writes:
            store.write(world.name, fact_table(world, facts))
        reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=size))

        answered = store.training_set(reader, [world.name], status=True)
        store.delete(world.name, start=instant(0))  # what is read was fixed when the call returned
        store.optimize()

        assert answered.read_all().equals(
            store.at(answered.schema.metadata[b"mlstore.version"].decode()).training_set(table, [world.name], status=True)
        )

"""The events that windows look at are the visible rows of the asked keys and times, in total order: against a list of plain rows."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlstore as ml
from mlstore.engine.history.offline import MAX_TIME, MIN_TIME
from mlstore.engine.session import Session
from mlstore.engine.windows.events import EventFinder, Source, Wanted
from mlstore.format.keys import KeySpec, factorize
from tests.support.model import Fact, Key, Row, ViewModel
from tests.support.worlds import shrink_limits

SHAPES: dict[str, tuple[dict[str, ml.DType], tuple[Key, ...]]] = {
    "ints": ({"user": ml.int64}, ((-3,), (1,), (2**40,))),
    "texts": ({"user": ml.string}, (("",), ("a",), ("a\0b",))),
    "events of ints": ({"user": ml.int64, "event": ml.int32}, tuple((user, event) for user in (-1, 0, 7) for event in (1, 2, 3))),
    "events of texts": ({"user": ml.string, "event": ml.string}, tuple((user, event) for user in ("", "a", "a\0b") for event in ("", "x"))),
    "global": ({}, ((),)),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One write: rows appended or upserted, or every row of some keys deleted."""

    kind: str
    facts: tuple[Fact, ...]


def steps_of(universe: tuple[Key, ...]) -> st.SearchStrategy[list[Step]]:
    fact = st.builds(
        Fact,
        st.sampled_from(universe),
        st.integers(-2, 9),
        st.just({}),
        st.sampled_from([None, 2, 5]),
    )
    kinds = st.sampled_from(["append", "append", "append", "upsert", "delete", "optimize"])
    return st.lists(st.builds(Step, kinds, st.lists(fact, min_size=1, max_size=14).map(tuple)), min_size=1, max_size=7)


@pytest.mark.parametrize("shape", SHAPES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_events_of_a_key_are_its_visible_rows_in_total_order(data: st.DataObject, shape: str) -> None:
    keys, universe = SHAPES[shape]
    steps = data.draw(steps_of(tuple(key for key in universe if key[:1] != universe[len(universe) // 2][:1]) or universe))
    branch_at = data.draw(st.one_of(st.none(), st.integers(0, len(steps))))
    users = tuple(dict.fromkeys(key[:1] for key in universe))  # of which the second is never written
    asked = data.draw(st.lists(st.sampled_from(users), min_size=1, unique=True)) if keys else [()]
    first, last = data.draw(st.sampled_from([(MIN_TIME, MAX_TIME), (0, 7), (3, 3)]))
    known_by = data.draw(st.sampled_from([None, 4]))
    wanted = Wanted(("n", *(["event"] if "event" in keys else [])), first, last, known_by, data.draw(st.booleans()))

    with pytest.MonkeyPatch.context() as patch, ml.open(":memory:") as main:
        shrink_limits(patch)
        patch.setattr("mlstore.engine.limits.WINDOW_EVENTS", data.draw(st.sampled_from([1, 5, 1 << 20])))
        patch.setattr("mlstore.engine.limits.WINDOW_STRETCH", data.draw(st.sampled_from([1, 4])))
        store = main
        store.apply(*definitions(keys))
        model = ViewModel(["n"], has_created=True)
        writes: list[int] = []  # the least n of each
        for place, step in enumerate(steps):
            writes.append(model.next_seq)
            if place == branch_at:
                store = store.branch("b")
            apply_step(store, model, step, tuple(keys))
        found = events_of(store._session, asked, tuple(keys)[:1], wanted)

    for user in asked:
        rows = [row for row in model.between(None, None) if row.key[:1] == user and first <= row.event_time <= last]
        if known_by is not None or wanted.with_created:
            rows = [row for row in rows if row.created is not None and (known_by is None or row.created <= known_by)]
        of_n = {row.values["n"]: row for row in rows}
        answered = [of_n.get(n) for _, _, n, _ in found[user]]
        assert sorted(found[user], key=itemgetter(2)) == [told(of_n[n], wanted) for n in sorted(of_n)]
        for key in {row.key for row in rows}:
            mine = [row for row in answered if row is not None and row.key == key]
            assert mine == sorted(mine, key=lambda row: row.rank)
        # Of one bulk write all rows have one seq: where keys differ behind the user's, ties of both clocks lie by key.
        ranks = [(*row.rank[:3], bisect_right(writes, n)) for n, row in ((event[2], of_n[event[2]]) for event in found[user])]
        assert ranks == sorted(ranks)


def definitions(keys: dict[str, ml.DType]) -> list[ml.Entity | ml.FeatureView]:
    entity = ml.Entity("who", keys=keys) if keys else None
    view = ml.FeatureView("events", entity=entity, schema={"n": ml.int64}, created_timestamp="known")
    return [view] if entity is None else [entity, view]


def apply_step(store: ml.Store, model: ViewModel, step: Step, names: tuple[str, ...]) -> None:
    if step.kind == "optimize":
        store.optimize()
        return
    if step.kind == "delete":
        doomed = {fact.key for fact in step.facts}
        if names:
            store.delete("events", keys={name: [key[place] for key in sorted(doomed)] for place, name in enumerate(names)})
        else:
            store.delete("events", start="0001-01-01")
        model.delete(lambda row: row.key in doomed)
        return
    numbered = [Fact(fact.key, fact.event_time, {"n": model.next_seq + place}, fact.created) for place, fact in enumerate(step.facts)]
    columns: dict[str, object] = {name: [fact.key[place] for fact in numbered] for place, name in enumerate(names)}
    columns["event_timestamp"] = pa.array([fact.event_time for fact in numbered], pa.timestamp("us", "UTC"))
    columns["known"] = pa.array([fact.created for fact in numbered], pa.timestamp("us", "UTC"))
    columns["n"] = [fact.values["n"] for fact in numbered]
    store.write("events", columns, mode=step.kind)
    if step.kind == "append":
        model.append(numbered, commit_time=0)
    else:
        model.upsert(numbered, commit_time=0)


Told = tuple[int, object, object, object]


def told(row: Row, wanted: Wanted) -> Told:
    return (row.event_time, row.created if wanted.with_created else None, row.values["n"], row.key[1] if len(row.key) > 1 else None)


def events_of(session: Session, asked: list[Key], columns: tuple[str, ...], wanted: Wanted) -> dict[Key, list[Told]]:
    """What is told of each event, by key, as the engine finds them, piece by piece."""
    with session.reading() as context:
        relation = context.catalog.relation("events")
        spec = KeySpec(relation.key_spec.dtypes[: len(columns)])
        arrays = [pa.array([key[place] for key in asked], dtype.arrow) for place, dtype in enumerate(spec.dtypes)]
        factored = factorize(spec, arrays, len(asked))
        by_code = dict(zip(factored.codes.tolist(), asked, strict=True))
        finder = EventFinder(context.history(relation), Source(relation, spec), factored.keys, wanted)
        pieces = finder.pieces()
        assert [piece.first for piece in pieces] + [len(asked)] == [0] + [piece.last for piece in pieces]
        found: dict[Key, list[Told]] = {}
        for piece in pieces:
            grouped = finder.events(piece)
            events = grouped.events
            step = 2 if grouped.has_gaps else 1
            bounds = list(pairwise(events.offsets.tolist()))[::step]
            names = events.columns["event"].to_pylist() if "event" in events.columns else [None] * events.count
            created = events.created.tolist() if wanted.with_created else [None] * events.count
            rows = list(zip(events.time.tolist(), created, events.columns["n"].to_pylist(), names, strict=True))
            for place, (begin, end) in enumerate(bounds):
                found[by_code[piece.first + place]] = rows[begin:end]
        return found

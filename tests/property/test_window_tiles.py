"""Trees of tiles: their bytes depend on the events alone, and what is read from them has the bits of what the events give."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlstore as ml
from mlstore.engine.history.block import NO_NUMBERS
from mlstore.engine.windows.aggregates import aggregate
from mlstore.engine.windows.events import Events
from mlstore.engine.windows.plan import Moments
from mlstore.engine.windows.tilereading import KeptPlan
from mlstore.engine.windows.tiles import KeptByKey, TilePlan, grow, tile_plan
from mlstore.errors import CorruptionError
from tests.support.naive_tiles import plant_naively
from tests.support.trees import Drawer, answer_one

SECOND = 1_000_000
USER = ml.Entity("user", keys={"user": ml.int64})
EVENTS = ml.FeatureView("events", entity=USER, schema={"amount": ml.int64, "ratio": ml.float64})
WINDOWS = ["5s", "1m", "90s", "lifetime", ml.tumbling("1m"), ml.hopping("30s", hop="7s")]
FUNCTIONS = ["count", "sum", "mean", "min", "max", "std", "skew", "kurtosis"]


def plan_with(tiles: Sequence[str]) -> TilePlan:
    view = ml.WindowView(
        "w",
        entity=USER,
        source=EVENTS,
        aggregations=[
            ml.agg("amount", FUNCTIONS, windows=WINDOWS),
            ml.agg("ratio", FUNCTIONS, windows=WINDOWS),
            ml.agg("ratio", ["sum", "count"], windows=WINDOWS, where=ml.col("amount") > 0, name="gain_{function}_{window}"),
            ml.agg(None, "count", windows=WINDOWS),
        ],
        tiles=tiles,
    )
    with ml.open(":memory:") as store:
        store.apply(USER, EVENTS, view)
        with store._session.reading() as context:
            plan = tile_plan(context.catalog.relation("w"))
    assert plan is not None
    return plan


PLANS = [plan_with(tiles) for tiles in (["1s", "10s", "1m"], ["2s"], ["7s", "21s"])]


def planted(plan: TilePlan, batches: Sequence[KeptByKey]) -> Drawer:
    drawer = Drawer()
    for batch in batches:
        drawer.nodes.update(grow(plan, b"p", batch, partial(drawer.get_many, None)))
    return drawer


times = st.one_of(st.integers(-200, 200).map(lambda s: s * SECOND), st.integers(-100 * SECOND, 9000 * SECOND))
KEYS = [b"k", b"l"]
rows = st.tuples(
    st.sampled_from(KEYS),
    times,
    st.sampled_from([-(2**63), 5, 6]),
    st.one_of(st.none(), st.integers(-9, 9)),
    st.one_of(st.none(), st.floats(width=32), st.sampled_from([0.1, 1e15])),
)


def events_of(written: Sequence[tuple[Any, ...]]) -> tuple[Events, np.ndarray]:
    ordered = sorted(written, key=lambda row: row[1:3])
    time, created = (np.array([row[place] for row in ordered], np.int64) for place in (1, 2))
    columns = {"amount": pa.array([row[3] for row in ordered], pa.int64()), "ratio": pa.array([row[4] for row in ordered], pa.float64())}
    return Events(np.array([0, len(ordered)]), time, NO_NUMBERS, columns), created


def of_key(written: Sequence[tuple[Any, ...]], key: bytes) -> list[tuple[Any, ...]]:
    return [row for row in written if row[0] == key]


def batch_of(plan: TilePlan, written: Sequence[tuple[Any, ...]]) -> KeptByKey:
    by_key = [sorted(of_key(written, key), key=lambda row: row[1:3]) for key in KEYS]
    events, created = events_of([(b"", place, *row[2:]) for place, row in enumerate(row for rows in by_key for row in rows)])
    time = np.array([row[1] for rows in by_key for row in rows], np.int64)
    kept = plan.keep(Events(events.offsets, time, NO_NUMBERS, events.columns), created)
    return KeptByKey(KEYS, np.append(0, np.cumsum([len(rows) for rows in by_key])), kept).below(None)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: "-".join(map(str, plan.widths)))
@given(
    written=st.lists(rows, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    moments=st.lists(times, min_size=1, max_size=4),
    leaf=st.sampled_from([1, 3, 64]),
)
def test_trees_are_a_function_of_the_events_and_answer_as_they_do(
    plan: TilePlan, written: list[tuple[Any, ...]], cuts: list[int], moments: list[int], leaf: int
) -> None:
    bounds = sorted({0, len(written), *(cut for cut in cuts if cut < len(written))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlstore.engine.limits.TILE_LEAF", leaf)
        grown = planted(plan, [batch_of(plan, written[first:last]) for first, last in pairwise(bounds)])
        wholes = {key: events_of(of_key(written, key)) for key in KEYS}
        naive = [plant_naively(plan, b"p", key, plan.keep(*whole)) for key, whole in wholes.items()]

    assert grown.nodes == naive[0] | naive[1]
    kept = KeptPlan(plan, plan.plan.outputs)
    for key, (whole, _) in wholes.items():
        for moment in moments:
            expected = aggregate(plan.plan, whole, Moments(np.array([0, 1]), np.array([moment]), NO_NUMBERS))
            assert repr(answer_one(kept, grown, key, moment)) == repr([column[0].as_py() for column in expected])


@pytest.mark.parametrize("packed", [b"", b"\1\0\0\0\1\0\0\0", b"\1\1\4\0\0\0\0\0"])
def test_events_are_not_put_into_what_is_no_node(packed: bytes) -> None:
    batch = batch_of(PLANS[0], [(KEYS[0], 5, 5, 1, 0.5)])

    with pytest.raises(CorruptionError, match="a tile of w makes no sense"):
        grow(PLANS[0], b"p", batch, lambda names: [packed] * len(names))


LEAF, INNER = b"\1\3\4\0\1\0\0\0", b"\2\3\0\0\1\0\0\0"


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (b"", "known form"),
        (LEAF, "known form"),
        (INNER + bytes(8), "known form"),
        (b"\3\3\0\0\0\0\0\0\0", "known form"),
        (LEAF.replace(b"\4", b"\5") + bytes(45), "known form"),
        (b"\1\2" + LEAF[2:] + bytes(44), "known level"),
        (LEAF + struct.pack("<q", 2**40) + bytes(36), "another stretch"),
        (LEAF.replace(b"\1\0\0\0", b"\3\0\0\0") + struct.pack("<3q", 5, 9, 7) + bytes(3 * 36), "out of order"),
    ],
)
def test_what_is_no_node_of_its_place_is_refused(packed: bytes, why: str) -> None:
    walk = KeptPlan(PLANS[0], PLANS[0].plan.outputs[:1]).begin([b"pk"], 5 * SECOND)

    with pytest.raises(CorruptionError, match=why):
        walk.take([packed, *([None] * (len(walk.wanted()) - 1))])

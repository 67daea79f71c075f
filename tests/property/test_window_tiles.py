"""Trees of tiles: their bytes depend on the events alone, and what is read from them has the bits of what the events give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlstore as ml
from mlstore._core.nodes import lay_nodes
from mlstore.engine.history.block import NO_NUMBERS
from mlstore.engine.windows.aggregates import aggregate
from mlstore.engine.windows.events import Events
from mlstore.engine.windows.kept import KeptTiles
from mlstore.engine.windows.plan import Moments
from mlstore.engine.windows.single import SinglePlan
from mlstore.engine.windows.tilereading import lay, nodes_at
from mlstore.engine.windows.tiles import KeptByKey, TilePlan, grow, tile_plan
from mlstore.engine.windows.tilewatching import NodesOfKey
from mlstore.errors import CorruptionError
from tests.support.naive_tiles import plant_naively

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


class Drawer:
    """Nodes in memory, with the face of a reader."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, bytes] = {}

    def get_many(self, _: object, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.nodes.get(key) for key in keys]

    def scan(self, _: object, *, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        return ((key, self.nodes[key]) for key in sorted(self.nodes) if start <= key < stop)


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
    for key, (whole, _) in wholes.items():
        for moment in moments:
            single = SinglePlan(plan.plan)
            nodes = NodesOfKey(grown, plan, b"p", key)  # type: ignore[arg-type]
            expected = aggregate(plan.plan, whole, Moments(np.array([0, 1]), np.array([moment]), NO_NUMBERS))
            found = answer_here(plan, single, nodes, moment)
            assert repr(found) == repr([column[0].as_py() for column in expected])


@pytest.mark.parametrize("packed", [b"", b"\1\0\0\0\1\0\0\0", b"\1\1\4\0\0\0\0\0"])
def test_events_are_not_put_into_what_is_no_node(packed: bytes) -> None:
    batch = batch_of(PLANS[0], [(KEYS[0], 5, 5, 1, 0.5)])

    with pytest.raises(CorruptionError, match="a tile of w makes no sense"):
        grow(PLANS[0], b"p", batch, lambda names: [packed] * len(names))


def answer_here(plan: TilePlan, single: SinglePlan, nodes: NodesOfKey, moment: int) -> list[Any]:
    spans = single.spans(moment)
    *tiles, time, measures = lay(plan, list(nodes_at(nodes, spans)))
    return single.from_records(spans, KeptTiles(*tiles), time, measures)


@pytest.mark.parametrize("packed", [b"", b"\1\0\0\0\1\0\0\0", b"\2\0\0\0\1\0\0\0" + bytes(8), b"\3\0\0\0\0\0\0\0\0"])
def test_what_is_no_node_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="known form"):
        lay_nodes([packed], PLANS[0].asked, PLANS[0].plan.widths)

"""Trees of tiles: their bytes depend on the events alone, and what is read from them has the bits of what the events give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from mlstore.engine.windows.tilekeeping import NodesOfKey
from mlstore.engine.windows.tilereading import lay, nodes_at
from mlstore.engine.windows.tiles import Kept, Node, TilePlan, decode_node, encode_node, grow_tree, node_key, tile_plan

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


def planted(plan: TilePlan, batches: Sequence[Kept]) -> Drawer:
    drawer = Drawer()

    def get(level: int, start: int) -> Node | None:
        packed = drawer.nodes.get(node_key(b"p", b"k", level, start))
        return None if packed is None else decode_node(plan, packed)

    def put(level: int, start: int, node: Node) -> None:
        drawer.nodes[node_key(b"p", b"k", level, start)] = encode_node(node)

    for batch in batches:
        grow_tree(plan, batch, get, put)
    return drawer


times = st.one_of(st.integers(-200, 200).map(lambda s: s * SECOND), st.integers(-100 * SECOND, 9000 * SECOND))
rows = st.tuples(
    times,
    st.sampled_from([-(2**63), 5, 6]),
    st.one_of(st.none(), st.integers(-9, 9)),
    st.one_of(st.none(), st.floats(width=32), st.sampled_from([0.1, 1e15])),
)


def events_of(written: Sequence[tuple[Any, ...]]) -> tuple[Events, np.ndarray]:
    ordered = sorted(written, key=lambda row: row[:2])
    time, created = (np.array([row[place] for row in ordered], np.int64) for place in (0, 1))
    columns = {"amount": pa.array([row[2] for row in ordered], pa.int64()), "ratio": pa.array([row[3] for row in ordered], pa.float64())}
    return Events(np.array([0, len(ordered)]), time, NO_NUMBERS, columns), created


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
        batches = [plan.keep(*events_of(written[first:last])) for first, last in pairwise(bounds)]
        grown = planted(plan, [batch for batch in batches if len(batch)])
        whole, created = events_of(written)
        at_once = planted(plan, [plan.keep(whole, created)] if written else [])

    assert grown.nodes == at_once.nodes
    for moment in moments:
        single = SinglePlan(plan.plan)
        nodes = NodesOfKey(grown, plan, b"p", b"k")  # type: ignore[arg-type]
        expected = aggregate(plan.plan, whole, Moments(np.array([0, 1]), np.array([moment]), NO_NUMBERS))
        found = answer_here(plan, single, nodes, moment)
        assert repr(found) == repr([column[0].as_py() for column in expected])


def answer_here(plan: TilePlan, single: SinglePlan, nodes: NodesOfKey, moment: int) -> list[Any]:
    spans = single.spans(moment)
    *tiles, time, measures = lay(plan, list(nodes_at(nodes, spans)))
    return single.from_records(spans, KeptTiles(*tiles), time, measures)


@pytest.mark.parametrize("packed", [b"", b"\1\0\0\0\1\0\0\0", b"\2\0\0\0\1\0\0\0" + bytes(8), b"\3\0\0\0\0\0\0\0\0"])
def test_what_is_no_node_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="known form"):
        lay_nodes([packed], PLANS[0].asked, PLANS[0].plan.widths)

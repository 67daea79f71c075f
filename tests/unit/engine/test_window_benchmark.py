"""The kernel under pytest-benchmark: four windows, four aggregates. Runs as a plain test; `--benchmark-enable` times it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

import mlstore as ml
from mlstore.engine.windows.aggregates import aggregate
from mlstore.engine.windows.plan import Moments
from mlstore.engine.windows.tilereading import KeptPlan
from tests.support.trees import Drawer, answer_one, events_of, trees_of
from tests.support.windows import Rows, plan_of

HOUR = 3600 * 10**6
PLAN = plan_of([ml.agg("f", ["count", "sum", "std", "max"], windows=["1h", "24h", "7d", "30d"])], tiles=["5m", "1h", "1d"])


def history(keys: int, rows: int) -> Rows:
    random = np.random.default_rng(5)
    time = np.sort(random.integers(0, 60 * 24 * HOUR, (keys, rows)), axis=1).ravel()
    return Rows(np.arange(keys + 1) * rows, time, np.empty(0, np.int64), {"f": pa.array(random.gamma(2, 30, keys * rows))})


def test_many_moments_of_many_keys(benchmark):
    events = history(100, 1000)
    asked = np.tile(np.arange(30, 60) * 24 * HOUR, 100)
    moments = Moments(np.arange(101) * 30, asked, np.empty(0, np.int64))

    counts = benchmark(aggregate, PLAN, events, moments)[3]

    assert np.asarray(counts).mean() > 400


def test_one_moment_of_one_key_from_its_tree(benchmark):
    events, trees, drawer = history(1, 1000), trees_of(PLAN), Drawer()
    drawer.plant(trees, b"k", trees.keep(events_of(events.time, events.columns, slice(None)), events.time))
    kept = KeptPlan(trees, PLAN.outputs)

    values = benchmark(answer_one, kept, drawer, b"k", 60 * 24 * HOUR)

    assert values[3] > 400

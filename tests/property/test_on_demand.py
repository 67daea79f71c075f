"""One request, a row of a batch and a row of a training set are answered alike, bit for bit: by expressions and by functions."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given
from hypothesis import strategies as st

import mlstore as ml
from tests.property.test_expressions import EXPRESSIONS, REAL, WHOLE

USER = ml.Entity("user", keys={"user_id": ml.int64})
STATE = ml.FeatureView("state", entity=USER, schema={"i": ml.int64, "x": ml.float64}, ttl="10d")
WORLD = ml.FeatureView("world", entity=None, schema={"j": ml.int64, "y": ml.float64})
REQUEST = {"p": ml.bool_}
TIME = "2024-01-02"


@ml.on_demand(inputs=[STATE, WORLD], request=REQUEST, returns={"risk": ml.float64, "flag": ml.bool_, "bucket": ml.int32}, over="numpy")
def by_numpy(columns: dict[str, Any]) -> dict[str, Any]:
    x, y = columns["x"], columns["y"]
    risk = np.exp(-np.abs(x)) * np.log1p(np.abs(y)) + np.sqrt(np.abs(x)) - np.tanh(y) + np.power(np.abs(x), 0.3) + np.sin(y)
    return {"risk": risk, "flag": columns["p"] & (columns["i"] > columns["j"]), "bucket": (columns["i"] % 7).astype(np.int32)}


@ml.on_demand(inputs=["by_numpy:risk", STATE], request=REQUEST, returns={"level": ml.float64}, over="arrow")
def by_arrow(columns: dict[str, Any]) -> Any:
    return pc.if_else(columns["p"], pc.exp(pc.coalesce(columns["risk"], columns["x"])), pc.ln(pc.abs(columns["x"])))


CELLS = st.fixed_dictionaries({"i": st.none() | WHOLE, "x": st.none() | REAL})
ASKED = st.lists(st.tuples(st.integers(0, 6), st.none() | st.booleans()), min_size=1, max_size=40)


def bits(value: Any) -> Any:
    """A value that compares by its bits; NaNs are one."""
    if isinstance(value, float):
        return "nan" if value != value else struct.pack("<d", value)
    return value


def shown(rows: list[dict[str, Any]], outputs: list[str]) -> list[list[Any]]:
    return [[bits(row[name]) for name in outputs] for row in rows]


@given(
    st.lists(EXPRESSIONS, min_size=1, max_size=3),
    st.lists(CELLS, min_size=1, max_size=5),
    st.tuples(st.none() | WHOLE, st.none() | REAL),
    ASKED,
)
def test_one_request_a_batch_row_and_a_training_row_are_alike(
    expressions: list[ml.Expression],
    states: list[dict[str, Any]],
    world: tuple[int | None, float | None],
    asked: list[tuple[int, bool | None]],
) -> None:
    formulas = ml.OnDemandView(
        "formulas", inputs=[STATE, WORLD], request=REQUEST, features={f"f{number}": formula for number, formula in enumerate(expressions)}
    )
    features = ["formulas", "by_numpy", "by_arrow"]
    outputs = [*formulas.outputs, "risk", "flag", "bucket", "level"]
    with ml.open(":memory:") as store:
        store.apply(USER, STATE, WORLD, formulas, by_numpy, by_arrow)
        columns = {name: pa.array([state[name] for state in states], STATE.schema[name].arrow) for name in ("i", "x")}
        store.write("state", {"user_id": list(range(len(states))), "event_timestamp": ["2024-01-01"] * len(states), **columns})
        typed = {"j": pa.array([world[0]], pa.int64()), "y": pa.array([world[1]], pa.float64())}
        store.write("world", {"event_timestamp": ["2024-01-01"], **typed})
        users, given_p = [user for user, _ in asked], pa.array([p for _, p in asked], pa.bool_())
        reader = store.reader(features)

        ones = [reader.online_features({"user_id": user, "p": p}, now=TIME) for user, p in asked]
        again = [reader.online_features({"user_id": user, "p": p}, now=TIME) for user, p in asked]
        batch = store.online_features(features, {"user_id": users, "p": given_p}, now=TIME)
        trained = store.training_set({"user_id": users, "p": given_p, "event_timestamp": [TIME] * len(asked)}, features)

        assert shown(ones, outputs) == shown(batch.to_pylist(), outputs) == shown(trained.to_pylist(), outputs)
        assert shown(again, outputs) == shown(ones, outputs)
        assert batch.select(outputs).schema.equals(trained.select(outputs).schema)

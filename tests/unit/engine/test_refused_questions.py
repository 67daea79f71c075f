"""Questions that make no sense, and functions that answer with nonsense: each is refused by what is wrong with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml
from tests.unit.engine.test_branches import DAY, USER, rows, spend

LABELS = {"user_id": [1, 2], "event_timestamp": [DAY] * 2}


@pytest.fixture
def filled(store: ml.Store) -> ml.Store:
    store.apply(USER, spend())
    store.write("spend", rows({1: 10, 2: 20}))
    return store


def doubled_labels() -> pa.Table:
    return pa.table([pa.array([1]), pa.array([2]), pa.array([datetime(2026, 1, 1, tzinfo=UTC)])], ["user_id", "user_id", "event_timestamp"])


@pytest.mark.parametrize(
    ("ask", "error", "told"),
    [
        (lambda store: store.verify_skew(["spend"], sample=0), ml.UsageError, r"sample=0 \(give how many keys"),
        (lambda store: store.verify_skew(["spend"], sample={"other": [1]}), ml.SchemaMismatchError, "no column 'user_id', a key of spend"),
        (lambda store: store.reproduce(42), ml.UsageError, "42 is no training set"),
        (lambda store: store.training_set(doubled_labels(), ["spend"]), ml.NameClashError, "two columns called 'user_id'"),
        (lambda store: store.training_set(LABELS, ["spend"], known_at="once"), ml.InvalidDataError, '^known_at: .*give None, "label" or a'),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(filled: ml.Store, ask: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        ask(filled)


def test_a_sample_of_no_reads_is_a_report_of_none(filled: ml.Store) -> None:
    nobody = pa.table({"user_id": pa.array([], pa.int64())})

    report = filled.verify_skew(["spend"], sample=nobody)

    assert (report.reads, report.values, report.differing) == (0, 0, 0)
    assert report


def test_what_comes_out_otherwise_is_told_column_by_column(filled: ml.Store) -> None:
    made = filled.training_set(LABELS, ["spend"])
    filled.forget("user", keys={"user_id": 1})

    with pytest.raises(ml.ReproductionError, match=r": amount, note \(not in the table given\) come out otherwise"):
        filled.reproduce(made.drop_columns(["note"]))


def test_metadata_alone_tells_that_the_rows_behind_it_have_changed(filled: ml.Store) -> None:
    made = filled.training_set(LABELS, ["spend"])
    filled.forget("user", keys={"user_id": 1})

    with pytest.raises(ml.ReproductionError, match=r"the rows of version \w+ are no longer as they were"):
        filled.reproduce(made.schema, labels=LABELS)


# ---------------------------------------------------------------- what functions of on-demand views may give back


def one_for_two(columns: dict[str, Any]) -> Any:
    return columns["x"]


def cube(columns: dict[str, Any]) -> Any:
    return {"y": np.zeros((2, 2, 2)), "z": columns["x"]}


def nothing_like_a_column(columns: dict[str, Any]) -> Any:
    return {"y": object(), "z": columns["x"]}


class Exported:
    """Somebody else's column, which speaks Arrow."""

    def __init__(self, column: pa.Array | pa.ChunkedArray) -> None:
        self._column = column
        name = "__arrow_c_array__" if isinstance(column, pa.Array) else "__arrow_c_stream__"
        setattr(type(self), name, lambda this, schema=None: getattr(this._column, name)(schema))


def exported(columns: dict[str, Any]) -> Any:
    class Whole(Exported): ...

    class Streamed(Exported): ...

    return {"y": Whole(columns["x"]), "z": Streamed(pa.chunked_array([columns["x"]]))}


def on_demand(function: Any) -> ml.OnDemandView:
    return ml.OnDemandView("view", function=function, request={"x": ml.float64}, returns={"y": ml.float64, "z": ml.float64})


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (one_for_two, "one_for_two returned a .*Array.*return a dict of the columns y, z"),
        (cube, "an array of 3 dimensions is no column"),
        (nothing_like_a_column, "a object is no column"),
    ],
)
def test_what_is_no_column_is_refused(store: ml.Store, function: Any, told: str) -> None:
    store.apply(on_demand(function))

    with pytest.raises(ml.ComputationError, match=told):
        store.online_features("view", {"x": [1.0, 2.0]})


def test_columns_of_other_libraries_that_speak_arrow_are_taken(store: ml.Store) -> None:
    store.apply(on_demand(exported))

    answer = store.online_features("view", {"x": [1.0, None]})

    assert (answer["y"].to_pylist(), answer["z"].to_pylist()) == ([1.0, None], [1.0, None])

"""Every shared as-of case, in every direction and of every tier, answered by asof_join; none is left out."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

import mlstore as ml
from tests.conformance import cases

if not cases.FOLDER.exists():
    pytest.skip("the shared conformance cases are not here", allow_module_level=True)

check = cases.load_check()


def answer_from_join(case: Any) -> pa.Table:
    params = case.params
    labels = case.label.select([*case.label_keys, case.label_time])
    values = dict.fromkeys(case.values)
    features = case.feature.select(
        dict.fromkeys([*case.feature_keys, case.feature_time, *([case.created] if case.created else []), *values])
    )
    answer = ml.asof_join(
        labels,
        features,
        left_on=case.label_time,
        right_on=case.feature_time,
        left_by=case.label_keys,
        right_by=case.feature_keys,
        direction=params["direction"],
        tolerance=longest_distance(params["tolerance"], case.label.schema.field(case.label_time).type),
        allow_exact_matches=params["inclusive"],
        nulls_equal=params["null_keys"] == "equal",
        created=case.created,
        known_at=knowledge_of(params["known_at"]),
        nulls=params["nulls"],
        columns=list(values),
        suffix="_of_feature",
    )
    assert answer.select(labels.column_names).equals(labels)
    return pa.table(answer.columns[labels.num_columns :], names=list(values))


def longest_distance(tolerance: Any, time: pa.DataType) -> Any:
    """An open tolerance is the greatest distance below it."""
    if tolerance is None:
        return None
    if tolerance["unit"] == "native":
        below = math.nextafter(tolerance["value"], 0) if pa.types.is_floating(time) else tolerance["value"] - 1
        return tolerance["value"] if tolerance["inclusive"] else below
    return f"{tolerance['value'] - (0 if tolerance['inclusive'] else 1)}ns"


def knowledge_of(known_at: Any) -> Any:
    if isinstance(known_at, dict):
        return pa.scalar(known_at["time"], pa.timestamp("ns"))
    return "left" if known_at else None


@pytest.mark.parametrize("case", cases.asof_cases(), ids=lambda case: case.id)
def test_asof_join_answers_the_case(case: Any) -> None:
    answer = answer_from_join(case)

    assert check.compare(case, answer) is None

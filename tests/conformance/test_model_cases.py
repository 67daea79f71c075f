"""The plain-Python model that the other tests trust, held against the same cases."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tests.conformance import cases
from tests.support.model import Fact, ViewModel

if not cases.FOLDER.exists():
    pytest.skip("the shared conformance cases are not here", allow_module_level=True)

check = cases.load_check()
# The model looks at every row for every label, so cases of millions of pairs are left to the store.
SMALL_CASES = [case for case in cases.backward_cases() if case.label.num_rows * case.feature.num_rows <= 100_000]


def nanoseconds(table: pa.Table, name: str | None) -> list[int | None]:
    if name is None:
        return [None] * table.num_rows
    column = table[name]
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    return check.cells(column)


def keys(table: pa.Table, names: list[str]) -> list[tuple[object, ...]]:
    columns = [table[name].to_pylist() for name in names]
    return list(zip(*columns, strict=True)) if columns else [()] * table.num_rows


def model_of(case: Any) -> ViewModel:
    tolerance = case.params["tolerance"]
    model = ViewModel(
        case.values,
        has_created=True,
        max_age=None if tolerance is None else tolerance["value"] - (0 if tolerance["inclusive"] else 1),
        strict=not case.params["inclusive"],
        last_valid=case.params["nulls"] == "last_valid",
    )
    times, created = nanoseconds(case.feature, case.feature_time), nanoseconds(case.feature, case.created)
    values = case.feature.select(case.values).to_pylist()
    rows = zip(keys(case.feature, case.feature_keys), times, values, created, strict=True)
    model.append([Fact(*row) for row in rows if row[1] is not None], commit_time=0)
    return model


@pytest.mark.parametrize("case", SMALL_CASES, ids=lambda case: case.id)
def test_the_model_answers_the_case(case: Any) -> None:
    try:
        cases.refuse_unsupported(case)
    except NotImplementedError as unsupported:
        pytest.skip(str(unsupported))
    model = model_of(case)
    known_at = case.params["known_at"]
    answers = []

    for key, time in zip(keys(case.label, case.label_keys), nanoseconds(case.label, case.label_time), strict=True):
        known = known_at["time"] if isinstance(known_at, dict) else time if known_at else None
        answers.append(model.as_of(key, time, known=known).values)

    got = pa.table({name: pa.array([a[name] for a in answers], case.feature.schema.field(name).type) for name in case.values})
    assert check.compare(case, got) is None

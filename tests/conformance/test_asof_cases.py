"""Every shared backward as-of case, answered by a store: core cases must pass, extended ones pass or are refused as unsupported."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance import cases

if not cases.FOLDER.exists():
    pytest.skip("the shared conformance cases are not here", allow_module_level=True)

check = cases.load_check()
BACKWARD_CASES = cases.backward_cases()


@pytest.fixture(params=["one write", "many small segments"])
def writes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many writes load the features. The second way forces tail, sealing and merging onto every case."""
    if request.param == "one write":
        return 1
    monkeypatch.setattr("mlstore.engine.limits.TAIL_ROWS", 32)
    monkeypatch.setattr("mlstore.engine.limits.DIRECT_ROWS", 128)
    monkeypatch.setattr("mlstore.engine.limits.SEGMENT_ROWS", 256)
    monkeypatch.setattr("mlstore.engine.limits.FANOUT", 3)
    return 20


@pytest.mark.parametrize("case", BACKWARD_CASES, ids=lambda case: case.id)
def test_a_store_answers_the_case(case: Any, writes: int) -> None:
    try:
        answer = cases.answer_from_store(case, writes=writes)
    except NotImplementedError as unsupported:
        assert case.tier == "extended", f"{case.id} is a core case"
        pytest.skip(str(unsupported))

    assert check.compare(case, answer) is None

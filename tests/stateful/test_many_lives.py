"""The state machines of the suite for very long: a million steps, counted, by a seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.stateful.test_audit_machine import AuditMachine
from tests.stateful.test_handles_machine import Handles
from tests.stateful.test_housekeeping_machine import HousekeepingMachine
from tests.stateful.test_store_machine import StoreMachine
from tests.stateful.test_versions_machine import VersionsMachine
from tests.support.lives import count_steps, live_out
from tests.support.soaking import Patience, report, scaled, soak_seed

STEPS = {Handles: 700_000, StoreMachine: 200_000, HousekeepingMachine: 50_000, VersionsMachine: 30_000, AuditMachine: 20_000}


class Counting(RuleBasedStateMachine):
    """One that does no more than count, over all its lives."""

    total = 0

    @rule()
    def count(self) -> None:
        type(self).total += 1


class Ending(RuleBasedStateMachine):
    """One that goes wrong now and then."""

    @rule(number=st.integers(0, 50))
    def count(self, number: int) -> None:
        assert number != 7, "enough"


def test_every_step_is_counted():
    counted, steps = count_steps(Counting)

    run_state_machine_as_test(counted, settings=settings(max_examples=5, stateful_step_count=20, database=None))

    assert next(steps) == counted.total > 20


@pytest.mark.slow
def test_a_violation_is_told_with_its_seed_and_its_steps(tmp_path: Path):
    taken, violations = live_out(Ending, tmp_path, steps=10, seed=7, patience=Patience.begin())

    assert taken > 0
    assert violations
    assert violations[0].startswith("seed ")
    assert "AssertionError: enough" in violations[0]
    assert "state.count(number=7)" in violations[0]


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("machine", STEPS, ids=lambda machine: machine.__name__)
def test_a_million_steps(machine: type[RuleBasedStateMachine], soak_path: Path):
    seed, steps = soak_seed(), scaled(STEPS[machine])

    taken, violations = live_out(machine, soak_path, steps=steps, seed=seed, patience=Patience.begin())

    report(f"state machine {machine.__name__}", seed, f"{taken} steps", violations)
    assert violations == []

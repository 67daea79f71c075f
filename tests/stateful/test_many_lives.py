"""The state machines of the suite for very long: a million steps, counted, by a seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.stateful.test_audit_machine import AuditMachine
from tests.stateful.test_handles_machine import Handles
from tests.stateful.test_housekeeping_machine import HousekeepingMachine
from tests.stateful.test_store_machine import StoreMachine
from tests.stateful.test_versions_machine import VersionsMachine
from tests.support.lives import LIVES_OF_A_CHILD, STEPS_OF_A_LIFE, live_out
from tests.support.soaking import Patience, report, scaled, soak_seed

STEPS = {Handles: 700_000, StoreMachine: 200_000, HousekeepingMachine: 50_000, VersionsMachine: 30_000, AuditMachine: 20_000}


class Counting(RuleBasedStateMachine):
    """One that goes wrong at its hundredth number."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    @rule()
    def count(self) -> None:
        self.number += 1
        assert self.number < STEPS_OF_A_LIFE, "enough"


class Harmless(Counting):
    @rule()
    def count(self) -> None:
        self.number += 1


@pytest.mark.slow
def test_steps_are_counted_and_a_violation_is_told_with_its_seed(tmp_path: Path):
    taken, violations = live_out(Harmless, tmp_path, steps=LIVES_OF_A_CHILD * STEPS_OF_A_LIFE // 2, seed=1, patience=Patience.begin())
    _, found = live_out(Counting, tmp_path, steps=1, seed=7, patience=Patience.begin())

    assert violations == []
    assert taken >= STEPS_OF_A_LIFE
    assert taken % STEPS_OF_A_LIFE == 0
    assert found
    assert found[0].startswith("seed 7: ")
    assert "AssertionError: enough" in found[0]


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("machine", STEPS, ids=lambda machine: machine.__name__)
def test_a_million_steps(machine: type[RuleBasedStateMachine], soak_path: Path):
    seed, steps = soak_seed(), scaled(STEPS[machine])

    taken, violations = live_out(machine, soak_path, steps=steps, seed=seed, patience=Patience.begin())

    report(f"state machine {machine.__name__}", seed, f"{taken} steps", violations)
    assert violations == []

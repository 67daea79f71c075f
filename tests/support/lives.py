"""Lives: state machines of hypothesis run for long, by a seed, their steps counted. The rules are those of the suite; nothing is shrunk."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import count
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test

from tests.support.processes import Child, Parent
from tests.support.soaking import Patience
from tests.support.worlds import shrink_limits

LIVES_OF_A_CHILD = 10
STEPS_OF_A_LIFE = 100
SECONDS_OF_A_CHILD = 3600  # of a busy machine; to be used up by a deadlock only


def live_out(machine: type[RuleBasedStateMachine], folder: Path, *, steps: int, seed: int, patience: Patience) -> tuple[int, list[str]]:
    """Live one life after the other until so many steps were taken; how many it were, and what went wrong, with the seed and its steps."""
    seeds = count(seed)
    taken, violations = 0, list[str]()

    def live_some(_: int) -> None:
        nonlocal taken
        while taken < steps and patience.lasts() and not violations:
            mine = next(seeds)
            with Child(_live, machine.__module__, machine.__name__, mine, folder, may_have_children=True) as child:
                lived, problems = child.hear_within(SECONDS_OF_A_CHILD)
            taken += lived
            violations.extend(f"seed {mine}: {problem}" for problem in problems)

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(live_some, range(os.cpu_count() or 1)))
    return taken, violations


def _live(parent: Parent, module: str, name: str, seed: int, folder: Path) -> None:
    """In a child: some lives of one seed."""
    tempfile.tempdir = str(folder)
    with pytest.MonkeyPatch.context() as patch:
        shrink_limits(patch)
        counted, steps = count_steps(getattr(import_module(module), name))
        try:
            run_state_machine_as_test(hypothesis.seed(seed)(counted), settings=_settings())
            problems = list[str]()
        except Exception:  # noqa: BLE001 - this is what is looked for
            problems = [traceback.format_exc()]
    parent.tell((next(steps), problems))


def count_steps(machine: type[RuleBasedStateMachine]) -> tuple[type[RuleBasedStateMachine], Iterator[int]]:
    """The same machine, and how many steps all its lives have taken so far."""
    steps = 0

    def count_a_step(self: RuleBasedStateMachine) -> None:
        # An invariant is looked at after every step, and once before the first.
        nonlocal steps
        steps += getattr(self, "is_alive", False)
        self.is_alive = True  # type: ignore[attr-defined]

    def told() -> Iterator[int]:
        while True:
            yield steps

    return type(machine.__name__, (machine,), {"count_a_step": invariant()(count_a_step)}), told()


def _settings() -> settings:
    return settings(
        max_examples=LIVES_OF_A_CHILD,
        stateful_step_count=STEPS_OF_A_LIFE,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

"""The audit under everything that may be done to a store: each id ever seen goes on proving, and only what was done is told."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import mlstore as ml
from tests.support.data import fact_table
from tests.support.model import Fact
from tests.support.worlds import PLAIN, SECOND, shrink_limits

cards = st.integers(0, 3)


class AuditMachine(RuleBasedStateMachine):
    """A store, the actions it was told, and every id its audit has ever shown."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        shrink_limits(self.patch)
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "audit.mls"
        self.store = ml.open(self.path)
        self.store.apply(*PLAIN.definitions())
        self.told = ["commit"]
        self.kept: list[str] = []
        self.snapshots = 0

    def teardown(self) -> None:
        self.store.close()
        self.patch.undo()
        self.folder.cleanup()

    @rule(card=cards, first=st.integers(0, 50), count=st.integers(1, 30))
    def write(self, card: int, first: int, count: int) -> None:
        facts = [Fact(((card + n) % 4,), (first + n) * SECOND, {"amount": n, "note": f"n{n}"}) for n in range(count)]
        self.store.write("plain", fact_table(PLAIN, facts))
        self.told.append("commit")

    @rule(card=cards)
    def delete(self, card: int) -> None:
        self.store.delete("plain", keys={"card": card})
        self.told.append("commit")

    @rule(card=cards)
    def forget(self, card: int) -> None:
        self.store.forget("plain_entity", {"card": [card]})
        self.told.append("commit")

    @rule()
    def snapshot(self) -> None:
        self.snapshots += 1
        self.store.snapshot(f"v{self.snapshots}")
        self.told.append("snapshot")

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def seal(self, data: st.DataObject) -> None:
        self.store.seal(f"v{data.draw(st.integers(1, self.snapshots))}")
        self.told.append("seal")

    @rule(tier=st.sampled_from([None, "hot", "cold"]))
    def optimize(self, tier: str | None) -> None:
        self.store.optimize(tier=tier)  # type: ignore[arg-type]

    @rule()
    def compact(self) -> None:
        self.store.compact()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = ml.open(self.path)

    @invariant()
    def the_audit_tells_what_was_done(self) -> None:
        audit = self.store.audit()

        assert audit["action"].to_pylist() == self.told
        assert audit["id"].to_pylist()[: len(self.kept)] == self.kept
        self.kept = audit["id"].to_pylist()

    @invariant()
    def the_oldest_and_the_newest_id_prove_everything(self) -> None:
        for trusted in {self.kept[0], self.kept[-1]}:
            assert self.store.verify(trusted_head=trusted).problems == ()

    @rule()
    def every_id_proves(self) -> None:
        for trusted in self.kept:
            self.store.verify(trusted_head=trusted)


TestAuditMachine = AuditMachine.TestCase
TestAuditMachine.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)

"""A bank: each round is one commit that moves money between accounts, so whoever sees part of a commit sees the total change."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

import mlstore as ml
from tests.support.processes import Parent

ACCOUNTS = 24
TOTAL = 1_000_000
START = datetime(2024, 5, 1, tzinfo=UTC)
LONG_AFTER = datetime(2030, 1, 1, tzinfo=UTC)

ACCOUNT = ml.Entity("account", keys={"account_id": ml.int64})
BANK = ml.FeatureView("bank", entity=ACCOUNT, schema={"balance": ml.int64, "round": ml.int64, "memo": ml.string})

KEYS = {"account_id": list(range(ACCOUNTS))}
LABELS = KEYS | {"event_timestamp": [LONG_AFTER] * ACCOUNTS}


def create(path: Path) -> None:
    with ml.open(path) as store:
        store.apply(ACCOUNT, BANK)
        store.write("bank", rounds([0]))


def rounds(numbers: Sequence[int]) -> pa.Table:
    """The rows of these rounds: every account once in each."""
    dice = random.Random(numbers[0])
    balances = [balance for _ in numbers for balance in _split(dice)]
    return pa.table(
        {
            "account_id": KEYS["account_id"] * len(numbers),
            "event_timestamp": [START + timedelta(seconds=number) for number in numbers for _ in range(ACCOUNTS)],
            "balance": balances,
            "round": [number for number in numbers for _ in range(ACCOUNTS)],
            "memo": [f"balance {balance}" for balance in balances],
        }
    )


def watch(store: ml.Store) -> int:
    """Look at the bank in every way there is; the last round seen. An AssertionError if any of them sees part of a commit."""
    online = _require_one_round(store.online_features(["bank"], KEYS))
    training = _require_one_round(store.training_set(LABELS, ["bank"]))
    as_of = _require_one_round(store.read("bank", as_of=LONG_AFTER).table())
    newest = max(audit(store))
    assert online <= training <= as_of <= newest, "time went backwards"
    return newest


def audit(store: ml.Store) -> list[int]:
    """All rounds in the history, each of which is whole."""
    history = (
        store.read("bank").table().group_by("round").aggregate([("balance", "sum"), ("account_id", "count_distinct"), ([], "count_all")])
    )
    for row in history.to_pylist():
        assert row["balance_sum"] == TOTAL, row
        assert row["account_id_count_distinct"] == row["count_all"] == ACCOUNTS, row
    return sorted(history["round"].to_pylist())


def watch_until_called(parent: Parent, path: Path, enough: int) -> int:
    """In a process: watch the bank, tell of the first look and when `enough` rounds were seen, go on until called; the looks taken."""
    seen, looks, last = set[int](), 0, 0
    with ml.open(path, read_only=True) as store:
        while not parent.has_called():
            newest = watch(store)
            assert newest >= last, "time went backwards"
            last, looks = newest, looks + 1
            if newest not in seen:
                seen.add(newest)
                if len(seen) in (1, enough):
                    parent.tell(looks)
    return looks


def _require_one_round(table: pa.Table) -> int:
    numbers = set(table["round"].to_pylist())
    assert len(numbers) == 1, f"rows of several commits at once: {numbers}"
    assert sum(table["balance"].to_pylist()) == TOTAL
    assert table["memo"].to_pylist() == [f"balance {balance}" for balance in table["balance"].to_pylist()]
    return int(numbers.pop())


def _split(dice: random.Random) -> list[int]:
    cuts = sorted(dice.randrange(TOTAL) for _ in range(ACCOUNTS - 1))
    return [high - low for low, high in zip([0, *cuts], [*cuts, TOTAL], strict=True)]

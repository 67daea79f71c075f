"""What reaches over lines, or has to stay on its own: forgetting, prepared readers, ranges, streams, seals, the audit."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.engine.audit import BRANCH
from mlstore.engine.history.offline import History
from mlstore.engine.history.online import KEPT
from mlstore.engine.history.shadows import SHADOWS
from mlstore.engine.versions import REFS

USER = ml.Entity("user", keys={"name": ml.string})
SPEND = ml.FeatureView("spend", entity=USER, schema={"amount": ml.int64})
VISIT = ml.FeatureView("visit", entity=USER, schema={"page": ml.string})


def rows(amounts: dict[str, int], day: int = 1) -> dict[str, object]:
    return {"name": list(amounts), "event_timestamp": [f"2026-01-{day:02}"] * len(amounts), "amount": list(amounts.values())}


def one(store: ml.Store, name: str = "doomed") -> int | None:
    """The amount of one key, by the path of prepared readers; asked twice, so that the second answer is from the plan."""
    first, second = (store.online_features(["spend"], {"name": name}) for _ in range(2))
    assert first == second
    return second["amount"]


def names(store: ml.Store) -> set[str]:
    return set(store.read("spend").table()["name"].to_pylist())


@pytest.fixture
def shop(store: ml.Store) -> ml.Store:
    store.apply(USER, SPEND)
    store.write("spend", rows({"ann": 1, "doomed": 2}))
    store.snapshot("v1")
    return store


# ---------------------------------------------------------------- forgetting


@pytest.mark.parametrize("where", ["main", "trial"])
@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_key_is_forgotten_on_every_branch_wherever_it_is_asked_for(shop: ml.Store, store_path: Path, where: str, is_sealed: bool) -> None:
    trial = shop.branch("trial")
    shop.write("spend", rows({"doomed": 3, "ann": 3}, day=3))  # the parent keeps what the fork sees
    trial.write("spend", rows({"doomed": 4, "bob": 4}, day=4))
    trial.delete("spend", keys={"name": "doomed"}, end="2026-01-02")  # a row of the parent, shadowed
    leaf = trial.branch("leaf")
    leaf.delete("spend", keys={"name": "doomed"})
    leaf.delete("spend", keys={"name": "ann"})
    if is_sealed:
        for handle in (shop, trial, leaf):
            handle.optimize()

    report = shop.checkout(where).forget("user", {"name": "doomed"}, compact=True)

    assert report.rows == {"spend": 3}
    assert [names(handle) for handle in (shop, trial, leaf, shop.at("v1"))] == [{"ann"}, {"ann", "bob"}, {"bob"}, {"ann"}]
    assert [one(handle) for handle in (shop, trial, leaf)] == [None] * 3
    assert [one(handle, "ann") for handle in (shop, trial, leaf)] == [3, 1, None]
    assert not shop.verify().problems
    assert b"doomed" not in store_path.read_bytes()


def test_what_a_parent_kept_for_a_fork_is_forgotten_and_so_are_shadows(shop: ml.Store) -> None:
    trial = shop.branch("trial")
    shop.write("spend", rows({"doomed": 3}, day=3))
    trial.delete("spend", keys={"name": "doomed"})

    trial.forget("user", {"name": "doomed"})

    with shop._session.reading() as context:
        for space in (KEPT, SHADOWS):
            assert not [key for key, _ in context.reader.scan(space) if b"doomed" in key]


def test_a_key_is_forgotten_from_views_that_only_another_branch_knows(shop: ml.Store) -> None:
    trial = shop.branch("trial")
    trial.apply(USER, VISIT)
    trial.write("visit", {"name": ["ann", "doomed"], "event_timestamp": ["2026-01-01"] * 2, "page": ["a", "b"]})

    report = shop.forget("user", {"name": "doomed"})

    assert report.rows == {"spend": 1, "visit": 1}
    assert trial.read("visit").table()["name"].to_pylist() == ["ann"]
    assert not shop.verify().problems


def test_views_of_another_branch_with_another_key_are_skipped_and_named(shop: ml.Store) -> None:
    empty = ml.Entity("guest", keys={"number": ml.int64})
    shop.branch("trial")
    shop.apply(ml.Entity("guest", keys={"name": ml.string}), ml.FeatureView("seat", entity="guest", schema={"row": ml.int64}))
    shop.write("seat", {"name": ["ann", "doomed"], "event_timestamp": ["2026-01-01"] * 2, "row": [1, 2]})
    trial = shop.checkout("trial")
    trial.apply(empty, ml.FeatureView("stay", entity=empty, schema={"nights": ml.int64}))
    trial.write("stay", {"number": [7], "event_timestamp": ["2026-01-01"], "nights": [3]})

    mine, theirs = shop.forget("guest", {"name": "doomed"}), trial.forget("guest", {"number": 7})

    assert (mine.rows, mine.skipped) == ({"seat": 1}, ("stay",))
    assert (theirs.rows, theirs.skipped) == ({"stay": 1}, ("seat",))
    with pytest.raises(ml.SchemaMismatchError):
        shop.forget("guest", {"number": 7})
    assert not shop.verify().problems


def test_segments_of_another_branch_are_written_anew_by_its_own_definitions(shop: ml.Store) -> None:
    trial = shop.branch("trial")
    trial.apply(USER, ml.FeatureView("spend", entity=USER, schema={"amount": ml.int64, "note": ml.string}))
    trial.write("spend", {"name": ["ann", "doomed"], "event_timestamp": ["2026-01-05"] * 2, "amount": [5, 5], "note": ["kept", "gone"]})
    trial.optimize()

    report = shop.forget("user", {"name": "doomed"})

    assert report.segments_rewritten > 0
    assert trial.read("spend", start="2026-01-05").table()["note"].to_pylist() == ["kept"]
    assert not shop.verify().problems


def test_a_rollback_does_not_bring_back_what_was_forgotten(shop: ml.Store) -> None:
    shop.forget("user", {"name": "doomed"})

    shop.rollback("v1")

    assert names(shop) == {"ann"}
    assert one(shop) is None
    assert not shop.verify().problems


# ---------------------------------------------------------------- readers


def test_a_prepared_reader_follows_its_branch_through_writes_and_a_rollback(shop: ml.Store) -> None:
    trial = shop.branch("trial")
    readers = [shop.reader(["spend"]), trial.reader(["spend"])]

    def told() -> list[int | None]:
        return [reader.online_features({"name": "doomed"})["amount"] for reader in readers for _ in range(2)]

    assert told() == [2, 2, 2, 2]
    shop.write("spend", rows({"doomed": 3}, day=3))
    assert told() == [3, 3, 2, 2]
    trial.write("spend", rows({"doomed": 4}, day=4))
    assert told() == [3, 3, 4, 4]
    shop.rollback("v1")
    assert told() == [2, 2, 4, 4]
    shop.write("spend", rows({"doomed": 5}, day=5))
    assert told() == [5, 5, 4, 4]
    trial.delete("spend", keys={"name": "doomed"})
    assert told() == [5, 5, None, None]


def test_a_reader_of_a_branch_goes_to_another_process_as_one_of_that_branch(shop: ml.Store) -> None:
    trial = shop.branch("trial")
    trial.write("spend", rows({"doomed": 4}, day=4))

    for handle, amount in ((trial, 4), (shop, 2), (trial.at("v1"), 2)):
        reader = pickle.loads(pickle.dumps(handle.reader(["spend"])))
        assert reader.online_features({"name": "doomed"})["amount"] == amount


def test_within_a_transaction_one_key_is_answered_with_its_own_writes(shop: ml.Store) -> None:
    assert one(shop) == 2

    with shop.transaction() as tx:
        assert one(tx) == 2
        tx.write("spend", rows({"doomed": 3}, day=3))
        assert one(tx) == 3
        assert one(shop) == 2
        tx.apply(USER, ml.FeatureView("spend", entity=USER, schema={"amount": ml.int64, "note": ml.string}))
        assert tx.online_features(["spend"], {"name": "doomed"}) == {"name": "doomed", "amount": 3, "note": None}
        tx.delete("spend", keys={"name": "doomed"})
        assert one(tx) is None

    assert one(shop) is None


def test_sequences_and_ranges_of_a_branch_are_of_what_it_sees(shop: ml.Store) -> None:
    shop.write("spend", rows({"yan": 2}, day=2))
    trial = shop.branch("trial")
    shop.write("spend", rows({"doomed": 3, "zoe": 3}, day=3))
    trial.write("spend", rows({"doomed": 4, "bob": 4}, day=4))
    trial.delete("spend", keys={"name": "ann"})

    assert trial.online_features(["spend"], {"name": "doomed"}, last_n=5)["amount"] == [2, 4]
    assert shop.online_features(["spend"], {"name": "doomed"}, last_n=5)["amount"] == [2, 3]
    assert trial.online_range(["spend"]).table().to_pylist() == [
        {"name": "bob", "amount": 4},
        {"name": "doomed", "amount": 4},
        {"name": "yan", "amount": 2},
    ]
    assert shop.online_range(["spend"]).table()["name"].to_pylist() == ["ann", "doomed", "yan", "zoe"]


def test_freshness_of_a_branch_is_of_the_rows_it_sees(shop: ml.Store) -> None:
    trial = shop.branch("trial")
    shop.write("spend", rows({"ann": 3}, day=9))
    trial.write("spend", rows({"bob": 1}, day=2))

    told = {name: shop.checkout(name).freshness(now="2026-01-10").views[0] for name in ("main", "trial")}

    assert {name: view.age.days for name, view in told.items() if view.age} == {"main": 1, "trial": 8}
    assert {name: view.rows for name, view in told.items()} == {"main": 3, "trial": 3}


def test_what_a_branch_sees_of_its_ancestors_is_counted_once(shop: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write("spend", rows({"ann": 9}, day=9))
    shop.rollback("v1")
    counted = []
    extent = History.extent
    monkeypatch.setattr(History, "extent", lambda history: counted.append(history.scope) or extent(history))

    for day in range(2, 5):
        shop.write("spend", rows({"eve": day}, day=day))
        shop.delete("spend", keys={"name": "doomed"})
        table = shop.info()["tables"][0]
        assert (table["rows"], table["min_time"].day, table["max_time"].day) == (day, 1, day)
        assert shop.freshness(now="2026-01-10").views[0].rows == day

    assert len(counted) == 1
    shop.verify()


# ---------------------------------------------------------------- upkeep


def test_lines_that_a_rollback_and_a_merge_left_are_optimized_too(shop: ml.Store) -> None:
    trial = shop.branch("trial")
    trial.write("spend", rows({"bob": 4}, day=4))
    shop.merge("trial")
    shop.write("spend", rows({"ann": 5}, day=5))
    shop.rollback("v1")
    shop.delete_branch("trial")
    shop.write("spend", rows({"eve": 6}, day=6))
    before = shop.read("spend").table()

    done = shop.optimize(tier="cold")

    table = shop.info()["tables"][0]
    assert (table["tiers"], table["tail_rows"]) == ({"cold": 1}, 0)  # what is left of v1's line is taken over
    assert done["rows_sealed"] == 5
    assert shop.read("spend").table().sort_by("name") == before.sort_by("name")
    assert one(shop.branch("again", at=shop.reflog()[1].before), "ann") == 5
    assert not shop.verify().problems


def test_another_branch_is_left_to_its_own_optimize(shop: ml.Store) -> None:
    trial = shop.branch("trial")

    trial.optimize()
    tails = [shop.info()["tables"][0]["tail_rows"], shop.optimize()["rows_sealed"]]

    assert tails == [2, 2]


# ---------------------------------------------------------------- streams


def test_a_stream_writes_to_the_branch_of_its_handle(shop: ml.Store) -> None:
    trial = shop.branch("trial")

    with trial.stream("spend") as stream:
        stream.append({"name": "bob", "event_timestamp": "2026-01-02", "amount": 7}).result()
        assert one(trial, "bob") == 7
        trial.rollback("v1")
        stream.append({"name": "eve", "event_timestamp": "2026-01-02", "amount": 8}).result()

    assert names(trial) == {"ann", "doomed", "eve"}
    assert names(shop) == {"ann", "doomed"}
    assert not shop.verify().problems


def test_what_outlives_a_call_is_no_step_of_a_transaction(shop: ml.Store) -> None:
    labels = pa.table({"name": ["ann"], "event_timestamp": pa.array([np.datetime64("2026-01-02", "us")])})

    with shop.transaction() as tx:
        for step in (
            lambda: tx.stream("spend"),
            lambda: tx.forget("user", {"name": "ann"}),
            lambda: tx.seal("v1"),
            lambda: tx.compact(),
            lambda: tx.training_set(labels.to_reader(), ["spend"]),
            lambda: pickle.dumps(tx.reader(["spend"])),
        ):
            with pytest.raises(ml.UsageError, match="step of a transaction"):
                step()
        assert tx.training_set(labels, ["spend"])["amount"].to_pylist() == [1]

    assert names(shop) == {"ann", "doomed"}


# ---------------------------------------------------------------- training sets and proof


def test_a_training_set_of_a_branch_names_its_commit_and_is_made_anew_from_anywhere(shop: ml.Store) -> None:
    trial = shop.branch("trial")
    labels = {"name": ["ann", "doomed"], "event_timestamp": ["2026-01-09"] * 2}
    at_the_fork = trial.training_set(labels, ["spend"])
    commit = trial.write("spend", rows({"ann": 9}, day=2))

    made = trial.training_set(labels, ["spend"])
    trial.rollback("v1")

    assert at_the_fork.schema.metadata[b"mlstore.version"].decode() == shop.history()[0].id
    assert made.schema.metadata[b"mlstore.version"].decode() == commit.id
    assert shop.reproduce(made).equals(made)
    assert trial.reproduce(at_the_fork).equals(at_the_fork)


def test_every_move_of_a_branch_is_an_act(shop: ml.Store) -> None:
    trial = shop.branch("trial", message="why", author="me")
    commit = trial.write("spend", rows({"bob": 4}, day=4))
    first = shop.history()[0]
    shop.protect_branch("trial", author="me")
    shop.protect_branch("trial", protected=False, author="me")
    shop.rename_branch("trial", "tried", author="me")
    shop.merge("tried", author="me")
    shop.rollback("v1", author="me")
    shop.delete_branch("tried", author="me")

    acts = [entry for entry in shop.audit().to_pylist() if entry["action"].startswith(BRANCH)]

    assert [(act["action"].removeprefix(BRANCH), act["subject"], act["before"], act["after"]) for act in acts] == [
        ("create", "trial", None, first.id),
        ("protect", "trial", commit.id, commit.id),
        ("unprotect", "trial", commit.id, commit.id),
        ("rename", "trial", commit.id, commit.id),
        ("merge", "main", first.id, commit.id),
        ("rollback", "main", commit.id, first.id),
        ("delete", "tried", commit.id, None),
    ]
    assert {act["author"] for act in acts} == {"me"}
    assert acts[0]["message"] == "why"
    assert not shop.verify(trusted_head=acts[-1]["id"]).problems


def test_a_branch_that_came_or_went_behind_the_audit_is_found(shop: ml.Store) -> None:
    shop.branch("trial")
    with shop._session.writing() as context:
        packed = context.writer.get(REFS, b"trial")
        assert packed is not None
        context.writer.put(REFS, b"other", packed)
        context.writer.delete(REFS, b"trial")

    with pytest.raises(ml.CorruptionError) as error:
        shop.verify()

    assert "branch 'other'" in str(error.value)
    assert "branch 'trial'" in str(error.value)


def test_a_seal_of_a_branch_is_checked_from_every_branch(shop: ml.Store) -> None:
    trial = shop.branch("trial")
    trial.write("spend", rows({"bob": 4}, day=4))
    trial.delete("spend", keys={"name": "doomed"})
    sealed = trial.seal(trial.history()[0].id)
    trial.optimize()
    trial.rollback("v1")

    report = shop.verify(trusted_head=sealed)

    assert report.checks["seals"] == 1


def test_a_commit_of_another_branch_did_not_lead_to_this_one(shop: ml.Store) -> None:
    commit = shop.branch("trial").write("spend", rows({"bob": 4}, day=4))

    with pytest.raises(ml.CorruptionError, match="not part of what led to this version"):
        shop.verify(trusted_head=commit)

    shop.merge("trial")
    assert not shop.verify(trusted_head=commit).problems

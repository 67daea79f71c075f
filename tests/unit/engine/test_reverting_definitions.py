"""Taking definitions back: what an `apply` did is undone on top; rows that need it stand in the way, and nothing stored is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mlstore as ml
from tests.support.worlds import shrink_limits
from tests.unit.engine.test_branches import USER, held, online, rows, spend

RAINY = {"amount": ml.int64, "note": ml.string, "rain": ml.float64}
LATER = "2026-01-02"

WAYS_TO_KEEP_ROWS: dict[str, Callable[[ml.Store], object]] = {
    "in the tail": lambda store: None,
    "in a segment": lambda store: store.optimize(),
    "in a cold segment": lambda store: store.optimize(tier="cold"),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ml.Store]:
    with ml.open(tmp_path / "store.mls", durability="normal") as opened:
        opened.apply(USER, spend())
        opened.write("spend", rows({1: 10, 2: 20, 3: 30}))
        yield opened
        assert not opened.verify().problems


@pytest.fixture(params=WAYS_TO_KEEP_ROWS.values(), ids=WAYS_TO_KEEP_ROWS)
def settle(request: pytest.FixtureRequest) -> Callable[[ml.Store], object]:
    way: Callable[[ml.Store], object] = request.param
    return way


def rain(store: ml.Store) -> list[float | None]:
    return list(store.read("spend").table()["rain"].to_pylist())


def in_order(store: ml.Store) -> list[dict[str, object]]:
    return store.read("spend").table().sort_by([("user_id", "ascending"), ("event_timestamp", "ascending")]).to_pylist()


def test_a_feature_added_is_taken_back_and_what_was_written_since_stays(store: ml.Store, settle: Callable[[ml.Store], object]) -> None:
    store.apply(spend(schema=RAINY))
    added = store.history()[0]
    store.write("spend", rows({1: 11}, at=LATER, rain=[None]))
    settle(store)

    commit = store.revert(added)

    assert [(change.op, change.table) for change in commit.changes] == [("apply evolve", "view spend")]
    assert "rain" not in store.read("spend").schema.names
    assert online(store) == [11, 20, 30, None]
    assert held(store) == [(1, 10), (1, 11), (2, 20), (3, 30)]
    with pytest.raises(ml.UnknownNameError):
        store.online_features(["spend:rain"], {"user_id": 1})


def test_values_written_since_stand_in_the_way_unless_told_otherwise(store: ml.Store, settle: Callable[[ml.Store], object]) -> None:
    store.apply(spend(schema=RAINY))
    added = store.history()[0]
    store.write("spend", rows({1: 11}, at=LATER, rain=[0.5]))
    store.snapshot("rainy")
    settle(store)

    with pytest.raises(ml.MergeConflictError) as refusal:
        store.revert(added)
    assert refusal.value.conflicts.select(["table", "column", "ours", "theirs"]).to_pylist() == [
        {"table": "spend", "column": "rain", "ours": "1 row since", "theirs": "taken back"}
    ]
    assert rain(store) == [None, 0.5, None, None]

    store.revert(added, strategy="ours")
    assert rain(store) == [None, 0.5, None, None]

    store.revert(added, strategy="theirs")
    settle(store)
    assert "rain" not in store.read("spend").schema.names
    assert rain(store.at("rainy")) == [None, 0.5, None, None]
    assert store.at("rainy").online_features(["spend:rain"], {"user_id": 1})["rain"] == 0.5


def test_a_feature_that_comes_back_has_its_values_again(store: ml.Store, settle: Callable[[ml.Store], object]) -> None:
    store.apply(spend(schema=RAINY))
    added = store.history()[0]
    store.write("spend", rows({1: 11, 2: 21}, at=LATER, rain=[0.5, 0.25]))
    taken = store.revert(added, strategy="theirs")
    store.write("spend", rows({1: 12, 2: 22}, at="2026-01-03"))
    settle(store)
    store.delete("spend", keys={"user_id": 1}, start="2026-01-03")

    store.revert(taken)

    assert rain(store) == [None, 0.5, None, 0.25, None, None]
    assert store.online_features(["spend:rain"], {"user_id": [1, 2]})["rain"].to_pylist() == [0.5, None]


def test_another_feature_never_shows_the_values_of_one_taken_back(store: ml.Store, settle: Callable[[ml.Store], object]) -> None:
    store.apply(spend(schema=RAINY))
    added = store.history()[0]
    store.write("spend", rows({1: 11}, at=LATER, rain=[0.5]))
    settle(store)
    store.revert(added, strategy="theirs")

    store.apply(spend(schema={"amount": ml.int64, "note": ml.string, "city": ml.string}))
    store.write("spend", rows({2: 21}, at=LATER, city=["Oslo"]))
    settle(store)

    assert store.read("spend").table()["city"].to_pylist() == [None, None, None, "Oslo", None]
    assert store.online_features(["spend:city"], {"user_id": [1, 2]})["city"].to_pylist() == [None, "Oslo"]
    assert rain(store.at(added)) == [None] * 3


def test_a_feature_of_the_same_name_begins_empty(store: ml.Store) -> None:
    store.apply(spend(schema=RAINY))
    added = store.history()[0]
    store.write("spend", rows({1: 11}, at=LATER, rain=[0.5]))
    store.revert(added, strategy="theirs")

    store.apply(spend(schema=RAINY | {"rain": ml.string}))

    assert rain(store) == [None] * 4


def test_versions_read_a_feature_taken_back_after_everything_was_merged(store: ml.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_limits(monkeypatch)
    store.apply(spend(schema=RAINY))
    added = store.history()[0]
    store.write("spend", rows({user: user for user in range(20)}, at=LATER, rain=[user / 2 for user in range(20)]))
    store.snapshot("rainy")
    before = in_order(store.at("rainy"))
    store.revert(added, strategy="theirs")

    for day in range(3, 9):
        store.write("spend", rows(dict.fromkeys(range(10), day), at=f"2026-01-0{day}"))
    store.optimize(tier="cold")

    assert in_order(store.at("rainy")) == before


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[ml.Store]:
    with ml.open(tmp_path / "narrow.mls", durability="normal") as opened:
        opened.apply(USER, spend(schema={"amount": ml.int16, "note": ml.string}))
        opened.write("spend", rows({1: 10, 2: 20, 3: None}))
        opened.apply(USER, spend())
        yield opened
        assert not opened.verify().problems


def test_a_wider_type_is_taken_back_while_all_values_fit(narrow: ml.Store, settle: Callable[[ml.Store], object]) -> None:
    narrow.rollback(narrow.history()[1])
    narrow.apply(spend(schema={"amount": ml.float64, "note": ml.string}))
    widened = narrow.history()[0]
    narrow.write("spend", rows({1: 11}, at=LATER))
    settle(narrow)
    assert repr(narrow.online_features(["spend:amount"], {"user_id": 1})["amount"]) == "11.0"

    narrow.revert(widened)

    assert online(narrow) == [11, 20, None, None]
    assert repr(narrow.online_features(["spend:amount"], {"user_id": 1})["amount"]) == "11"


def test_a_value_that_does_not_fit_keeps_the_wider_type(narrow: ml.Store, settle: Callable[[ml.Store], object]) -> None:
    widened = narrow.history()[0]
    narrow.write("spend", rows({1: 2**40}, at=LATER))
    settle(narrow)

    for strategy in (None, "theirs"):
        with pytest.raises(ml.MergeConflictError, match="amount"):
            narrow.revert(widened, strategy=strategy)

    assert online(narrow) == [2**40, 20, None, None]


def test_a_value_that_fits_again_once_it_was_deleted(narrow: ml.Store, settle: Callable[[ml.Store], object]) -> None:
    widened = narrow.history()[0]
    narrow.write("spend", rows({1: 2**40, 2: 21}, at=LATER))
    narrow.snapshot("wide")
    narrow.delete("spend", keys={"user_id": 1}, start=LATER)
    settle(narrow)

    narrow.revert(widened)
    settle(narrow)
    narrow.optimize()

    assert str(narrow.read("spend").schema.field("amount").type) == "int16"
    assert online(narrow) == [10, 21, None, None]
    assert online(narrow.at("wide")) == [2**40, 21, None, None]


def test_a_type_that_does_not_hold_what_older_versions_held_is_refused(narrow: ml.Store) -> None:
    narrow.write("spend", rows({1: 2**60}, at=LATER))
    narrow.delete("spend", start=LATER)
    narrow.revert(narrow.history()[2])

    with pytest.raises(ml.DefinitionError, match="amount was int64"):
        narrow.apply(spend(schema={"amount": ml.float64, "note": ml.string}))

    narrow.apply(spend(schema={"amount": ml.int32, "note": ml.string}))
    assert online(narrow) == [10, 20, None, None]


def test_what_was_made_is_taken_back(store: ml.Store) -> None:
    shop = ml.Entity("shop", keys={"shop": ml.string})
    store.apply(shop, ml.FeatureView("sales", entity=shop, schema={"sum": ml.float64}), ml.Table("lines", schema={"text": ml.string}),
                ml.FeatureService("model", features=["spend", "sales:sum"]))  # fmt: skip
    made = store.history()[0]

    commit = store.revert(made)

    assert [change.op for change in commit.changes] == ["apply withdraw"] * 4
    assert [entry.label for entry in store.catalog()] == ["user", "spend"]
    with pytest.raises(ml.UnknownNameError):
        store.read("sales")
    assert len(store.at(made).catalog()) == 6


def test_a_view_that_was_written_to_stays_unless_told_otherwise(store: ml.Store) -> None:
    store.apply(ml.FeatureView("clicks", entity=USER, schema={"count": ml.int64}))
    made = store.history()[0]
    store.write("clicks", {"user_id": [1], "event_timestamp": [LATER], "count": [5]})
    store.snapshot("clicked")

    with pytest.raises(ml.MergeConflictError, match="clicks"):
        store.revert(made)
    taken = store.revert(made, strategy="theirs")

    assert "clicks" not in [entry.label for entry in store.catalog()]
    assert store.at("clicked").online_features(["clicks:count"], {"user_id": 1})["count"] == 5
    store.revert(taken)
    assert store.online_features(["clicks:count"], {"user_id": 1})["count"] == 5
    assert store.read("clicks").num_rows == 1


def test_a_name_taken_back_is_given_again_as_another_version(store: ml.Store) -> None:
    store.apply(ml.Table("clicks", schema={"count": ml.int64}))
    store.write("clicks", {"count": [5]})
    store.revert(store.history()[1], strategy="theirs")

    store.apply(ml.FeatureView("clicks", entity=USER, schema={"seen": ml.string}))
    store.write("clicks", {"user_id": [1], "event_timestamp": [LATER], "seen": ["x"]})
    store.optimize()

    assert [entry.label for entry in store.catalog() if entry.name == "clicks"] == ["clicks@2"]
    assert store.read("clicks").num_rows == 1


def test_a_new_version_of_a_view_is_taken_back(store: ml.Store) -> None:
    store.apply(spend(schema={"amount": ml.string}))
    assert store.catalog()[-1].label == "spend@2"

    store.revert(store.history()[0])

    assert online(store) == [10, 20, 30, None]


@pytest.mark.parametrize(
    "reader",
    [
        ml.FeatureService("model", features=["spend:rain"]),
        ml.OnDemandView("wet", inputs=["spend:rain"], features={"wet": ml.col("rain") > 0.5}),
        ml.WindowView("recent", entity=USER, source="spend", aggregations=[ml.agg("rain", "mean", windows=["7d"])]),
    ],
    ids=["a service", "an on-demand view", "a window view"],
)
def test_what_another_definition_is_made_from_is_not_taken_back_before_it(store: ml.Store, reader: ml.FeatureService) -> None:
    store.apply(spend(schema=RAINY))
    added = store.history()[0]
    store.apply(reader)
    later = store.history()[0]

    with pytest.raises(ml.DefinitionError, match=r"spend|rain"):
        store.revert(added)
    assert "rain" in store.read("spend").schema.names

    store.revert(later)
    store.revert(added)
    assert "rain" not in store.read("spend").schema.names


def test_a_rule_is_taken_back(store: ml.Store) -> None:
    store.apply(spend(ttl="1h", description="short"))

    store.revert(store.history()[0])

    entry = next(entry for entry in store.catalog() if entry.label == "spend")
    assert (entry.definition.ttl, entry.definition.description) == (spend().ttl, spend().description)


def test_definitions_and_rows_of_one_transaction_are_taken_back_together(store: ml.Store) -> None:
    with store.transaction(message="rain") as tx:
        tx.apply(spend(schema=RAINY))
        tx.write("spend", rows({1: 11}, at="2026-01-01", rain=[0.5]), mode="upsert")
        tx.write("spend", rows({4: 40}, at=LATER, rain=[0.75]))

    store.revert(store.history()[0])

    assert "rain" not in store.read("spend").schema.names
    assert held(store) == [(1, 10), (2, 20), (3, 30)]
    assert online(store) == [10, 20, 30, None]


def test_taking_back_on_one_branch_is_merged_into_another(store: ml.Store) -> None:
    store.apply(spend(schema=RAINY))
    added = store.history()[0]
    trial = store.branch("trial")
    trial.revert(added)
    store.write("spend", rows({1: 11}, at=LATER, rain=[None]))

    store.merge("trial")

    assert "rain" not in store.read("spend").schema.names
    assert online(store) == [11, 20, 30, None]


def test_values_written_meanwhile_refuse_a_merge_that_takes_the_feature_back(store: ml.Store) -> None:
    store.apply(spend(schema=RAINY))
    added = store.history()[0]
    trial = store.branch("trial")
    trial.revert(added)
    store.write("spend", rows({1: 11}, at=LATER, rain=[0.5]))

    with pytest.raises(ml.MergeConflictError, match="rain"):
        store.merge("trial")

    store.merge("trial", strategy="theirs")
    assert "rain" not in store.read("spend").schema.names


def test_both_sides_add_features_and_one_takes_its_own_back(store: ml.Store) -> None:
    trial = store.branch("trial")
    trial.apply(spend(schema={"amount": ml.int64, "note": ml.string, "city": ml.string}))
    trial.write("spend", rows({4: 40}, at=LATER, city=["Oslo"]))
    store.apply(spend(schema=RAINY))
    added = store.history()[0]
    store.write("spend", rows({1: 11}, at=LATER, rain=[0.5]))
    store.merge("trial")

    store.revert(added, strategy="theirs")

    table = store.read("spend").table()
    assert "rain" not in table.schema.names
    assert table["city"].to_pylist() == [None, None, None, None, "Oslo"]


def test_what_was_taken_back_is_forgotten_too(store: ml.Store) -> None:
    store.apply(ml.FeatureView("clicks", entity=USER, schema={"count": ml.int64}))
    made = store.history()[0]
    store.write("clicks", {"user_id": [1, 2], "event_timestamp": [LATER] * 2, "count": [5, 6]})
    store.snapshot("clicked")
    store.revert(made, strategy="theirs")

    report = store.forget(USER, {"user_id": [1]})

    assert report.rows["clicks"] == 1
    assert store.at("clicked").read("clicks").num_rows == 1


def test_a_handle_that_read_before_reads_on(store: ml.Store) -> None:
    store.apply(spend(schema=RAINY))
    added = store.history()[0]
    reader = store.reader(["spend:amount"])
    assert reader.online_features({"user_id": 1})["amount"] == 10

    ml.open(store.path).revert(added)

    assert reader.online_features({"user_id": 1})["amount"] == 10
    assert online(store) == [10, 20, 30, None]


def test_only_commits_of_this_branch_are_taken_back(store: ml.Store) -> None:
    with pytest.raises(ml.UsageError, match="not part of this branch"):
        store.revert(store.branch("x").write("spend", rows({1: 1})))

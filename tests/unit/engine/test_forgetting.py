"""Forgetting: no version, line, tail, online row or byte of the file knows the keys any more, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mlstore as ml
from mlstore.engine.history.segments import DELETES, list_entries
from mlstore.engine.keeping import rewriting
from mlstore.engine.writing import upkeep

USER = ml.Entity("user", keys={"name": ml.string})
VISIT = ml.FeatureView("visit", entity=USER, schema={"page": ml.string})
SPEND = ml.FeatureView("spend", entity=USER, schema={"amount": ml.int64})
ORDER = ml.Table("order", schema={"name": ml.string, "item": ml.string}, key="name")
SHOP = ml.Entity("shop", keys={"shop_id": ml.int64})
RENT = ml.FeatureView("rent", entity=SHOP, schema={"amount": ml.int64})

NAMES = ["ann", "bob", "doomed", "eve"]
DOOMED = {"name": "doomed"}


def visits(day: int, names: list[str] = NAMES) -> dict[str, list[Any]]:
    times = [f"2024-05-{day:02}"] * len(names)
    return {"name": names, "event_timestamp": times, "page": [f"secret page of {name}" for name in names]}


def spends(day: int) -> dict[str, list[Any]]:
    return {"name": NAMES, "event_timestamp": [f"2024-05-{day:02}"] * len(NAMES), "amount": [day] * len(NAMES)}


def names_in(store: ml.Store, view: str) -> list[str]:
    return sorted(set(store.read(view).table()["name"].to_pylist()))


@pytest.fixture
def filled(store: ml.Store, small_limits: None) -> ml.Store:
    """Rows in segments of several runs, in the tail, deleted and replaced, under three snapshots."""
    store.apply(USER, VISIT, SPEND, ORDER, SHOP, RENT)
    store.write("visit", visits(1))
    store.write("spend", spends(1))
    store.snapshot("first")
    for day in range(2, 9):
        store.write("visit", visits(day))
    store.delete("visit", keys=DOOMED, start="2024-05-02", end="2024-05-04")
    store.snapshot("second")
    store.write("visit", visits(8), mode="upsert")
    store.optimize(table="visit")
    store.write("visit", visits(9, ["bob", "doomed"]))
    store.write("order", {"name": NAMES, "item": NAMES})
    store.write("rent", {"shop_id": 1, "event_timestamp": "2024-05-01", "amount": 7})
    store.snapshot("third")
    return store


@pytest.mark.parametrize("version", ["first", "second", "third", None])
def test_no_version_knows_a_forgotten_key_and_every_other_key_is_as_before(filled: ml.Store, version: str | None):
    handle = filled if version is None else filled.at(version)
    keys = {"name": NAMES}
    before = handle.read("visit").table().to_pylist(), handle.online_features(["visit", "spend"], keys).to_pylist()

    filled.forget(USER, keys=DOOMED)

    rows, online = before
    assert sorted(map(str, handle.read("visit").table().to_pylist())) == sorted(str(row) for row in rows if row["name"] != "doomed")
    assert handle.online_features(["visit", "spend"], keys).to_pylist() == [
        row if row["name"] != "doomed" else {"name": "doomed", "page": None, "amount": None} for row in online
    ]
    filled.verify()


def test_the_commit_tells_how_much_was_erased_and_nothing_of_what(filled: ml.Store):
    report = filled.forget("user", keys=DOOMED, message="request 17", author="privacy desk")

    # Nine days, one of them written twice.
    assert report.rows == {"visit": 10, "spend": 1}
    assert filled.history(limit=1) == [report.commit]
    assert (report.commit.author, report.commit.message) == ("privacy desk", "request 17")
    assert {(change.op, change.table, change.rows, change.digest) for change in report.commit.changes} == {
        ("forget", "visit", 10, b""),
        ("forget", "spend", 1, b""),
    }


def test_no_byte_of_the_file_knows_a_forgotten_key_once_it_is_compacted(filled: ml.Store, store_path: Path):
    assert b"secret page of doomed" in store_path.read_bytes()

    report = filled.forget(USER, keys=DOOMED, compact=True)

    content = store_path.read_bytes()
    assert report.compacted is not None
    assert report.segments_held == 0
    assert b"secret page of doomed" not in content
    assert b"secret page of bob" in content
    assert names_in(filled, "order") == sorted(NAMES), "a table is forgotten only if it is named"
    filled.verify()


def test_the_key_is_in_no_place_once_its_tables_are_named_too(filled: ml.Store, store_path: Path):
    filled.forget(USER, keys=DOOMED)
    filled.forget(ORDER, keys=DOOMED, compact=True)

    assert b"doomed" not in store_path.read_bytes()
    assert names_in(filled, "order") == ["ann", "bob", "eve"]


def test_forgetting_is_over_when_the_commit_is_made_whatever_was_not_rewritten_yet(filled: ml.Store, monkeypatch: pytest.MonkeyPatch):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(rewriting, "rewrite_segment", die)
        with pytest.raises(KeyboardInterrupt):
            filled.forget(USER, keys=DOOMED)

    for handle in (filled, filled.at("first"), filled.at("second"), filled.at("third")):
        assert "doomed" not in names_in(handle, "visit")
        assert handle.online_features(["visit"], DOOMED)["page"] is None
    filled.verify()


def test_what_was_interrupted_is_done_by_optimize(filled: ml.Store, store_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as broken:
        broken.setattr("mlstore.engine.keeping.forgetting.rewrite_wasteful", lambda session: 0)
        with pytest.raises(ml.CorruptionError, match="are in the file still"):
            filled.forget(USER, keys=DOOMED)

    filled.optimize()
    filled.compact()

    assert b"secret page of doomed" not in store_path.read_bytes()
    filled.verify()


@pytest.mark.usefixtures("small_limits")
def test_rows_that_moved_to_another_segment_are_erased_where_they_came_from_too(
    store: ml.Store, store_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In the middle of a merge a segment still has the bytes of rows that are counted elsewhere by now."""
    monkeypatch.setattr("mlstore.engine.limits.FANOUT", 9)
    store.apply(USER, VISIT, SPEND)
    store.write("visit", visits(1, ["ann", "doomed", *(f"guest {number}" for number in range(6))]))
    store.write("visit", visits(2, ["bob", "cid", "dan", "eve", *(f"guest {number}" for number in range(4))]))
    with store._session.writing() as context:
        relation = context.catalog.relation("visit")
        upkeep.merge_once(context, relation, upkeep.plan_full_merge)
        entries = list_entries(context.writer, relation.table, context.scope.line)
    assert [entry.start_row for entry in entries if entry.start_row], "no merge is under way, so the test would prove nothing"

    report = store.forget(USER, keys=DOOMED, compact=True)

    assert report.rows["visit"] == 1
    assert report.segments_rewritten == 2
    assert b"secret page of doomed" not in store_path.read_bytes()
    store.verify()
    store.optimize()
    assert store.read("visit").num_rows == 15
    store.verify()


@pytest.mark.usefixtures("small_limits")
def test_a_view_with_a_retention_forgets_rows_that_a_snapshot_would_keep(store: ml.Store, store_path: Path):
    store.apply(USER, ml.FeatureView("visit", entity=USER, schema={"page": ml.string}, retention="1d"))
    store.write("visit", visits(1, ["doomed", "eve"]) | {"event_timestamp": ["2999-01-01"] * 2})
    store.write("visit", visits(2, ["bob", "doomed"]))
    store.snapshot("kept")
    store.optimize()

    report = store.forget(USER, keys=DOOMED, compact=True)

    assert report.rows == {"visit": 2}
    assert b"doomed" not in store_path.read_bytes()
    assert names_in(store.at("kept"), "visit") == ["bob", "eve"]
    store.verify()


def test_arrays_keep_the_old_segments_and_the_report_says_so(filled: ml.Store, monkeypatch: pytest.MonkeyPatch):
    filled.optimize()
    held = filled.read("visit", columns=["page"]).table()

    report = filled.forget(USER, keys=DOOMED)

    assert report.segments_held > 0
    assert "secret page of doomed" in held["page"].to_pylist()
    del held
    filled.optimize()
    assert filled.info()["environment"]["keyspaces"]["trash"] == 0


def test_a_forgotten_key_may_come_back(filled: ml.Store):
    filled.forget(USER, keys=DOOMED)

    filled.write("visit", visits(20, ["doomed"]))

    assert filled.read("visit", start="2024-05-10").num_rows == 1
    assert filled.online_features(["visit"], DOOMED)["page"] == "secret page of doomed"
    filled.forget(USER, keys=DOOMED)
    assert "doomed" not in names_in(filled, "visit")
    filled.verify()


def test_nothing_is_marked_any_more_when_it_is_done(filled: ml.Store):
    filled.optimize()
    filled.forget(USER, keys={"name": NAMES})

    with filled._session.reading() as context:
        assert [key for key, packed in context.reader.scan(DELETES) if packed] == []
    assert filled.read("visit").num_rows == 0
    assert {table["name"]: table["rows"] for table in filled.info()["tables"]}["visit"] == 0
    filled.verify()


def test_keys_that_never_were_are_forgotten_without_a_trace(filled: ml.Store):
    before = filled.read("visit").table()

    report = filled.forget(USER, keys={"name": ["nobody", "no one"]})

    assert report.rows == {"visit": 0, "spend": 0}
    assert report.segments_rewritten == 0
    assert filled.read("visit").table() == before


def test_other_entities_are_left_alone(filled: ml.Store):
    filled.forget(SHOP, keys={"shop_id": 1})

    assert names_in(filled, "visit") == sorted(NAMES)
    assert filled.read("rent").num_rows == 0


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("what", "keys", "error", "message"),
    [
        ("nobody", DOOMED, ml.UnknownNameError, "no entity or table 'nobody'"),
        ("visit", DOOMED, ml.UsageError, "is a view"),
        (VISIT, DOOMED, ml.UsageError, "give an entity or a table"),
        ("user", {"id": 1}, ml.SchemaMismatchError, "takes keys"),
        ("shop", {"shop_id": "one"}, ml.UsageError, "shop_id"),
    ],
)
def test_a_call_that_makes_no_sense_erases_nothing(filled: ml.Store, what: Any, keys: Any, error: type[Exception], message: str):
    head = filled.history(limit=1)

    with pytest.raises(error, match=message):
        filled.forget(what, keys=keys)

    assert filled.history(limit=1) == head
    assert names_in(filled, "visit") == sorted(NAMES)


def test_a_version_of_the_past_forgets_nothing(filled: ml.Store):
    with pytest.raises(ml.ReadOnlyError):
        filled.at("first").forget(USER, keys=DOOMED)


# ---------------------------------------------------------------- events of an entity


ORDERS = ml.Table("orders", schema={"name": ml.string, "item": ml.int64, "price": ml.float64}, key=["name", "item"], timestamp="at")
SPENT = ml.WindowView("spent", entity=USER, source=ORDERS, aggregations=[ml.agg("price", ["count", "sum"], windows=["7d", "lifetime"])])


def orders(day: int, names: list[str] = NAMES) -> dict[str, list[Any]]:
    return {"name": names, "item": list(range(len(names))), "at": [f"2024-05-{day:02}"] * len(names), "price": [float(day)] * len(names)}


@pytest.fixture
def sold(store: ml.Store, small_limits: None) -> ml.Store:
    """Events in segments and in the tail, on two branches."""
    store.apply(USER, VISIT, ORDERS, SPENT)
    store.write("visit", visits(1))
    for day in range(1, 9):
        store.write("orders", orders(day))
    store.snapshot("then")
    store.branch("other").write("orders", orders(10, ["doomed", "bob"]))
    store.write("orders", orders(9, ["doomed-not", "doomed"]))
    return store


def test_the_events_of_its_window_views_are_forgotten_with_an_entity(sold: ml.Store, store_path: Path):
    report = sold.forget("user", keys=DOOMED, compact=True)

    assert report.rows == {"orders": 10, "visit": 1}
    assert names_in(sold, "orders") == ["ann", "bob", "doomed-not", "eve"]
    assert names_in(sold.at("then"), "orders") == ["ann", "bob", "eve"]
    assert names_in(sold.at("other"), "orders") == ["ann", "bob", "eve"]
    sold.verify()
    sold.close()
    assert b"doomed" not in store_path.read_bytes().replace(b"doomed-not", b"")


def test_windows_count_nothing_of_a_forgotten_key_and_all_of_the_others(sold: ml.Store):
    others = {"name": ["ann", "bob", "doomed-not", "eve"]}
    before = sold.online_features(["spent"], others, now="2024-05-09")

    sold.forget("user", keys=DOOMED)

    assert sold.online_features(["spent:price_count_lifetime"], DOOMED, now="2024-05-09")["price_count_lifetime"] == 0
    assert sold.online_features(["spent"], others, now="2024-05-09") == before

"""What window views say to those who ask: statuses, versions, transactions, refusals, explanations, key ranges, skew."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

import mlstore as ml
from mlstore.engine.windows.tiles import TILES

USER = ml.Entity("user", keys={"user_id": ml.int64})
ORDERS = ml.Table(
    "orders",
    schema={"user_id": ml.int64, "order_id": ml.int64, "amount": ml.float64, "kind": ml.string},
    key=("user_id", "order_id"),
    timestamp="ordered_at",
)
SPEND = ml.WindowView(
    "spend",
    entity=USER,
    source=ORDERS,
    aggregations=[
        ml.agg("amount", ["count", "sum", "last"], windows=["1h", "1d"]),
        ml.agg("kind", "distinct", windows="1d"),
    ],
)
PROFILE = ml.FeatureView("profile", entity=USER, schema={"age": ml.int64})


@pytest.fixture
def store() -> ml.Store:
    store = ml.open(":memory:")
    store.apply(USER, ORDERS, SPEND, PROFILE)
    store.write("orders", orders((7, 1, "10:00", 5.0), (7, 2, "10:30", 7.5), (8, 1, "10:30", 1.0)))
    store.write("profile", {"user_id": [7], "event_timestamp": ["2024-05-01 09:00"], "age": [44]})
    return store


def orders(*rows: tuple[int, int, str, float | None], kind: str = "buy") -> list[dict[str, object]]:
    return [
        {"user_id": user, "order_id": order, "ordered_at": f"2024-05-01 {time}", "amount": amount, "kind": kind}
        for user, order, time, amount in rows
    ]


def now(time: str) -> datetime:
    return datetime.fromisoformat(f"2024-05-01 {time}").replace(tzinfo=UTC)


def sum_1d(store: ml.Store, user: int = 7, *, at: str = "11:00") -> float | None:
    return store.online_features(["spend:amount_sum_1d"], {"user_id": user}, now=now(at))["amount_sum_1d"]


@pytest.fixture(params=["from events", "from tiles"])
def filled(request: pytest.FixtureRequest, store: ml.Store) -> ml.Store:
    if request.param == "from tiles":
        store.backfill("spend")
    return store


def test_an_event_is_in_the_next_read(filled: ml.Store) -> None:
    filled.write("orders", orders((7, 3, "10:45", 2.0)))

    assert sum_1d(filled) == 14.5
    assert filled.verify().problems == ()


def test_a_late_event_a_correction_and_a_deletion_count_at_once(filled: ml.Store) -> None:
    filled.write("orders", orders((7, 3, "02:00", 100.0)))
    assert sum_1d(filled) == 112.5

    filled.write("orders", orders((7, 3, "02:00", 10.0)), mode="upsert")
    assert sum_1d(filled) == 22.5

    filled.delete("orders", keys={"user_id": 7, "order_id": 1})
    assert sum_1d(filled) == 17.5
    assert filled.verify().problems == ()


def test_forgotten_events_are_in_no_tile(filled: ml.Store) -> None:
    filled.forget(ORDERS, keys={"user_id": [7, 7], "order_id": [1, 2]})

    assert sum_1d(filled) is None
    assert sum_1d(filled, 8) == 1.0
    assert filled.verify().problems == ()


def test_stored_and_window_features_come_in_one_answer(filled: ml.Store) -> None:
    answer = filled.online_features(["profile", "spend:amount_count_1h"], {"user_id": 7}, now=now("10:45"))
    labels = {"user_id": [7, 8], "event_timestamp": [now("10:45"), now("10:15")]}

    trained = filled.training_set(labels, ["spend:amount_count_1h", "profile"]).to_pylist()

    assert answer == {"user_id": 7, "age": 44, "amount_count_1h": 2}
    assert [(row["amount_count_1h"], row["age"]) for row in trained] == [(2, 44), (0, None)]


def test_the_status_tells_whether_the_windows_hold_an_event(filled: ml.Store) -> None:
    answer = filled.online_features(["spend:amount_sum_1h"], {"user_id": [7, 9, None]}, now=now("10:45"), status=True)
    later = filled.online_features(["spend:amount_sum_1h"], {"user_id": 7}, now=now("23:00"), status=True)

    assert answer["spend__status"].to_pylist() == ["PRESENT", "NOT_FOUND", "NOT_FOUND"]
    assert answer["spend__event_timestamp"].to_pylist()[0] == now("10:30")
    assert later["spend__status"] == "NOT_FOUND"


def test_a_version_answers_from_the_events_it_saw(filled: ml.Store) -> None:
    filled.snapshot("v1")
    filled.write("orders", orders((7, 3, "10:45", 2.0)))

    assert sum_1d(filled.at("v1")) == 12.5
    assert sum_1d(filled) == 14.5


def test_a_branch_answers_from_its_own_events(filled: ml.Store) -> None:
    branch = filled.branch("try")
    branch.write("orders", orders((7, 3, "10:45", 2.0)))

    assert (sum_1d(branch), sum_1d(filled)) == (14.5, 12.5)
    with pytest.raises(ml.UsageError, match="a branch has no tiles"):
        branch.backfill("spend")


def test_a_merge_leaves_tiles_behind_and_answers_right(filled: ml.Store) -> None:
    filled.branch("try").write("orders", orders((7, 3, "10:45", 2.0)))
    filled.write("orders", orders((8, 3, "10:45", 3.0)))

    filled.merge("try")

    assert (sum_1d(filled), sum_1d(filled, 8)) == (14.5, 4.0)
    assert filled.backfill("spend") in (0, 2)
    assert (sum_1d(filled), sum_1d(filled, 8)) == (14.5, 4.0)


def test_a_transaction_sees_the_events_it_wrote(filled: ml.Store) -> None:
    with filled.transaction() as tx:
        tx.write("orders", orders((7, 3, "10:45", 2.0)))
        inside = sum_1d(tx)
        tx.delete("orders", keys={"user_id": 7, "order_id": 1})
        after = sum_1d(tx)

    assert (inside, after, sum_1d(filled)) == (14.5, 9.5, 9.5)
    assert filled.verify().problems == ()


def test_a_prepared_reader_sees_new_events(filled: ml.Store) -> None:
    reader = filled.reader(["spend:amount_sum_1d"])
    before = reader.online_features({"user_id": 7}, now=now("11:00"))

    filled.write("orders", orders((7, 3, "10:45", 2.0)))

    assert (before["amount_sum_1d"], reader.online_features({"user_id": 7}, now=now("11:00"))["amount_sum_1d"]) == (12.5, 14.5)


def test_a_range_of_keys_has_the_keys_with_events(filled: ml.Store) -> None:
    rows = filled.online_range(["spend:amount_sum_1d"], now=now("11:00")).table().to_pylist()

    assert rows == [{"user_id": 7, "amount_sum_1d": 12.5}, {"user_id": 8, "amount_sum_1d": 1.0}]


def test_streamed_labels_are_answered_as_a_table_is(filled: ml.Store) -> None:
    labels = pa.table({"user_id": [7, 8, 7], "event_timestamp": [now("10:00"), now("10:45"), now("10:29")]})
    whole = filled.training_set(labels, ["spend"])

    streamed = filled.training_set(pa.RecordBatchReader.from_batches(labels.schema, labels.to_batches(max_chunksize=2)), ["spend"])

    assert streamed.read_all().to_pylist() == whole.to_pylist()


def test_a_training_set_of_windows_is_made_again_bit_for_bit(filled: ml.Store) -> None:
    made = filled.training_set({"user_id": [7], "event_timestamp": [now("10:45")]}, ["spend"])
    filled.write("orders", orders((7, 3, "10:40", 2.0)))

    assert filled.reproduce(made).equals(made)


def test_what_was_not_yet_known_counts_only_without_a_bound(store: ml.Store) -> None:
    labels = {"user_id": [7], "event_timestamp": [now("10:45")]}

    known = store.training_set(labels, ["spend:amount_count_1d"], known_at="label")

    assert known["amount_count_1d"].to_pylist() == [0]
    with pytest.raises(ml.LeakageError):
        store.training_set(labels, ["spend:amount_count_1d"], leakage="refuse")


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda store: store.online_features(["spend"], {"user_id": 7}, last_n=3), "window view"),
        (lambda store: store.online_features([ml.ref("spend", ttl="1h")], {"user_id": 7}), "no ttl"),
        (lambda store: store.online_features([ml.ref("spend", offset="1h")], {"user_id": 7}), "offset"),
        (lambda store: store.online_features(["spend"], {"user": 7}), "user_id"),
        (lambda store: store.backfill("orders"), "no window view"),
        (lambda store: store.read("spend"), "window view"),
    ],
)
def test_what_makes_no_sense_of_windows_is_refused(store: ml.Store, ask: object, told: str) -> None:
    with pytest.raises(ml.MlstoreError, match=told):
        ask(store)  # type: ignore[operator]


def test_a_cell_is_explained_by_the_events_behind_it(store: ml.Store) -> None:
    store.write("orders", orders((7, 3, "11:30", 1.0), (7, 4, "10:40", None)))
    store.delete("orders", keys={"user_id": 7, "order_id": 2})

    told = store.explain({"user_id": 7, "event_timestamp": now("10:55")}, "spend:amount_sum_1h")

    assert (told.value, told.status) == (5.0, "PRESENT")
    assert [row["verdict"] for row in told.rows] == ["after the label", "null, which is passed over", "deleted", "counts"]
    assert [row["value"] for row in told.rows] == [1.0, None, 7.5, 5.0]


def test_an_offset_of_a_reference_moves_the_windows(store: ml.Store) -> None:
    labels = {"user_id": [7], "event_timestamp": [now("11:00")]}

    trained = store.training_set(labels, [ml.ref("spend:amount_sum_1h", offset="45m"), "spend:amount_count_1h"])

    assert trained.to_pylist()[0]["amount_sum_1h"] == 5.0


def test_online_and_training_are_shown_to_be_equal(filled: ml.Store) -> None:
    service = ml.FeatureService("model", features=["spend", "profile"])
    filled.apply(service)

    drawn = filled.verify_skew(service, sample=20, now=now("10:45"))
    logged = filled.verify_skew("model", sample={"user_id": [7, 9], "event_timestamp": [now("10:20"), now("11:00")]})

    assert drawn
    assert (drawn.reads, drawn.values, drawn.differing) == (20, 20 * 8, 0)
    assert logged
    assert logged.reads == 2


def test_a_row_of_the_future_is_told_as_a_difference(store: ml.Store) -> None:
    store.write("profile", {"user_id": [7], "event_timestamp": ["2024-06-01"], "age": [45]})

    report = store.verify_skew(["profile"], sample={"user_id": [7]}, now=now("10:45"))

    assert not report
    assert (report.differences[0].online, report.differences[0].point_in_time) == (45, 44)
    assert "profile__age" in str(report)


def test_a_broken_tile_is_found(store: ml.Store) -> None:
    store.backfill("spend")
    with store._session.writing() as context:
        [(key, packed)] = list(context.reader.scan_prefix(TILES, b""))[:1]
        context.writer.put(TILES, key, packed[:-1] + bytes([packed[-1] ^ 1]))

    with pytest.raises(ml.CorruptionError, match="tiles are not what the events make"):
        store.verify()


def test_the_status_looks_at_every_window_that_was_asked_for(store: ml.Store) -> None:
    """It was that of the last window alone: an empty one hid the events of all others, and their creation times from `leakage=`."""
    view = ml.WindowView(
        "both", entity=USER, source=ORDERS, aggregations=[ml.agg("amount", "sum", windows=["1d", "1m"], name="sum_{window}")]
    )
    store.apply(view)

    answer = store.online_features(["both"], {"user_id": 7}, now=now("11:00"), status=True)
    with pytest.warns(ml.LeakageWarning):
        trained = store.training_set({"user_id": [7], "event_timestamp": [now("11:00")]}, ["both"], leakage="report")

    assert (answer["sum_1d"], answer["sum_1m"]) == (12.5, None)
    assert answer["both__status"] == "PRESENT"
    assert answer["both__event_timestamp"] == now("10:30")
    assert trained.schema.metadata[b"mlstore.leakage"] == b'{"both": 1}'

"""Kafka topics as a source, against the mock brokers that librdkafka has inside: nothing leaves this process."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime

import pytest

import mlstore as ml

confluent_kafka = pytest.importorskip("confluent_kafka")

from mlstore.integrations.kafka import KafkaTopic  # noqa: E402  needs the extra

TOPIC = "orders"


class Brokers:
    """A mock cluster, alive as long as its producer."""

    def __init__(self) -> None:
        self.producer = confluent_kafka.Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
        brokers = self.producer.list_topics(timeout=10).brokers.values()
        self.config = {"bootstrap.servers": ",".join(f"{broker.host}:{broker.port}" for broker in brokers), "log_level": 0}

    def send(self, *values: bytes | None) -> None:
        for number, value in enumerate(values):
            self.producer.produce(TOPIC, value=value, partition=number % 3)
        assert self.producer.flush(10) == 0

    def topic(self, **options) -> KafkaTopic:
        return KafkaTopic(TOPIC, self.config, **{"follow": False, **options})


def rows(start: int, stop: int) -> list[bytes]:
    return [
        json.dumps({"user_id": number % 3, "ts": f"2024-05-01T00:00:{number:02}Z", "amount": float(number)}).encode()
        for number in range(start, stop)
    ]


@pytest.fixture
def brokers():
    return Brokers()


@pytest.fixture
def store(tmp_path):
    with ml.open(tmp_path / "shop.mls") as store:
        store.apply(ml.Table("orders", schema={"user_id": ml.int64, "amount": ml.float64}, key=["user_id"], timestamp="ts"))
        yield store


def amounts(store) -> list[float]:
    return sorted(store.read("orders")["amount"].to_pylist())


def test_every_message_is_a_row_once(store, brokers):
    brokers.send(*rows(0, 50))
    store.consume("live", brokers.topic(), into="orders", max_rows=7)
    brokers.send(*rows(50, 60))

    state = store.consume("live", brokers.topic(), into="orders")

    assert amounts(store) == [float(number) for number in range(60)]
    assert sum(state.position.values()) == 60


def test_a_killed_consumer_goes_on_behind_its_last_commit(store, brokers, tmp_path):
    brokers.send(*rows(0, 40))
    child = os.fork()
    if not child:
        with ml.open(tmp_path / "shop.mls") as opened:
            seen = Counter()

            def die() -> bool:
                seen["batches"] += 1
                if seen["batches"] == 3:
                    os._exit(9)
                return False

            opened.consume("live", brokers.topic(), into="orders", max_rows=10, should_stop=die)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(amounts(store)) == 30

    store.consume("live", brokers.topic(), into="orders")

    assert amounts(store) == [float(number) for number in range(40)]


def test_a_new_consumer_may_begin_at_the_end(store, brokers):
    brokers.send(*rows(0, 10))
    store.consume("live", brokers.topic(start="latest"), into="orders", max_seconds=0.3)
    brokers.send(*rows(10, 16))

    store.consume("live", brokers.topic(start="latest"), into="orders")

    assert amounts(store) == [float(number) for number in range(10, 16)]


def test_messages_that_are_no_rows_are_refused_and_tombstones_passed_over(store, brokers):
    brokers.send(*rows(0, 3), b"no json", None, b"[1]")
    heard = []

    state = store.consume("live", brokers.topic(), into="orders", refuse=heard.append)

    assert sorted(refused.row for refused in heard) == [b"[1]", b"no json"]
    assert (state.rows, state.refused, sum(state.position.values())) == (3, 2, 6)


def test_a_message_is_decoded_as_told(store, brokers):
    brokers.send(b"5", b"6")

    def decode(message):
        return {
            "user_id": message.partition(),
            "ts": datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
            "amount": float(message.value()),
        }

    store.consume("live", brokers.topic(decode=decode), into="orders")

    assert amounts(store) == [5.0, 6.0]


def test_a_position_that_the_broker_no_longer_has_is_no_silent_jump(store, brokers):
    brokers.send(*rows(0, 3))
    stream = brokers.topic().batches({"0": 50}, max_rows=10, max_seconds=0.2)

    with pytest.raises(ml.StoreError, match="no longer has what comes next"):
        list(stream)


def test_a_topic_that_is_not_there_is_named(store, brokers):
    brokers.send(*rows(0, 1))

    with pytest.raises(ml.UnknownNameError, match="'nothing'"):
        store.consume("live", KafkaTopic("nothing", brokers.config), into="orders")
    with pytest.raises(ml.UsageError, match="start="):
        brokers.topic(start="somewhere")

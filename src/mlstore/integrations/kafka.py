"""A Kafka topic as a source of events; needs the extra `kafka`.

Its position is the next offset of each partition. It lives in the file with the rows: the offsets that the broker keeps for a group are
neither read nor written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

import mlstore as ml
from mlstore.integrations.json_lines import Row, decode_json

_REPLY_SECONDS = 10.0


class KafkaTopic:
    """A source of `Store.consume`: the messages of a topic, each a row.

    Parameters
    ----------
    topic : str
    config : dict
        Of librdkafka: "bootstrap.servers", security, ... The settings that exactly-once rests on are set here.
    decode : callable, optional
        A message to a row (dict), or None to pass over it. Unless given, the value is a JSON object. What it raises as ValueError or
        KeyError says that the message is no row.
    follow : bool
        Wait for more; False: end with what the topic has when it is first read to its end.
    start : {"earliest", "latest"}
        Where a new consumer begins, and a partition that is new to it.

    Raises
    ------
    StoreError
        While reading: the broker does not answer, or no longer has the messages behind the position.
    UnknownNameError
        No such topic.
    """

    def __init__(
        self,
        topic: str,
        config: Mapping[str, Any],
        *,
        decode: Callable[[Message], Row | None] | None = None,
        follow: bool = True,
        start: Literal["earliest", "latest"] = "earliest",
    ) -> None:
        if start not in ("earliest", "latest"):
            raise ml.UsageError(f"start={start!r}", hint="choose 'earliest' or 'latest'")
        self._topic = topic
        self._config = {"group.id": "mlstore", "isolation.level": "read_committed", **config}
        # A gap must be an error, and only the file says what was taken.
        self._config |= {"enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "error"}
        self._decode = decode_value if decode is None else decode
        self._follow = follow
        self._from_end = start == "latest"

    def batches(self, position: Any, *, max_rows: int, max_seconds: float) -> Iterator[ml.SourceBatch]:
        """The messages behind a position, in batches; within a partition in its order."""
        consumer = Consumer(self._config)
        try:
            reached = self._assign(consumer, dict(position or {}))
            open_ends = set(reached)
            while open_ends or self._follow:
                rows: list[Row] = []
                bad: list[tuple[Any, ml.MlstoreError]] = []
                due = time.monotonic() + max_seconds
                while len(rows) + len(bad) < max_rows and (wait := due - time.monotonic()) > 0 and (open_ends or self._follow):
                    for message in consumer.consume(max_rows - len(rows) - len(bad), wait):
                        partition, offset, error = str(message.partition()), message.offset(), message.error()
                        if error is None:
                            self._take(message, rows, bad)
                            reached[partition] = (offset or 0) + 1
                        elif error.code() == KafkaError._PARTITION_EOF:
                            open_ends.discard(partition)
                        else:
                            raise self._failure(error)
                yield ml.SourceBatch(rows, self._told(reached), bad)
        except KafkaException as error:
            raise self._failure(error.args[0]) from error
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer, position: dict[str, int]) -> dict[str, int]:
        """Take all partitions from where the position says; the next offset of each."""
        found = consumer.list_topics(self._topic, timeout=_REPLY_SECONDS).topics[self._topic]
        if found.error is not None:
            raise ml.UnknownNameError(f"no Kafka topic {self._topic!r}: {found.error.str()}", hint="create it, or mend its name")
        reached = {str(partition): OFFSET_BEGINNING for partition in found.partitions}
        if self._from_end:
            reached = {partition: self._end(consumer, int(partition)) for partition in reached}
        reached |= position
        consumer.assign([TopicPartition(self._topic, int(partition), offset) for partition, offset in reached.items()])
        return reached

    def _end(self, consumer: Consumer, partition: int) -> int:
        """The offset that the next message of a partition will have."""
        _, high = consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=_REPLY_SECONDS)
        return int(high)

    @staticmethod
    def _told(reached: Mapping[str, int]) -> dict[str, int]:
        """A position names the partitions of which something was taken."""
        return {partition: offset for partition, offset in reached.items() if offset >= 0}

    def _take(self, message: Message, rows: list[Row], bad: list[tuple[Any, ml.MlstoreError]]) -> None:
        try:
            row = self._decode(message)
        except (ValueError, KeyError, RecursionError) as cause:
            place = f"{self._topic}[{message.partition()}]@{message.offset()}"
            bad.append((message.value(), ml.InvalidDataError(f"{place}: no row: {cause}", hint="mend the producer, or give decode=")))
        else:
            if row is not None:
                rows.append(row)

    def _failure(self, error: KafkaError) -> ml.MlstoreError:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            hint = "messages were removed before they were taken; begin again with a consumer of another name"
            return ml.StoreError(f"Kafka topic {self._topic!r}: the broker no longer has what comes next: {error.str()}", hint=hint)
        return ml.StoreError(f"Kafka topic {self._topic!r}: {error.str()}", hint="check the brokers and the config")


def decode_value(message: Message) -> Row | None:
    """The value of a message, a JSON object; None for a message without a value (a tombstone)."""
    value = message.value()
    return None if value is None else decode_json(value)

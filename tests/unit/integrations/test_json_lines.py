"""Files of JSON lines as a source: read once, followed, replaced, and full of what is no row."""

from __future__ import annotations

import json
import threading

import pytest

import mlstore as ml
from mlstore.integrations.json_lines import JsonLines


def line(number: int) -> str:
    return json.dumps({"user_id": number % 3, "ts": f"2024-05-01T00:00:{number:02}Z", "amount": float(number)}) + "\n"


def lines(start: int, stop: int) -> str:
    return "".join(map(line, range(start, stop)))


@pytest.fixture
def store():
    with ml.open(":memory:") as store:
        store.apply(ml.Table("orders", schema={"user_id": ml.int64, "amount": ml.float64}, key=["user_id"], timestamp="ts"))
        yield store


def amounts(store) -> list[float]:
    return sorted(store.read("orders")["amount"].to_pylist())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders.jsonl"


def test_what_was_taken_is_passed_over(store, path):
    path.write_text(lines(0, 10))
    store.consume("file", JsonLines(path), into="orders", max_rows=4)
    with path.open("a") as file:
        file.write(lines(10, 15))

    state = store.consume("file", JsonLines(path), into="orders")

    assert amounts(store) == [float(number) for number in range(15)]
    assert state.position["offset"] == path.stat().st_size


def test_the_last_line_needs_no_newline_unless_the_file_is_followed(store, path):
    path.write_text(lines(0, 3).rstrip("\n"))
    rows = [batch.rows for batch in _some(JsonLines(path, follow=True), 1)]

    store.consume("file", JsonLines(path), into="orders")

    assert [len(batch) for batch in rows] == [2]
    assert amounts(store) == [0.0, 1.0, 2.0]


def _some(source, count):
    stream = source.batches(None, max_rows=100, max_seconds=0.02)
    return [next(stream) for _ in range(count)]


def test_a_growing_file_is_followed_from_before_it_exists(store, path):
    wanted = threading.Event()

    def grow():
        for number in range(0, 30, 10):
            text = lines(number, number + 10)
            with path.open("a") as file:
                file.write(text[:37])  # half a line
                file.flush()
                wanted.wait(0.03)
                file.write(text[37:])
            wanted.wait(0.03)

    writer = threading.Thread(target=grow)
    writer.start()
    store.consume("file", JsonLines(path, follow=True), into="orders", max_seconds=0.01, limit=30)
    writer.join()

    assert amounts(store) == [float(number) for number in range(30)]


@pytest.mark.parametrize("text", [lines(5, 30), lines(0, 2)])
def test_a_file_that_was_replaced_is_not_taken_for_the_old_one(store, path, text):
    path.write_text(lines(0, 10))
    store.consume("file", JsonLines(path), into="orders")
    path.write_text(text)

    with pytest.raises(ml.InvalidDataError, match="not the file it was"):
        store.consume("file", JsonLines(path), into="orders")

    assert len(amounts(store)) == 10


def test_what_is_no_row_is_refused_and_the_rest_written(store, path):
    path.write_bytes(lines(0, 2).encode() + b'[1, 2]\n{"user_id": \n\xff\xfe\n\n' + lines(2, 4).encode())
    heard = []

    state = store.consume("file", JsonLines(path), into="orders", refuse=heard.append)

    assert amounts(store) == [0.0, 1.0, 2.0, 3.0]
    assert [refused.row for refused in heard] == [b"[1, 2]\n", b'{"user_id": \n', b"\xff\xfe\n"]
    assert (state.rows, state.refused) == (4, 3)


def test_without_refuse_what_is_no_row_ends_the_call(store, path):
    path.write_text("no json\n")

    with pytest.raises(ml.InvalidDataError, match="no row"):
        store.consume("file", JsonLines(path), into="orders")

    assert store.consumers() == []


def test_a_line_is_decoded_as_told(store, path):
    path.write_text("7;2024-05-01;1.5\n# a remark\n8;2024-05-02;2.5\n")

    def decode(line: bytes):
        if line.startswith(b"#"):
            return None
        user, ts, amount = line.decode().split(";")
        return {"user_id": int(user), "ts": ts, "amount": float(amount)}

    store.consume("file", JsonLines(path, decode=decode), into="orders")

    assert amounts(store) == [1.5, 2.5]

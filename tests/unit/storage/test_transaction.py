"""Readers and writers: what they return, in what order, and that a writer does all or nothing."""

import ctypes
import threading

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlstore.errors import ClosedError, InvalidDataError, ReadOnlyError, StoreError, UsageError
from mlstore.storage.environment import Environment
from mlstore.storage.keyspace import Keyspace, declare

A = declare("tests.a")
B = declare("tests.b")
ITEMS = [(bytes([number]), b"value %d" % number) for number in range(10, 60, 10)]


@pytest.fixture
def filled(environment: Environment) -> Environment:
    with environment.writer() as writer:
        writer.put_many(A, ITEMS)
    return environment


def bytes_at(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)


def test_a_writer_sees_its_own_writes_and_readers_see_them_after_the_commit(environment: Environment):
    with environment.writer() as writer:
        assert writer.put(A, b"k", b"v")
        seen_by_writer = writer.get(A, b"k")
        with environment.reader() as reader:
            seen_before = reader.get(A, b"k")

    with environment.reader() as reader:
        assert (seen_by_writer, seen_before, reader.get(A, b"k")) == (b"v", None, b"v")


def test_a_reader_keeps_its_view_while_others_write(filled: Environment):
    with filled.reader() as reader:
        with filled.writer() as writer:
            writer.delete_range(A)
            writer.put(A, b"new", b"x")

        assert list(reader.scan(A)) == ITEMS
        assert reader.txn_id + 1 == writer_txn_id(filled)


def writer_txn_id(environment: Environment) -> int:
    with environment.reader() as reader:
        return reader.txn_id


def test_an_exception_leaves_no_trace(filled: Environment):
    def fail_midway() -> None:
        with filled.writer() as writer:
            writer.put(A, b"new", b"x")
            writer.delete(A, ITEMS[0][0])
            writer.delete_range(B)
            raise KeyError

    with pytest.raises(KeyError):
        fail_midway()

    with filled.reader() as reader:
        assert list(reader.scan(A)) == ITEMS


def test_put_without_overwriting_tells_whether_the_key_was_free(filled: Environment):
    with filled.writer() as writer:
        was_free = writer.put(A, b"new", b"1", overwrite=False)
        was_taken = not writer.put(A, ITEMS[0][0], b"other", overwrite=False)

    with filled.reader() as reader:
        assert (was_free, was_taken, reader.get(A, ITEMS[0][0])) == (True, True, ITEMS[0][1])


@pytest.mark.parametrize("count", [2, 7])
def test_many_keys_are_answered_in_the_order_asked_with_gaps_and_repeats(filled: Environment, count: int):
    keys = [ITEMS[3][0], b"absent", ITEMS[1][0], ITEMS[3][0], ITEMS[0][0], b"zzz", ITEMS[4][0]][:count]

    with filled.reader() as reader:
        values = reader.get_many(A, keys)

    assert values == [dict(ITEMS).get(key) for key in keys]


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (b"", None, ITEMS),
        (bytes([20]), None, ITEMS[1:]),
        (bytes([20]), bytes([40]), ITEMS[1:3]),
        (bytes([15]), bytes([41]), ITEMS[1:4]),
        (b"", bytes([10]), []),
        (bytes([60]), None, []),
        (bytes([40]), bytes([20]), []),
        (bytes([20]), bytes([20]), []),
        (b"", b"\xff", ITEMS),
        (bytes([20, 0]), bytes([40, 0]), ITEMS[2:4]),
    ],
)
def test_a_scan_gives_what_lies_between_start_and_stop(filled: Environment, start: bytes, stop: bytes | None, expected: list):
    with filled.reader() as reader:
        forward = list(reader.scan(A, start=start, stop=stop))
        backward = list(reader.scan(A, start=start, stop=stop, reverse=True))
        keys = [key for key, _ in reader.scan(A, start=start, stop=stop, keys_only=True)]
        keys_backward = [key for key, _ in reader.scan(A, start=start, stop=stop, reverse=True, keys_only=True)]
        ends = (reader.first(A, start, stop), reader.last(A, start, stop))

    assert forward == expected
    assert backward == expected[::-1]
    assert keys == [key for key, _ in expected]
    assert keys_backward == keys[::-1]
    assert ends == ((expected[0], expected[-1]) if expected else (None, None))


@settings(max_examples=30)
@given(
    keys=st.sets(st.binary(min_size=1, max_size=3), max_size=20),
    start=st.binary(max_size=3),
    stop=st.none() | st.binary(max_size=3),
    prefix=st.binary(max_size=2),
)
def test_scans_agree_with_a_sorted_list(keys: set[bytes], start: bytes, stop: bytes | None, prefix: bytes):
    with Environment.open(":memory:", writer_version="test") as environment:
        with environment.writer() as writer:
            writer.put_many(A, ((key, key) for key in keys))
        with environment.reader() as reader:
            inside = [key for key in sorted(keys) if key >= start and (stop is None or key < stop)]
            assert [key for key, _ in reader.scan(A, start=start, stop=stop)] == inside
            assert [key for key, _ in reader.scan(A, start=start, stop=stop, reverse=True)] == inside[::-1]
            started = [key for key in sorted(keys) if key.startswith(prefix)]
            assert [key for key, _ in reader.scan_prefix(A, prefix)] == started
            assert [key for key, _ in reader.scan_prefix(A, prefix, reverse=True)] == started[::-1]
        with environment.writer() as writer:
            assert writer.delete_range(A, start, stop) == len(inside)
            assert [key for key, _ in writer.scan(A)] == sorted(keys - set(inside))


def test_an_unknown_keyspace_reads_as_empty(filled: Environment):
    space = Keyspace("tests.never_made")

    with filled.reader() as reader:
        assert reader.get(space, b"k") is None
        assert reader.get_many(space, [b"k"] * 9) == [None] * 9
        assert list(reader.scan(space)) == []
        assert reader.view(space, b"k") is None
        assert (reader.first(space), reader.last(space)) == (None, None)
        assert reader.count(space) == 0


def test_counts_and_deletes_add_up(filled: Environment):
    with filled.writer() as writer:
        assert writer.count(A) == 5
        assert writer.delete(A, ITEMS[0][0])
        assert not writer.delete(A, ITEMS[0][0])
        assert writer.delete_many(A, [ITEMS[2][0], b"absent", ITEMS[1][0]]) == 2
        assert writer.count(A) == 2
        assert writer.delete_range(A) == 2
        assert writer.first(A) is None


@pytest.mark.parametrize("order", [1, -1])
def test_appending_is_right_even_if_the_promise_of_order_is_broken(filled: Environment, order: int):
    added = [(b"%05d" % number, b"x" * (number % 7)) for number in range(10_000)]

    with filled.writer() as writer:
        writer.put_many(A, added[::order], append=True)
        writer.put_many(A, [(b"00000", b"again")], append=True)

    with filled.reader() as reader:
        assert dict(reader.scan(A)) == {**dict(ITEMS), **dict(added), b"00000": b"again"}


@pytest.mark.parametrize("batches", [("12", "34"), ("34", "12"), ("24", "13"), ("13", "12"), ("43", "56"), ("12", "4635")])
def test_many_items_are_stored_wherever_they_lie_beside_those_that_are_there(environment: Environment, batches: tuple[str, str]):
    expected: dict[bytes, bytes] = {}

    with environment.writer() as writer:
        for number, batch in enumerate(batches):
            items = [(digit.encode() + b"%03d" % place, b"%d" % number) for digit in batch for place in range(600)]
            writer.put_many(A, items)
            expected |= dict(items)

    with environment.reader() as reader:
        assert list(reader.scan(A)) == sorted(expected.items())


def test_dirty_bytes_count_keys_and_values_put(environment: Environment):
    with environment.writer() as writer:
        writer.put(A, b"key", b"x" * 100)
        writer.put_many(B, [(b"a", b"12"), (b"b", memoryview(b"345"))])

        assert writer.dirty_bytes == 103 + 3 + 4


@pytest.mark.parametrize("length", [0, 512])
def test_a_key_of_wrong_length_is_refused_and_the_writer_goes_on(environment: Environment, length: int):
    with environment.writer() as writer:
        with pytest.raises(InvalidDataError, match=rf"tests\.a: a key of {length} bytes"):
            writer.put(A, b"k" * length, b"v")
        with pytest.raises(InvalidDataError, match=f"a key of {length} bytes"):
            writer.put_many(A, [(b"k" * length, b"v")])
        writer.put(A, b"k" * 511, b"v")

    with environment.reader() as reader:
        assert [key for key, _ in reader.scan(A)] == [b"k" * 511]


def test_reading_an_empty_key_is_refused(filled: Environment):
    with filled.reader() as reader, pytest.raises(InvalidDataError, match=r"tests\.a.*empty or longer than 511"):
        reader.get(A, b"")


def test_a_view_is_the_place_of_the_value_itself(filled: Environment):
    value = bytes(range(256)) * 64
    with filled.writer() as writer:
        writer.put(A, b"big", value)

    with filled.reader() as reader:
        place = reader.view(A, b"big")
        absent = reader.view(A, b"absent")
    with filled.writer() as writer:
        writer.put_many(B, ((b"%d" % number, b"churn" * 500) for number in range(200)))

    assert absent is None
    assert place is not None
    assert place.is_stable
    assert (place.size, bytes_at(place.address, place.size)) == (len(value), value)


def test_views_and_values_of_one_reader_are_of_one_commit(filled: Environment):
    with filled.writer() as writer:
        writer.put(A, b"big", b"1" * 5000)

    with filled.reader() as reader:
        with filled.writer() as writer:
            writer.put(A, b"big", b"2" * 5000)
        place = reader.view(A, b"big")

        assert place is not None
        assert bytes_at(place.address, place.size) == reader.get(A, b"big") == b"1" * 5000


def test_a_writer_views_stored_values_in_the_map_and_its_own_as_copies(filled: Environment):
    with filled.writer() as writer:
        writer.put(A, b"old", b"o" * 5000)
    with filled.reader() as reader:
        expected = reader.view(A, b"old")

    with filled.writer() as writer:
        stored = writer.view(A, b"old")
        writer.put(A, b"new", b"n" * 5000)
        own = writer.view(A, b"new")
        writer.delete(A, b"old")
        deleted = writer.view(A, b"old")

    assert stored == expected
    assert deleted is None
    assert own is not None
    assert not own.is_stable
    assert bytes_at(own.address, own.size) == b"n" * 5000


def test_a_reader_without_views_says_so(filled: Environment):
    with filled.reader(views=False) as reader:
        assert reader.get(A, ITEMS[0][0]) == ITEMS[0][1]
        with pytest.raises(UsageError, match="views=False"):
            reader.view(A, ITEMS[0][0])


def test_a_transaction_that_is_over_answers_no_more(filled: Environment):
    with filled.reader() as reader:
        scan = reader.scan(A)
        next(scan)
    with filled.writer() as writer:
        pass

    for ended in (lambda: reader.get(A, b"k"), lambda: next(scan), lambda: reader.view(A, b"k"), lambda: writer.put(A, b"k", b"v")):
        with pytest.raises(ClosedError, match=r"ended"):
            ended()


def test_a_transaction_not_yet_begun_says_so(filled: Environment):
    with pytest.raises(ClosedError, match="has not begun"):
        _ = filled.reader().txn_id


def test_a_second_writer_in_one_thread_is_an_error_not_a_deadlock(environment: Environment, path: str):
    same_file = Environment.open(path, writer_version="test")

    with environment.writer() as writer:
        with pytest.raises(UsageError, match="this thread is writing already"), same_file.writer():
            pass
        writer.put(A, b"k", b"v")

    with same_file.reader() as reader:
        assert reader.get(A, b"k") == b"v"


def test_writers_of_several_threads_take_turns(environment: Environment):
    def add_many() -> None:
        for _ in range(25):
            with environment.writer() as writer:
                count = int(writer.get(A, b"count") or b"0")
                writer.put(A, b"count", b"%d" % (count + 1))

    threads = [threading.Thread(target=add_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with environment.reader() as reader:
        assert reader.get(A, b"count") == b"100"


def test_a_writer_refuses_other_threads(environment: Environment):
    caught: list[Exception] = []

    def put_from_elsewhere() -> None:
        try:
            writer.put(A, b"k", b"v")
        except UsageError as error:
            caught.append(error)

    with environment.writer() as writer:
        thread = threading.Thread(target=put_from_elsewhere)
        thread.start()
        thread.join()

    assert "belongs to the thread that began it" in str(caught[0])


def test_callbacks_run_after_the_commit_or_after_the_undoing(environment: Environment):
    calls: list[object] = []

    def look() -> None:
        with environment.reader() as reader:
            calls.append(reader.get(A, b"k"))

    def fail_midway() -> None:
        with environment.writer() as writer:
            writer.put(A, b"k", b"w")
            writer.on_commit(lambda: calls.append("never"))
            writer.on_abort(look)
            raise KeyError

    with environment.writer() as writer:
        writer.put(A, b"k", b"v")
        writer.on_commit(look)
        writer.on_commit(lambda: calls.append("second"))
        writer.on_abort(lambda: calls.append("never"))
    with pytest.raises(KeyError):
        fail_midway()

    assert calls == [b"v", "second", b"v"]


def test_a_callback_that_fails_keeps_neither_the_others_nor_the_next_writer_from_running(environment: Environment):
    calls: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    def write() -> None:
        with environment.writer() as writer:
            writer.put(A, b"k", b"v")
            writer.on_commit(fail)
            writer.on_commit(lambda: calls.append("second"))

    with pytest.raises(ZeroDivisionError):
        write()
    with environment.writer() as writer:
        value = writer.get(A, b"k")

    assert (calls, value) == (["second"], b"v")


def test_a_read_only_handle_does_not_write(environment: Environment, path: str):
    with Environment.open(path, read_only=True, writer_version="test") as handle, pytest.raises(ReadOnlyError, match="only reads"):
        handle.writer().__enter__()

    assert not environment.is_read_only


def test_a_writer_whose_write_failed_does_not_commit_the_rest(environment: Environment):
    def write() -> None:
        with environment.writer() as writer:
            writer.put(A, b"first", b"1")
            writer._spoiled(lmdb.MapFullError("mdb_put"), "put")

    with pytest.raises(StoreError, match=r"nothing was stored.*map is full"):
        write()

    with environment.reader() as reader:
        assert reader.get(A, b"first") is None


def test_a_large_value_made_small_in_one_transaction_leaves_a_sound_file(environment: Environment):
    # LMDB keeps the small value in the pages of the large one; its checker takes them for a leak.
    with environment.writer() as writer:
        writer.put(A, b"state", b"x" * 50_000)
        writer.put(A, b"state", b"small")
        writer.put_many(A, [(b"other", b"y" * 50_000), (b"other", b"small too")])

    assert environment.verify_pages() == []
    with environment.reader() as reader:
        assert dict(reader.scan(A)) == {b"state": b"small", b"other": b"small too"}


def test_views_of_a_writer_stay_right_beyond_what_it_can_remember(environment: Environment, monkeypatch):
    monkeypatch.setattr("mlstore.storage.touched._MAX_KEYS", 10)
    with environment.writer() as writer:
        writer.put(A, b"key 05", b"old" * 1000)

    with environment.writer() as writer:
        for number in range(20):
            writer.put(A, b"key %02d" % number, b"new" * 1000)
        place = writer.view(A, b"key 05")
        assert place is not None
        seen = bytes_at(place.address, place.size)

    assert seen == b"new" * 1000

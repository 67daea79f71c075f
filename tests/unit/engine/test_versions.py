"""Versions: what a name, an id or a time means, and that the times of commits never fall."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mlstore as ml
from mlstore.engine import versions
from mlstore.engine.ledger import COMMIT_IDS, settle
from tests.support.data import fact_table, instant
from tests.support.model import Fact
from tests.support.worlds import PLAIN, SECOND


@pytest.fixture
def plain(store: ml.Store, clock: Any) -> ml.Store:
    store.apply(*PLAIN.definitions())
    return store


def write(store: ml.Store, amount: int) -> ml.Commit:
    return store.write("plain", fact_table(PLAIN, [Fact((7,), amount * SECOND, {"amount": amount})]))


def amounts(store: ml.Store) -> list[int]:
    return sorted(store.read("plain")["amount"].to_pylist())


def test_a_snapshot_stays_while_the_store_moves_on(plain: ml.Store) -> None:
    write(plain, 1)
    named = plain.snapshot("v1", message="first")

    write(plain, 2)

    assert amounts(plain.at("v1")) == [1]
    assert plain.at("v1").history()[0] == named
    assert plain.info()["snapshots"] == {"v1": named.id}


@pytest.mark.parametrize("digits", [6, 7, 12, 31, 32])
def test_a_commit_is_found_by_the_beginning_of_its_id(plain: ml.Store, digits: int) -> None:
    commit = write(plain, 1)
    write(plain, 2)

    assert amounts(plain.at(commit.id[:digits])) == [1]
    assert amounts(plain.at(commit.id[:digits].upper())) == [1]
    assert amounts(plain.at(commit)) == [1]


@pytest.mark.parametrize("text", ["", "abcde", "v2", "0" * 33, "zzzzzz", "main "])
def test_what_names_nothing_is_refused_with_the_snapshots_there_are(plain: ml.Store, text: str) -> None:
    write(plain, 1)
    plain.snapshot("v1")

    with pytest.raises(ml.UnknownVersionError) as caught:
        plain.at(text)

    assert "snapshots: v1" in caught.value.hint


def test_a_short_id_is_not_guessed_at(plain: ml.Store) -> None:
    commit = write(plain, 1)

    with pytest.raises(ml.UnknownVersionError):
        plain.at(commit.id[:5])


def test_an_ambiguous_id_is_refused(plain: ml.Store) -> None:
    commit = write(plain, 1)
    twin = bytes.fromhex(commit.id[:8]) + bytes(12)
    with plain._session.environment.writer() as writer:
        settle(writer)
        place = writer.get(COMMIT_IDS, bytes.fromhex(commit.id))
        assert place is not None
        writer.put(COMMIT_IDS, twin, place)

    with pytest.raises(ml.UnknownVersionError, match="begins 2 commit ids"):
        plain.at(commit.id[:8])
    assert amounts(plain.at(commit.id)) == [1]


def test_the_branch_names_its_newest_commit(plain: ml.Store) -> None:
    write(plain, 1)

    old = plain.at("main")
    write(plain, 2)

    assert amounts(old) == [1]


def test_a_name_is_a_snapshot_before_it_is_an_id(plain: ml.Store) -> None:
    first = write(plain, 1)
    write(plain, 2)
    plain.snapshot(first.id[:8])

    assert amounts(plain.at(first.id[:8])) == [1, 2]


@pytest.fixture
def five_commits(plain: ml.Store, clock: Any) -> ml.Store:
    """One row at 1010 s, 1020 s, ... 1050 s."""
    for amount in range(1, 6):
        clock.now = (1000 + 10 * amount) * SECOND
        write(plain, amount)
    return plain


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1010, [1]), (1019.999999, [1]), (1020, [1, 2]), (1035, [1, 2, 3]), (1050, [1, 2, 3, 4, 5]), (9999, [1, 2, 3, 4, 5])],
)
def test_a_time_means_the_newest_commit_not_after_it(five_commits: ml.Store, seconds: float, expected: list[int]) -> None:
    assert amounts(five_commits.at(instant(round(seconds * SECOND)))) == expected


def test_a_time_of_day_is_read_with_its_zone(five_commits: ml.Store) -> None:
    moment = instant(1025 * SECOND)
    zoned = moment.astimezone(tz=datetime.now().astimezone().tzinfo)

    assert amounts(five_commits.at(zoned)) == amounts(five_commits.at(moment.replace(tzinfo=None))) == [1, 2]


def test_a_time_before_the_first_commit_is_refused(five_commits: ml.Store) -> None:
    with pytest.raises(ml.UnknownVersionError, match=r"no commit at the time 1970-01-01 00:16:39\.999999") as caught:
        five_commits.at(instant(1000 * SECOND - 1))

    assert "1970-01-01 00:16:40" in caught.value.hint


def test_a_date_means_its_first_moment(five_commits: ml.Store) -> None:
    assert amounts(five_commits.at(date(1970, 1, 2))) == [1, 2, 3, 4, 5]
    with pytest.raises(ml.UnknownVersionError, match="at the date 1970-01-01"):
        five_commits.at(date(1970, 1, 1))


def test_a_time_is_found_from_within_a_past_version_up_to_that_version(five_commits: ml.Store) -> None:
    past = five_commits.at(instant(1030 * SECOND))

    assert amounts(past.at(instant(1020 * SECOND))) == [1, 2]
    assert amounts(past.at(instant(1050 * SECOND))) == [1, 2, 3]


def test_an_empty_store_has_no_version(store: ml.Store) -> None:
    with pytest.raises(ml.UnknownVersionError):
        store.at(datetime.now(UTC))
    with pytest.raises(ml.UnknownVersionError):
        store.snapshot("v1")
    assert store.history() == []


def test_a_clock_that_is_set_back_never_makes_commit_times_fall(plain: ml.Store, clock: Any) -> None:
    times = [write(plain, 1).time]
    for now in (900, 1100, 1099, 5):
        clock.now = now * SECOND
        times.append(write(plain, now).time)

    assert times == [instant(seconds * SECOND) for seconds in (1000, 1000, 1100, 1100, 1100)]
    plain.verify()


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("rows", [1, 8], ids=["small writes", "bulk loads"])
def test_of_equal_rows_the_later_written_wins_also_when_the_clock_was_set_back(plain: ml.Store, clock: Any, rows: int) -> None:
    for amount, now in ((1, 1000), (2, 900), (3, 950)):
        clock.now = now * SECOND
        plain.write("plain", fact_table(PLAIN, [Fact((key,), SECOND, {"amount": amount}) for key in range(rows)]))

    assert plain.online_features(["plain:amount"], {"card": 0})["amount"] == 3
    assert plain.read("plain", as_of=instant(2 * SECOND))["amount"].to_pylist() == [3] * rows


def test_history_is_newest_first_and_each_commit_names_the_one_before(five_commits: ml.Store) -> None:
    history = five_commits.history()

    assert [commit.parents for commit in history] == [(older.id,) for older in history[1:]] + [()]
    assert [commit.seq for commit in history] == sorted((commit.seq for commit in history), reverse=True)
    assert five_commits.history(limit=2) == history[:2]
    assert five_commits.history(limit=0) == []


def test_history_of_a_version_ends_there(five_commits: ml.Store) -> None:
    history = five_commits.history()

    assert five_commits.at(history[2]).history() == history[2:]


@pytest.mark.parametrize("name", ["v1", "2024-05-01", "before the backfill", "né ✈", "a" * 120])
def test_snapshots_can_have_ordinary_names(plain: ml.Store, name: str) -> None:
    plain.snapshot(name)

    assert plain.at(name).history() == plain.history()


def test_a_name_of_120_characters_of_any_script_will_do(plain: ml.Store) -> None:
    plain.snapshot("✈" * 120)

    assert plain.at("✈" * 120).history() == plain.history()


@pytest.mark.parametrize("name", ["", " v1", "v1 ", "a/b", "a\\b", "a:b", "weather@2", "a\nb", "a\0b", "a" * 121])
def test_a_name_that_would_be_misread_is_refused(plain: ml.Store, name: str) -> None:
    with pytest.raises(ml.UsageError, match="cannot name a snapshot"):
        plain.snapshot(name)

    assert plain.info()["snapshots"] == {}


@pytest.mark.parametrize("name", ["v1", "main"])
def test_a_taken_name_is_refused(plain: ml.Store, name: str) -> None:
    plain.snapshot("v1")

    with pytest.raises(ml.AlreadyExistsError, match=name):
        plain.snapshot(name)


def test_versions_are_found_again_after_the_store_was_closed(plain: ml.Store, store_path: Path) -> None:
    write(plain, 1)
    plain.snapshot("v1")
    head = write(plain, 2)
    plain.close()

    with ml.open(store_path) as again:
        assert amounts(again.at("v1")) == [1]
        assert again.history()[0] == head
        assert amounts(again.at(head.time + timedelta(days=1))) == [1, 2]


def test_numbers_are_never_given_twice(plain: ml.Store) -> None:
    with plain._session.environment.writer() as writer:
        taken = [versions.take_numbers(writer, "test", count) for count in (1, 3, 1)]

    with plain._session.environment.writer() as writer:
        assert [*taken, versions.take_numbers(writer, "test")] == [1, 2, 5, 6]

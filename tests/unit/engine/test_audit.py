"""The audit: who did what and when, and that neither it nor the rows it vouches for can be changed behind its back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlstore as ml
from mlstore.engine.audit import AUDIT, HEAD
from mlstore.engine.history.online import ONLINE
from mlstore.engine.history.tail import TAIL
from mlstore.engine.ledger import COMMIT_IDS, COMMITS, settle
from mlstore.engine.versions import REFS
from mlstore.format.act import decode_act, seal_act
from mlstore.format.manifest import Commit, Ref, decode_commit, decode_record, encode_commit, encode_record, seal_commit
from mlstore.storage.transaction import Reader, Writer
from tests.support.data import fact_table
from tests.support.model import Fact
from tests.support.worlds import PLAIN, SECOND

MARK = 0x5EA_7E1_1E5  # a number that stands nowhere else in the file


@pytest.fixture
def plain(store: ml.Store) -> ml.Store:
    """Three commits and two snapshots."""
    store.apply(*PLAIN.definitions())
    write(store, 0)
    store.snapshot("one", message="the first")
    write(store, 3)
    store.snapshot("two")
    return store


def write(store: ml.Store, first: int, count: int = 3) -> Commit:
    facts = [Fact((n % 3,), n * SECOND, {"amount": MARK + n, "note": f"n{n}"}) for n in range(first, first + count)]
    return store.write("plain", fact_table(PLAIN, facts))


def problem(store: ml.Store, trusted_head: str | Commit | None = None) -> str:
    with pytest.raises(ml.CorruptionError) as caught:
        store.verify(trusted_head=trusted_head)
    return caught.value.message


def change(store: ml.Store, act: Callable[[Writer], object]) -> None:
    """Change the file as somebody would who knows its format."""
    with store._session.environment.writer() as writer:
        settle(writer)
        act(writer)


# ---------------------------------------------------------------- what it tells


def test_it_tells_who_did_what_in_the_order_of_doing(plain: ml.Store) -> None:
    audit = plain.audit()

    assert audit["action"].to_pylist() == ["commit", "commit", "snapshot", "commit", "snapshot"]
    assert audit["subject"].to_pylist()[1:] == ["append plain", "one", "append plain", "two"]
    assert audit["rows"].to_pylist()[1:] == [3, None, 3, None]
    assert audit["message"].to_pylist()[2] == "the first"
    assert audit["seq"].to_pylist() == sorted(audit["seq"].to_pylist())
    assert audit["time"].to_pylist() == sorted(audit["time"].to_pylist())
    assert len(set(audit["author"].to_pylist())) == 1


def test_every_entry_names_the_one_before_it(plain: ml.Store) -> None:
    for chain in (["commit"], ["snapshot"]):
        entries = [entry for entry in plain.audit().to_pylist() if entry["action"] in chain]

        assert [entry["parents"] for entry in entries] == [[], *([entry["id"]] for entry in entries[:-1])]


def test_a_snapshot_is_told_with_the_commit_it_names(plain: ml.Store) -> None:
    told = {entry["subject"]: entry["after"] for entry in plain.audit().to_pylist() if entry["action"] == "snapshot"}

    assert told == plain.info()["snapshots"]


def test_since_leaves_out_what_was_done_before(plain: ml.Store) -> None:
    assert plain.audit(since="one")["action"].to_pylist() == ["snapshot", "commit", "snapshot"]
    assert plain.audit(since="two")["action"].to_pylist() == ["snapshot"]


def test_an_empty_store_has_an_empty_audit(store: ml.Store) -> None:
    assert store.audit().num_rows == 0
    assert pa.types.is_timestamp(store.audit().schema.field("time").type)


def test_a_refused_snapshot_leaves_no_entry(plain: ml.Store) -> None:
    before = plain.audit()

    with pytest.raises(ml.AlreadyExistsError):
        plain.snapshot("one")

    assert plain.audit() == before


# ---------------------------------------------------------------- what cannot be changed unseen


def last_act(reader: Reader) -> tuple[bytes, bytes]:
    return max(item for item in reader.scan(AUDIT) if item[0] != HEAD)


def first_act(writer: Writer) -> tuple[bytes, bytes]:
    return min(item for item in writer.scan(AUDIT) if item[0] != HEAD)


def retell(writer: Writer, key: bytes, packed: bytes) -> str:
    """Change the author of an act; its new id."""
    act = decode_act(packed)
    told = {name: getattr(act, name) for name in act.__slots__ if name != "id"}
    changed, packed = seal_act(**{**told, "author": "somebody else"})
    writer.put(AUDIT, key, packed)
    return changed.id


def move_snapshot(writer: Writer) -> None:
    packed = writer.get(REFS, b"one")
    assert packed is not None
    other = decode_commit(next(iter(writer.scan(COMMITS)))[1])
    writer.put(REFS, b"one", encode_record(replace(decode_record(Ref, packed), seq=other.seq, commit=other.id)))


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda writer: retell(writer, *first_act(writer)), "does not follow"),
        (lambda writer: retell(writer, *last_act(writer)), "newest audit entry"),
        (lambda writer: writer.delete(AUDIT, first_act(writer)[0]), "does not follow"),
        (lambda writer: writer.delete(AUDIT, last_act(writer)[0]), "newest audit entry"),
        (lambda writer: writer.delete(AUDIT, HEAD), "newest audit entry"),
        (lambda writer: writer.put(AUDIT, b"\0" * 8, first_act(writer)[1]), "does not follow"),
        (lambda writer: writer.delete(REFS, b"one"), "snapshot 'one' does not name"),
        (lambda writer: writer.put(REFS, b"three", writer.get(REFS, b"one") or b""), "snapshot 'three' does not name"),
        (move_snapshot, "snapshot 'one' does not name"),
    ],
)
def test_what_was_changed_behind_its_back_is_found(plain: ml.Store, act: Callable[[Writer], object], says: str) -> None:
    change(plain, act)

    assert says in problem(plain)


def rewrite_history(writer: Writer) -> None:
    """Give the first commit another author, and all others and the names new ids that fit: nothing in the file contradicts it."""
    ids: dict[str, str] = {}
    for key, packed in list(writer.scan(COMMITS)):
        old = decode_commit(packed)
        told = {name: getattr(old, name) for name in old.__slots__ if name != "id"}
        parents = tuple(ids[parent] for parent in old.parents)
        new, _ = seal_commit(**{**told, "parents": parents, "author": old.author if ids else "somebody else"})
        ids[old.id] = new.id
        writer.put(COMMITS, key, encode_commit(new))
        writer.delete(COMMIT_IDS, bytes.fromhex(old.id))
        writer.put(COMMIT_IDS, bytes.fromhex(new.id), key)
    for name in (b"one", b"two"):
        ref = decode_record(Ref, writer.get(REFS, name) or b"")
        writer.put(REFS, name, encode_record(replace(ref, commit=ids[ref.commit])))
    previous = ""
    for key, packed in [item for item in writer.scan(AUDIT) if item[0] != HEAD]:
        act = decode_act(packed)
        told = {name: getattr(act, name) for name in act.__slots__ if name != "id"}
        changed, packed = seal_act(**{**told, "after": ids[act.after], "previous": previous})
        previous = changed.id
        writer.put(AUDIT, key, packed)
    writer.put(AUDIT, HEAD, bytes.fromhex(previous))


def test_a_history_rewritten_without_a_seam_is_found_by_any_id_kept_outside(plain: ml.Store) -> None:
    kept = [entry["id"] for entry in plain.audit().to_pylist()]
    change(plain, rewrite_history)

    assert plain.verify().problems == ()
    for trusted in kept:
        assert "history was rewritten" in problem(plain, trusted)


def test_every_id_of_the_audit_proves_a_history_that_was_only_added_to(plain: ml.Store) -> None:
    kept = [entry["id"] for entry in plain.audit().to_pylist()]
    write(plain, 6)
    plain.snapshot("three")
    plain.optimize(tier="cold")

    for trusted in (*kept, kept[0].upper(), plain.history()[-1]):
        assert plain.verify(trusted_head=trusted).problems == ()


def test_a_commit_made_after_a_version_is_no_part_of_it(plain: ml.Store) -> None:
    newest = plain.history()[0]

    assert "is not part of what led to this version" in problem(plain.at("one"), newest)
    assert plain.at("one").verify(trusted_head=plain.history()[1]).problems == ()


@pytest.mark.parametrize("trusted", ["", "one", "0123456789abcdef", "g" * 32])
def test_a_part_of_an_id_proves_nothing_and_is_refused(plain: ml.Store, trusted: str) -> None:
    with pytest.raises(ml.UsageError, match="no whole id"):
        plain.verify(trusted_head=trusted)


# ---------------------------------------------------------------- seals


def seals(store: ml.Store, trusted: str) -> int:
    return store.verify(trusted_head=trusted).checks.get("seals", 0)


def test_a_seal_survives_everything_that_only_moves_rows(plain: ml.Store, store_path: Path, small_limits: None) -> None:
    write(plain, 6, 40)
    plain.snapshot("three")
    sealed = plain.seal("three")

    plain.optimize(tier="cold")
    write(plain, 46, 30)
    plain.delete("plain", keys={"card": 1})
    plain.optimize(tier="hot")
    plain.close()

    with ml.open(store_path) as again:
        assert seals(again, sealed) == 1


def test_a_seal_says_how_many_rows_it_is_of_and_when(plain: ml.Store) -> None:
    sealed = plain.seal("one", message="for the auditors")

    entry = plain.audit().to_pylist()[-1]
    assert (entry["id"], entry["action"], entry["subject"], entry["rows"]) == (sealed, "seal", "one", 3)
    assert entry["after"] == plain.info()["snapshots"]["one"]
    assert entry["message"] == "for the auditors"


def raise_an_amount(writer: Writer) -> None:
    """Change a value wherever it stands, so that history and online rows agree."""
    was, now = (MARK + 1).to_bytes(8, "little"), (MARK + 1000).to_bytes(8, "little")
    for space in (TAIL, ONLINE):
        for key, value in list(writer.scan(space)):
            writer.put(space, key, value.replace(was, now))


def test_a_value_changed_in_every_place_is_found_by_its_commit_and_by_a_seal(plain: ml.Store) -> None:
    sealed = plain.seal("one")
    change(plain, raise_an_amount)

    assert "rows in the tail are not those that commit" in problem(plain, sealed)
    assert "the rows of 'one' are not those that were sealed" in problem(plain, sealed)


def test_forgetting_makes_the_seals_of_a_view_void_and_says_so(plain: ml.Store) -> None:
    before = plain.seal("one")
    plain.forget("plain_entity", {"card": [1]})
    plain.seal("two")

    checks = plain.verify(trusted_head=before).checks

    assert (checks["seals made void by forgetting"], checks["seals"]) == (1, 1)


def test_forgetting_from_one_view_leaves_the_seals_of_others(plain: ml.Store) -> None:
    user = ml.Entity("user", keys={"user": ml.int64})
    plain.apply(user, ml.FeatureView("age", entity=user, schema={"years": ml.int64}))
    plain.write("age", {"user": [1], "event_timestamp": ["2024-01-01"], "years": [30]})
    plain.snapshot("three")
    sealed = plain.seal("three")
    plain.forget(user, {"user": [1]})
    change(plain, raise_an_amount)

    assert "plain: the rows of 'three' are not those that were sealed" in problem(plain, sealed)


def test_a_commit_is_sealed_by_its_id(plain: ml.Store) -> None:
    for commit in plain.history():
        plain.seal(commit)
        sealed = plain.seal(commit.id)

    assert seals(plain, sealed) == 2 * len(plain.history())


@pytest.mark.parametrize("version", ["nothing of this name", "0" * 32])
def test_what_is_not_there_cannot_be_sealed(plain: ml.Store, version: str) -> None:
    with pytest.raises(ml.UnknownVersionError):
        plain.seal(version)


def test_only_who_may_write_may_seal(plain: ml.Store, store_path: Path) -> None:
    with ml.open(store_path, read_only=True) as reading, pytest.raises(ml.ReadOnlyError):
        reading.seal("one")


amounts = st.one_of(st.none(), st.integers(-5, 5), st.just(2**62))
notes = st.sampled_from([None, "", "ab", "a\0b"])
Row = tuple[int, int, int | None, str | None]
several = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), amounts, notes), max_size=12)


def sealed_content(rows: list[Row], *, cold: bool) -> object:
    """What a seal says of these rows, written at one time into a store of their own."""
    with ml.open(":memory:") as store:
        store._session.clock_us = lambda: SECOND
        store.apply(*PLAIN.definitions())
        if rows:
            store.write(
                "plain", fact_table(PLAIN, [Fact((k,), t * SECOND, {"amount": amount, "note": note}) for k, t, amount, note in rows])
            )
        if cold:
            store.optimize(tier="cold")
        store.seal(store.history()[0])
        with store._session.environment.reader() as reader:
            return decode_act(last_act(reader)[1]).details


@given(first=several, second=several)
def test_a_seal_is_of_the_rows_wherever_they_lie(first: list[Row], second: list[Row]) -> None:
    content = sealed_content(first, cold=False)

    assert sealed_content(first, cold=True) == content
    if sealed_content(second, cold=True) == content:
        assert sorted(map(repr, first)) == sorted(map(repr, second))

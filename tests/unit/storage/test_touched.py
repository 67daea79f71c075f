"""What a writer remembers of its changes: exact for few keys, and never forgetful for many."""

from mlstore.storage import touched
from mlstore.storage.touched import TouchedKeys


def test_few_keys_are_told_apart_by_keyspace():
    keys = TouchedKeys()
    keys.add("a", b"1")
    keys.add_many("a", [b"2", b"3"])

    assert [keys.may_have("a", key) for key in (b"1", b"2", b"3", b"4")] == [True, True, True, False]
    assert not keys.may_have("b", b"1")
    assert (keys.knows("a"), keys.knows("b")) == (True, False)


def test_many_keys_at_once_stand_for_their_whole_keyspace():
    keys = TouchedKeys()
    keys.add_many("a", [b"%d" % number for number in range(257)])
    keys.add("a", b"one more")
    keys.add_many("a", [b"others"])

    assert keys.may_have("a", b"never named")
    assert not keys.may_have("b", b"never named")
    assert keys.knows("a")


def test_keys_that_become_many_little_by_little_do_so_too(monkeypatch):
    monkeypatch.setattr(touched, "_MAX_KEYS", 4)
    one_by_one, in_parts = TouchedKeys(), TouchedKeys()
    for number in range(5):
        before = one_by_one.may_have("a", b"never named"), in_parts.may_have("a", b"never named")
        one_by_one.add("a", b"%d" % number)
        in_parts.add_many("a", [b"%d" % number])

    assert before == (False, False)
    assert one_by_one.may_have("a", b"never named")
    assert in_parts.may_have("a", b"never named")

"""Keyspaces are names; prefixes end where the next prefix begins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore.errors import DefinitionError
from mlstore.storage.keyspace import META, declare, declared, prefix_end


def test_declaring_a_name_again_gives_the_same_keyspace():
    assert declare("meta") is META
    assert declared().count(META) == 1


@pytest.mark.parametrize("name", ["", "Upper", "with space", "1st", "x" * 64, "nul\0"])
def test_a_bad_name_is_refused(name: str):
    with pytest.raises(DefinitionError, match="not a name"):
        declare(name)


@given(st.binary(min_size=1, max_size=6), st.binary(max_size=6))
def test_a_prefix_ends_after_all_keys_that_start_with_it(prefix: bytes, key: bytes):
    end = prefix_end(prefix)

    is_inside = key >= prefix and (end is None or key < end)

    assert is_inside == key.startswith(prefix)


def test_nothing_comes_after_a_prefix_of_highest_bytes():
    assert prefix_end(b"\xff\xff") is None
    assert prefix_end(b"a\xff") == b"b"
    assert prefix_end(b"") is None

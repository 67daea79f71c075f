"""What is looked at before anything is made of a file's bytes agrees with its naive twins, and with msgpack itself."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlstore._core.offsets import are_offsets
from mlstore._core.packed import is_packed
from mlstore.format.packed import unpack
from tests.support.naive_packed import naive_are_offsets, naive_is_packed

plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20), max_leaves=40)


@given(values)
def test_what_was_packed_comes_back(value: object):
    packed = msgpack.packb(value)

    assert is_packed(packed)
    assert unpack(packed) == value


@given(values, st.data())
def test_a_part_of_a_value_or_more_than_one_is_none(value: object, data: st.DataObject):
    packed = msgpack.packb(value)
    cut = data.draw(st.integers(0, len(packed) - 1))

    assert not is_packed(packed[:cut])
    assert not is_packed(packed + b"\0")


@given(st.binary(max_size=60))
@example(b"")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xdf\x80\x00\x00\x00" + bytes(20))
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\xd4\x05\x01")
@example(b"\xc1")
@example(b"\x91" * 63 + b"\x01")
@example(b"\x91" * 64 + b"\x01")
@example(b"\x91" * 64 + b"\x90")
def test_any_bytes_are_judged_as_the_naive_twin_does(data: bytes):
    assert is_packed(data) == naive_is_packed(data)


@given(values, st.data())
def test_a_changed_value_is_judged_as_the_naive_twin_does(value: object, data: st.DataObject):
    packed = bytearray(msgpack.packb(value))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))

    assert is_packed(bytes(packed)) == naive_is_packed(bytes(packed))


def test_an_array_that_claims_more_than_there_is_takes_no_memory():
    with pytest.raises(ValueError, match="no whole msgpack value"):
        unpack(b"\xdd\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="no whole msgpack value"):
        unpack(b"\xdd\x7f\xff\xff\xff" * 30)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@given(st.lists(st.integers(-3, 40), max_size=12), st.integers(0, 40))
def test_offsets_are_judged_as_the_naive_twin_does(kind: type[np.signedinteger], offsets: list[int], end: int):
    assert are_offsets(np.array(offsets, kind), end) == naive_are_offsets(offsets, end)
    assert are_offsets(np.array(sorted(offsets), kind), end) == naive_are_offsets(sorted(offsets), end)

"""The integer types, their bounds, and integers that lie about those bounds."""

from __future__ import annotations

from hypothesis import strategies as st

from mlstore.schema import dtypes as t

INTEGERS = [t.int8, t.int16, t.int32, t.int64, t.uint8, t.uint16, t.uint32, t.uint64]
integers = st.one_of(st.integers(-(2**63), 2**64 - 1), st.integers(-300, 300), st.sampled_from([2**53, 2**53 + 1, 2**24, 2**24 + 1]))


def bounds(dtype):
    bits = dtype.width * 8
    return (0, 2**bits - 1) if dtype.spec[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

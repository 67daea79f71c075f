"""Types of the closed list, each with a strategy of its values as pyarrow takes them; times as integers, over their whole range."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from mlstore.schema import dtypes as dt

Values = st.SearchStrategy[Any]
Typed = tuple[dt.DType, Values]

INT64 = st.integers(-(2**63), 2**63 - 1)


def scalars(*, allow_nan: bool = True) -> list[Typed]:
    """Without NaN where answers are compared by `==`: it is not equal to itself."""
    return [
        (dt.bool_, st.booleans()),
        (dt.int8, st.integers(-(2**7), 2**7 - 1)),
        (dt.int16, st.integers(-(2**15), 2**15 - 1)),
        (dt.int32, st.integers(-(2**31), 2**31 - 1)),
        (dt.int64, INT64),
        (dt.uint8, st.integers(0, 2**8 - 1)),
        (dt.uint16, st.integers(0, 2**16 - 1)),
        (dt.uint32, st.integers(0, 2**32 - 1)),
        (dt.uint64, st.integers(0, 2**64 - 1)),
        (dt.float32, st.floats(width=32, allow_nan=allow_nan)),
        (dt.float64, st.floats(allow_nan=allow_nan)),
        (dt.string, st.text(max_size=6)),
        (dt.binary, st.binary(max_size=6)),
        (dt.date, st.integers(-(2**31), 2**31 - 1) | st.integers(-10_000, 30_000)),
        (dt.timestamp("s"), INT64 | st.integers(-(2**33), 2**33)),
        (dt.timestamp("ms"), INT64 | st.integers(-(2**42), 2**42)),
        (dt.timestamp("us"), INT64 | st.integers(-(2**52), 2**52)),
        (dt.timestamp("ns"), INT64 | st.integers(-(2**50), 2**50).map(lambda micros: micros * 1000)),
        (dt.decimal(9, 2), st.decimals(-9999999, 9999999, places=2)),
        (dt.decimal(38, 10), st.integers(-(10**38) + 1, 10**38 - 1).map(lambda digits: Decimal(f"{digits}E-10"))),
    ]


def vectors(*, allow_nan: bool = True) -> st.SearchStrategy[Typed]:
    def of(size: int, item: dt.DType, width: int) -> Typed:
        return dt.vector(size, item), st.lists(st.floats(width=width, allow_nan=allow_nan), min_size=size, max_size=size)

    return st.integers(1, 4).flatmap(lambda size: st.sampled_from([of(size, dt.float32, 32), of(size, dt.float64, 64)]))


def nullable(values: Values) -> Values:
    return st.none() | values


def nested_in(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    def struct_of(parts: list[Typed]) -> Typed:
        named = {f"f{number}": part for number, part in enumerate(parts)}
        values = st.fixed_dictionaries({name: nullable(part[1]) for name, part in named.items()})
        return dt.struct({name: part[0] for name, part in named.items()}), values

    def map_of(part: Typed) -> Typed:
        return dt.map_(dt.string, part[0]), st.lists(st.tuples(st.text(max_size=3), nullable(part[1])), max_size=3)

    return st.one_of(
        inner.map(lambda part: (dt.list_(part[0]), st.lists(nullable(part[1]), max_size=3))),
        st.lists(inner, min_size=1, max_size=3).map(struct_of),
        inner.map(map_of),
    )


def types(*, allow_nan: bool = True) -> st.SearchStrategy[Typed]:
    """Any type, nested ones too."""
    return st.recursive(st.sampled_from(scalars(allow_nan=allow_nan)) | vectors(allow_nan=allow_nan), nested_in, max_leaves=4)

"""Types: text, Arrow and back; what is a key, what is wider."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlstore.errors import DefinitionError, SchemaMismatchError
from mlstore.schema import dtypes as t

PLAIN = [t.bool_, t.int8, t.int16, t.int32, t.int64, t.uint8, t.uint16, t.uint32, t.uint64]
PLAIN += [t.float32, t.float64, t.string, t.binary, t.date]

leaves = st.one_of(
    st.sampled_from(PLAIN),
    st.builds(t.timestamp, st.sampled_from(["s", "ms", "us", "ns"])),
    st.builds(lambda scale, more: t.decimal(scale + more, scale), st.integers(0, 19), st.integers(1, 19)),
    st.builds(t.vector, st.integers(1, 1000), st.sampled_from([t.float32, t.float64])),
)
all_types = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(t.list_, inner),
        st.builds(t.struct, st.dictionaries(st.text(min_size=1, max_size=5), inner, min_size=1, max_size=3)),
        st.builds(t.map_, leaves.filter(lambda dtype: dtype.is_key), inner),
    ),
    max_leaves=5,
)


@given(all_types)
def test_a_type_is_named_by_its_text_and_by_its_arrow_type(dtype):
    assert t.parse_dtype(dtype.spec) == dtype
    assert t.parse_dtype(dtype.spec).arrow == dtype.arrow
    assert t.dtype_of(dtype.arrow) == dtype
    assert str(dtype) == dtype.spec
    assert pickle.loads(pickle.dumps(dtype)) == dtype


@pytest.mark.parametrize(
    ("dtype", "spec"),
    [
        (t.timestamp(), "timestamp[us]"),
        (t.decimal(10, 2), "decimal(10, 2)"),
        (t.list_(t.float64), "list<float64>"),
        (t.vector(8), "vector<float32, 8>"),
        (t.struct({"a": t.int64, "b": t.string}), "struct<a: int64, b: string>"),
        (t.struct({"a, b": t.int64}), 'struct<"a, b": int64>'),
        (t.map_(t.string, t.list_(t.int8)), "map<string, list<int8>>"),
    ],
)
def test_the_text_of_a_type_is_canonical(dtype, spec):
    assert dtype.spec == spec
    assert t.parse_dtype(spec.replace(" ", "  ").replace('"a,  b"', '"a, b"')) == dtype


@pytest.mark.parametrize(
    ("dtype", "kind", "width"),
    [
        (t.bool_, "bool", 1),
        (t.int8, "fixed", 1),
        (t.uint64, "fixed", 8),
        (t.float32, "fixed", 4),
        (t.date, "fixed", 4),
        (t.timestamp("ns"), "fixed", 8),
        (t.decimal(5, 1), "fixed", 16),
        (t.vector(3), "fixed", 12),
        (t.vector(3, t.float64), "fixed", 24),
        (t.string, "varlen", 0),
        (t.binary, "varlen", 0),
        (t.list_(t.int8), "nested", 0),
        (t.struct({"a": t.int8}), "nested", 0),
        (t.map_(t.string, t.int8), "nested", 0),
    ],
)
def test_kind_and_width_say_how_a_value_is_packed(dtype, kind, width):
    assert (dtype.kind, dtype.width) == (kind, width)


def test_keys_are_the_types_with_exact_order_and_equality():
    keys = {dtype.spec for dtype in [*PLAIN, t.timestamp(), t.decimal(3), t.vector(2), t.list_(t.int8)] if dtype.is_key}

    assert keys == {dtype.spec for dtype in [*PLAIN, t.timestamp()] if dtype not in (t.float32, t.float64)}


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "int",
        "float16",
        "timestamp",
        "timestamp[m]",
        "list<>",
        "list<int8",
        "vector<int8, 3>",
        "vector<float32, 0>",
        "decimal(39, 0)",
        "decimal(2, 3)",
        "struct<>",
        "struct<a: int8, a: int8>",
        'struct<"a: int8>',
        "map<float64, int8>",
        "int8 int8",
    ],
)
def test_text_that_names_no_type_is_refused(spec):
    with pytest.raises(DefinitionError):
        t.parse_dtype(spec)


@pytest.mark.parametrize(
    "make",
    [
        lambda: t.timestamp("m"),
        lambda: t.decimal(0),
        lambda: t.decimal(precision=True),
        lambda: t.decimal(3, -1),
        lambda: t.list_(int),
        lambda: t.list_(pa.int64()),
        lambda: t.vector(0),
        lambda: t.vector(2.0),
        lambda: t.vector(2, t.int8),
        lambda: t.struct({}),
        lambda: t.struct({"": t.int8}),
        lambda: t.struct({"a": "int8"}),
        lambda: t.map_(t.float64, t.int8),
        lambda: t.map_(t.string, None),
    ],
)
def test_a_type_that_makes_no_sense_is_refused(make):
    with pytest.raises(DefinitionError) as refusal:
        make()

    assert refusal.value.hint


@pytest.mark.parametrize(
    ("arrow", "dtype"),
    [
        (pa.large_string(), t.string),
        (pa.string_view(), t.string),
        (pa.dictionary(pa.int8(), pa.large_string()), t.string),
        (pa.run_end_encoded(pa.int32(), pa.int64()), t.int64),
        (pa.large_binary(), t.binary),
        (pa.binary(16), t.binary),
        (pa.uuid(), t.binary),
        (pa.date64(), t.date),
        (pa.float16(), t.float32),
        (pa.timestamp("ms"), t.timestamp("ms")),
        (pa.timestamp("ns", "Asia/Tokyo"), t.timestamp("ns")),
        (pa.decimal256(20, 2), t.decimal(20, 2)),
        (pa.large_list(pa.float32()), t.list_(t.float32)),
        (pa.list_(pa.float32(), 4), t.vector(4)),
        (pa.list_(pa.int8(), 4), t.list_(t.int8)),
    ],
)
def test_an_arrow_type_maps_to_the_type_that_holds_its_values(arrow, dtype):
    assert t.dtype_of(arrow) == dtype


@pytest.mark.parametrize(
    "arrow", [pa.null(), pa.duration("s"), pa.time32("s"), pa.decimal256(50, 0), pa.struct([]), pa.month_day_nano_interval()]
)
def test_an_arrow_type_without_a_type_is_refused(arrow):
    with pytest.raises(SchemaMismatchError, match="no type holds"):
        t.dtype_of(arrow)


def test_only_lossless_changes_of_number_are_widenings():
    everything = [*PLAIN, t.timestamp("us"), t.timestamp("ns"), t.vector(2), t.vector(2, t.float64), t.decimal(4, 1), t.decimal(5, 1)]

    widenings = {f"{old} {new}" for old in everything for new in everything if t.widens(old, new)}

    signed = "int8 int16|int8 int32|int8 int64|int16 int32|int16 int64|int32 int64"
    unsigned = "uint8 uint16|uint8 uint32|uint8 uint64|uint16 uint32|uint16 uint64|uint32 uint64"
    crossing = "uint8 int16|uint8 int32|uint8 int64|uint16 int32|uint16 int64|uint32 int64"
    floats = "int8 float32|int16 float32|uint8 float32|uint16 float32|float32 float64"
    doubles = "int8 float64|int16 float64|int32 float64|uint8 float64|uint16 float64|uint32 float64"
    assert widenings == set("|".join([signed, unsigned, crossing, floats, doubles]).split("|"))

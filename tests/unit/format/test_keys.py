"""Keys: the bytes they are, what a key may be made of, and how a bad one is refused."""

from __future__ import annotations

import datetime
import pickle
import re

import numpy as np
import pyarrow as pa
import pytest

from mlstore.errors import CorruptionError, DefinitionError, InvalidDataError, SchemaMismatchError
from mlstore.format.keymerge import merge_keys, places_in
from mlstore.format.keys import MAX_KEY, Keys, KeySpec, decode_keys, encode_key, factorize, prefix_range
from mlstore.schema import dtypes
from mlstore.schema.dtypes import DType

NUMBER = KeySpec((dtypes.int64,))
TEXT = KeySpec((dtypes.string,))
PAIR = KeySpec((dtypes.string, dtypes.int64))


@pytest.mark.parametrize(
    ("columns", "values", "encoded"),
    [
        ((), (), "80 00 00 00 00 00 00 00"),
        ((dtypes.int64,), (0,), "80 00 00 00 00 00 00 00"),
        ((dtypes.int64,), (-1,), "7f ff ff ff ff ff ff ff"),
        ((dtypes.int8,), (-128,), "7f ff ff ff ff ff ff 80"),
        ((dtypes.uint64,), (2**64 - 1,), "ff ff ff ff ff ff ff ff"),
        ((dtypes.uint64,), (0,), "00 00 00 00 00 00 00 00"),
        ((dtypes.uint32,), (1,), "80 00 00 00 00 00 00 01"),
        ((dtypes.bool_,), (True,), "80 00 00 00 00 00 00 01"),
        ((dtypes.date,), (datetime.date(1969, 12, 31),), "7f ff ff ff ff ff ff ff"),
        ((dtypes.timestamp("s"),), (datetime.datetime(1970, 1, 1, 0, 1),), "80 00 00 00 00 00 00 3c"),
        ((dtypes.string,), ("é\0",), "c3 a9 00 01 00 00"),
        ((dtypes.binary,), (b"",), "00 00"),
        ((dtypes.string, dtypes.int64), ("a", 1), "61 00 00 80 00 00 00 00 00 00 01"),
    ],
)
def test_the_bytes_of_a_key_are_those_of_the_format(columns: tuple[DType, ...], values: tuple[object, ...], encoded: str) -> None:
    assert encode_key(KeySpec(columns), values) == bytes.fromhex(encoded)


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ((), "int"),
        ((dtypes.uint64,), "int"),
        ((dtypes.bool_,), "int"),
        ((dtypes.date,), "int"),
        ((dtypes.timestamp("ns"),), "int"),
        ((dtypes.string,), "bytes"),
        ((dtypes.int64, dtypes.int64), "bytes"),
    ],
)
def test_a_single_integer_like_column_and_no_column_are_kept_as_integers(columns: tuple[DType, ...], kind: str) -> None:
    assert KeySpec(columns).kind == kind


def test_a_global_entity_has_one_key() -> None:
    found = factorize(KeySpec(()), [], 3)

    assert found.keys.ints.tolist() == [0]
    assert found.codes.tolist() == [0, 0, 0]
    assert decode_keys(KeySpec(()), found.keys) == []


def test_a_global_entity_without_rows_has_no_key() -> None:
    found = factorize(KeySpec(()), [], 0)

    assert len(found.keys) == 0
    assert len(found.codes) == 0


@pytest.mark.parametrize("spec", [NUMBER, TEXT, PAIR])
def test_a_table_without_rows_has_no_keys(spec: KeySpec) -> None:
    columns = [pa.chunked_array([], dtype.arrow) for dtype in spec.dtypes]

    found = factorize(spec, columns, 0)

    assert (len(found.keys), len(found.codes), found.keys.kind) == (0, 0, spec.kind)
    assert [len(column) for column in decode_keys(spec, found.keys)] == [0] * len(spec.dtypes)


@pytest.mark.parametrize("spec", [NUMBER, TEXT, PAIR])
def test_a_table_of_nulls_has_rows_but_no_keys(spec: KeySpec) -> None:
    columns = [pa.nulls(2, dtype.arrow) for dtype in spec.dtypes]

    found = factorize(spec, columns, 2)

    assert len(found.keys) == 0
    assert found.codes.tolist() == [-1, -1]


def test_tuples_that_look_alike_end_to_end_stay_apart() -> None:
    spec = KeySpec((dtypes.string, dtypes.string))

    found = factorize(spec, [pa.array(["a", "ab", "a\0"]), pa.array(["bc", "c", ""])], 3)

    assert len(set(found.codes.tolist())) == 3


def test_a_key_with_a_null_component_is_none() -> None:
    assert encode_key(PAIR, ("a", None)) is None
    assert encode_key(KeySpec((dtypes.timestamp("us"),)), (np.datetime64("NaT"),)) is None
    assert encode_key(KeySpec((dtypes.date,)), (np.datetime64("NaT"),)) is None


@pytest.mark.parametrize(
    ("dtype", "value", "same_as"),
    [
        (dtypes.int64, np.int16(-7), -7),
        (dtypes.uint64, np.uint64(2**63), 2**63),
        (dtypes.bool_, np.array([True])[0], True),
        (dtypes.string, np.str_("x"), "x"),
        (dtypes.binary, bytearray(b"x"), b"x"),
        (dtypes.date, np.datetime64("2024-02-29"), datetime.date(2024, 2, 29)),
        (dtypes.timestamp("us"), np.datetime64("2024-02", "M"), datetime.datetime(2024, 2, 1)),
        (dtypes.timestamp("us"), np.datetime64("2024-02-29T12:00:00.5"), datetime.datetime(2024, 2, 29, 12, 0, 0, 500_000)),
        (
            dtypes.timestamp("us"),
            datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
            datetime.datetime(2024, 2, 29, 10),
        ),
    ],
)
def test_numpy_scalars_and_zoned_times_are_the_keys_their_plain_twins_are(dtype: DType, value: object, same_as: object) -> None:
    assert encode_key(KeySpec((dtype,)), (value,)) == encode_key(KeySpec((dtype,)), (same_as,))


def test_a_pandas_timestamp_keeps_its_nanoseconds() -> None:
    pandas = pytest.importorskip("pandas")
    spec = KeySpec((dtypes.timestamp("ns"),))

    encoded = encode_key(spec, (pandas.Timestamp("2024-02-29T12:00:00.123456789"),))

    assert encoded == encode_key(spec, (np.datetime64("2024-02-29T12:00:00.123456789"),))
    assert encode_key(spec, (pandas.NaT,)) is None


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (dtypes.int64, "7"),
        (dtypes.int64, 7.0),
        (dtypes.int64, True),
        (dtypes.int64, np.array([7])),
        (dtypes.bool_, 1),
        (dtypes.string, 7),
        (dtypes.string, b"7"),
        (dtypes.binary, "7"),
        (dtypes.date, datetime.datetime(2024, 1, 1)),
        (dtypes.date, 7),
        (dtypes.timestamp("us"), datetime.date(2024, 1, 1)),
        (dtypes.timestamp("us"), "2024-01-01"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(dtype: DType, value: object) -> None:
    with pytest.raises(SchemaMismatchError, match=re.escape(f"expected {dtype}, got")):
        encode_key(KeySpec((dtype,)), (value,))


@pytest.mark.parametrize(
    ("dtype", "value", "reason"),
    [
        (dtypes.int8, 128, "out of the range"),
        (dtypes.uint64, -1, "out of the range"),
        (dtypes.uint64, 2**64, "out of the range"),
        (dtypes.string, "\ud800", "no valid text"),
        (dtypes.timestamp("s"), datetime.datetime(2024, 1, 1, 0, 0, 0, 1), "more digits"),
        (dtypes.timestamp("ns"), datetime.datetime(2500, 1, 1), "out of the range"),
        (dtypes.timestamp("ns"), np.datetime64(1, "ps"), "finer"),
        (dtypes.date, np.datetime64("2024-01-01T01"), "more digits"),
        (dtypes.string, "x" * (MAX_KEY - 1), "441 bytes"),
    ],
)
def test_a_value_that_cannot_be_kept_is_refused_with_its_reason(dtype: DType, value: object, reason: str) -> None:
    with pytest.raises(InvalidDataError, match=reason):
        encode_key(KeySpec((dtype,)), (value,))


def test_a_key_of_too_few_values_is_refused() -> None:
    with pytest.raises(SchemaMismatchError, match="expected 2 values, got 1"):
        encode_key(PAIR, ("a",))


def test_columns_that_differ_in_length_are_refused() -> None:
    with pytest.raises(SchemaMismatchError, match=r"2 key columns of 2 rows, got \[2, 1\]"):
        factorize(PAIR, [pa.array(["a", "b"]), pa.array([1])], 2)


def test_an_over_long_key_is_refused_naming_its_first_row_and_its_length() -> None:
    column = pa.array(["b", None, "x" * 500, "a", "w" * 600])

    with pytest.raises(InvalidDataError, match="row 2: the key has 502 bytes"):
        factorize(TEXT, [column], 5)


def test_the_longest_key_is_kept() -> None:
    longest = "x" * (MAX_KEY - 2)

    found = factorize(TEXT, [pa.array([longest])], 1)

    assert found.keys.encoded() == [encode_key(TEXT, (longest,))]


def test_a_type_that_is_no_key_is_refused() -> None:
    with pytest.raises(DefinitionError, match="float64 cannot be a key"):
        KeySpec((dtypes.float64,))


def test_a_spec_pickles() -> None:
    spec = pickle.loads(pickle.dumps(PAIR))

    assert spec == PAIR
    assert encode_key(spec, ("a", 1)) == encode_key(PAIR, ("a", 1))


@pytest.mark.parametrize("encoded", [b"", b"a", b"a\0", b"a\0\1", b"a\0\2\0\0", b"a\0\0\0", b"\xff\0\0"])
def test_a_stored_key_that_is_cut_short_or_badly_escaped_is_corruption(encoded: bytes) -> None:
    with pytest.raises(CorruptionError):
        decode_keys(TEXT, Keys.from_encoded([encoded], "bytes"))


def test_a_stored_integer_that_is_cut_short_is_corruption() -> None:
    whole = encode_key(PAIR, ("a", 1)) or b""

    with pytest.raises(CorruptionError, match="stored key 1"):
        decode_keys(PAIR, Keys.from_encoded([whole, whole[:-1]], "bytes"))


def test_a_stored_integer_out_of_the_range_of_its_column_is_corruption() -> None:
    with pytest.raises(CorruptionError, match="int8"):
        decode_keys(KeySpec((dtypes.int8,)), Keys(ints=np.array([300])))


def test_keys_of_the_other_kind_are_corruption() -> None:
    with pytest.raises(CorruptionError, match="bytes was expected"):
        decode_keys(TEXT, Keys(ints=np.array([1])))


@pytest.mark.parametrize("keys", [Keys(ints=np.array([1, 2])), Keys.from_encoded([b"a", b"b"], "bytes")])
@pytest.mark.parametrize("position", [-1, 2])
def test_a_position_out_of_range_is_an_index_error(keys: Keys, position: int) -> None:
    with pytest.raises(IndexError):
        keys.take(np.array([position]))
    with pytest.raises(IndexError):
        keys.encoded_at(position)


def test_vectors_of_two_kinds_neither_join_nor_search_each_other() -> None:
    numbers, texts = Keys(ints=np.array([1])), Keys.from_encoded([b"a"], "bytes")

    with pytest.raises(ValueError, match="kinds"):
        Keys.concat([numbers, texts])
    with pytest.raises(ValueError, match="kind"):
        numbers.search(texts)


def test_an_encoded_integer_of_another_length_is_refused() -> None:
    with pytest.raises(CorruptionError, match="8 bytes"):
        Keys.from_encoded([b"1234567", b"123456789"], "int")


def test_the_range_of_a_prefix_without_successor_has_no_end() -> None:
    assert prefix_range(b"\xff\xff") == (b"\xff\xff", None)
    assert prefix_range(b"a\xff") == (b"a\xff", b"b")


def test_keys_that_are_not_found_where_they_were_merged_into_are_damage() -> None:
    one, other = Keys.from_encoded([b"a", b"c"], "bytes"), Keys.from_encoded([b"b", b"c"], "bytes")
    merged = merge_keys([one, other])

    assert places_in(merged, other).tolist() == [1, 2]
    with pytest.raises(CorruptionError, match="not in order"):
        places_in(one, other)

"""Keys agree with their plain twin, keep the order of the values, and come back as they went in."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlstore.format.ranks as ranks_module
from mlstore.format.keys import Keys, KeySpec, decode_keys, encode_key, factorize, line_up, prefix_range
from mlstore.format.keyvector import ints_of_list, record_of_int
from mlstore.format.ranks import rank_ints
from mlstore.schema import dtypes
from mlstore.schema.dtypes import DType
from tests.support.naive_keys import Scalar, comparable, naive_encode, naive_factorize, naive_search

LOW, HIGH = -(2**63), 2**63 - 1
UTC = datetime.UTC

Row = tuple[Scalar | None, ...]


def whole_numbers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.one_of(st.sampled_from([low, low + 1, 0, high - 1, high]), st.integers(low, high), st.integers(0, 3))


texts = st.one_of(st.text(max_size=6), st.text("a\0\x01é\U0001f600", max_size=4))
blobs = st.one_of(st.binary(max_size=6), st.lists(st.sampled_from([0, 1, 2, 255]), max_size=4).map(bytes))
moments = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)).map(lambda moment: moment.replace(tzinfo=UTC))

VALUES: dict[DType, st.SearchStrategy[Scalar]] = {
    dtypes.int8: whole_numbers(8, signed=True),
    dtypes.int16: whole_numbers(16, signed=True),
    dtypes.int32: whole_numbers(32, signed=True),
    dtypes.int64: whole_numbers(64, signed=True),
    dtypes.uint8: whole_numbers(8, signed=False),
    dtypes.uint16: whole_numbers(16, signed=False),
    dtypes.uint32: whole_numbers(32, signed=False),
    dtypes.uint64: whole_numbers(64, signed=False),
    dtypes.bool_: st.booleans(),
    dtypes.date: st.dates(),
    dtypes.timestamp("us"): moments,
    dtypes.string: texts,
    dtypes.binary: blobs,
}


@st.composite
def tables(draw: st.DrawFn, *, nulls: bool = True) -> tuple[KeySpec, list[Row]]:
    columns = draw(st.lists(st.sampled_from(list(VALUES)), max_size=4))
    cells = [st.none() | VALUES[dtype] if nulls else VALUES[dtype] for dtype in columns]
    return KeySpec(tuple(columns)), draw(st.lists(st.tuples(*cells), max_size=25))


def column(dtype: DType, values: Sequence[Scalar | None], cuts: Sequence[int]) -> pa.ChunkedArray:
    """The values in chunks cut out of longer arrays, so that their buffers have offsets."""
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    padded = pa.array([None, *values, None], dtype.arrow)
    return pa.chunked_array([padded.slice(1 + a, b - a) for a, b in pairwise(edges)], dtype.arrow)


def unsigned(spec: KeySpec) -> list[bool]:
    return [dtype == dtypes.uint64 for dtype in spec.dtypes]


def columns_of(spec: KeySpec, rows: Sequence[Row], cuts: Sequence[int] = ()) -> list[pa.ChunkedArray]:
    return [column(dtype, [row[i] for row in rows], cuts) for i, dtype in enumerate(spec.dtypes)]


@given(tables(), st.lists(st.integers(0, 25), max_size=3))
def test_factorizing_agrees_with_its_plain_twin(table: tuple[KeySpec, list[Row]], cuts: list[int]) -> None:
    spec, rows = table

    found = factorize(spec, columns_of(spec, rows, cuts), len(rows))

    uniques, codes = naive_factorize(rows)
    assert found.codes.dtype == np.int32
    assert found.codes.tolist() == codes
    assert found.keys.kind == spec.kind
    assert found.keys.encoded() == [naive_encode(unique, unsigned=unsigned(spec)) for unique in uniques]


@given(tables(), st.lists(st.integers(0, 25), max_size=3))
def test_lining_keys_up_encodes_each_row_as_it_comes(table: tuple[KeySpec, list[Row]], cuts: list[int]) -> None:
    spec, rows = table

    found = line_up(spec, columns_of(spec, rows, cuts), len(rows))

    assert len(found.keys) == len(rows)
    assert found.keys.kind == spec.kind
    encoded = [found.keys.encoded()[code] if code >= 0 else None for code in found.codes.tolist()]
    assert encoded == [encode_key(spec, row) for row in rows]


@given(tables(nulls=False))
def test_keys_come_back_as_the_values_they_were_made_of(table: tuple[KeySpec, list[Row]]) -> None:
    spec, rows = table
    found = factorize(spec, columns_of(spec, rows), len(rows))

    decoded = decode_keys(spec, found.keys)

    uniques, _ = naive_factorize(rows)
    assert [array.type for array in decoded] == [dtype.arrow for dtype in spec.dtypes]
    for i, dtype in enumerate(spec.dtypes):
        assert decoded[i].equals(pa.array([unique[i] for unique in uniques], dtype.arrow))


@given(tables())
def test_one_key_is_encoded_as_a_column_of_keys_is(table: tuple[KeySpec, list[Row]]) -> None:
    spec, rows = table
    found = factorize(spec, columns_of(spec, rows), len(rows))

    encoded = [encode_key(spec, row) for row in rows]

    assert encoded == [found.keys.encoded_at(code) if code >= 0 else None for code in found.codes.tolist()]


@given(tables(nulls=False))
def test_the_order_of_the_bytes_is_the_order_of_the_values_and_no_key_begins_another(table: tuple[KeySpec, list[Row]]) -> None:
    spec, rows = table
    uniques, _ = naive_factorize(rows)

    encoded = [encode_key(spec, unique) or b"" for unique in sorted(uniques, key=lambda unique: tuple(map(comparable, unique)))]

    assert encoded == sorted(set(encoded))
    assert not any(after.startswith(before) for before, after in pairwise(encoded))


@given(tables(nulls=False), st.data())
def test_a_vector_is_cut_taken_joined_and_rebuilt_as_a_list_is(table: tuple[KeySpec, list[Row]], data: st.DataObject) -> None:
    spec, rows = table
    keys = factorize(spec, columns_of(spec, rows), len(rows)).keys
    encoded = keys.encoded()
    start, stop = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 30))
    positions = data.draw(st.lists(st.integers(0, len(keys) - 1))) if len(keys) else []

    cut, taken = keys.slice(start, stop), keys.take(np.array(positions, np.int64))

    assert cut.encoded() == encoded[start:stop]
    assert cut.take(np.arange(len(cut))).encoded() == cut.encoded()
    assert taken.encoded() == [encoded[i] for i in positions]
    assert Keys.concat([cut, taken]).encoded() == cut.encoded() + taken.encoded()
    assert Keys.from_encoded(encoded, keys.kind).encoded() == encoded


@st.composite
def haystacks(draw: st.DrawFn) -> tuple[Keys, Keys]:
    spec = KeySpec((draw(st.sampled_from([dtypes.int64, dtypes.string])),))
    value = VALUES[spec.dtypes[0]] | (st.integers(0, 60) if spec.kind == "int" else st.integers(0, 60).map(str))
    keys, needles = (draw(st.lists(value, max_size=size)) for size in (80, draw(st.sampled_from([2, 80]))))
    if spec.kind == "int" and draw(st.booleans()):
        first = draw(st.integers(-(2**63), 2**63 - 100))  # numbers one after the other, of which none is left out
        keys = list(range(first, first + draw(st.integers(0, 60))))
        needles += draw(st.lists(st.integers(max(-(2**63), first - 3), first + 63), max_size=9))
    vectors = [factorize(spec, [pa.array(values, spec.dtypes[0].arrow)], len(values)).keys for values in (keys, needles)]
    return vectors[0], vectors[1]


@given(haystacks())
def test_searching_finds_the_position_of_each_needle_or_minus_one(vectors: tuple[Keys, Keys]) -> None:
    keys, needles = vectors

    positions = keys.search(needles)

    assert positions.tolist() == naive_search(keys.encoded(), needles.encoded())


@given(haystacks(), st.integers(0, 20))
def test_the_lower_bound_is_where_the_bytes_would_stand(vectors: tuple[Keys, Keys], length: int) -> None:
    keys, needles = vectors
    probes = [probe for needle in needles.encoded() for probe in (needle, needle[:length], needle + b"\0")]

    bounds = [keys.lower_bound(probe) for probe in probes]

    assert bounds == [sum(key < probe for key in keys.encoded()) for probe in probes]


@given(st.binary(max_size=4) | st.lists(st.sampled_from([0, 254, 255]), max_size=4).map(bytes), st.lists(st.binary(max_size=6)))
def test_a_prefix_range_holds_just_the_keys_that_begin_with_the_prefix(prefix: bytes, others: list[bytes]) -> None:
    keys = [*others, prefix, prefix + b"\0", prefix + b"\xff\xff\xff\xff\xff"]

    start, stop = prefix_range(prefix)

    assert [start <= key and (stop is None or key < stop) for key in keys] == [key.startswith(prefix) for key in keys]


@pytest.mark.parametrize("most_hashed", [2, 1 << 18])
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.arange(-500, 500), id="in order"),
        pytest.param(np.arange(1000)[::-1] % 37, id="of a narrow range"),
        pytest.param(np.random.default_rng(0).integers(LOW, HIGH, 1000), id="of all 64 bits"),
        pytest.param(np.random.default_rng(1).choice([LOW, -1, 5, HIGH], 1000), id="of few kinds"),
        pytest.param(np.random.default_rng(2).integers(0, 2**40, 1000) << 20, id="of round numbers"),
    ],
)
def test_every_way_of_ranking_gives_the_ranks_of_numpy(values: np.ndarray, most_hashed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks_module, "HASHED_VALUES", most_hashed)

    uniques, ranks = rank_ints(values.astype(np.int64))

    expected_uniques, expected_ranks = np.unique(values, return_inverse=True)
    assert np.array_equal(uniques, expected_uniques)
    assert np.array_equal(ranks, expected_ranks)


@given(st.lists(st.tuples(*[st.integers(0, 2) | st.none()] * 4), max_size=30))
def test_tuples_that_overflow_a_mixed_radix_are_ranked_all_the_same(rows: list[Row]) -> None:
    spec = KeySpec((dtypes.int64,) * 4)

    # A limit this low makes every column but the first begin anew.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks_module, "MOST_COMBINED", 3)
        found = factorize(spec, columns_of(spec, rows), len(rows))

    uniques, codes = naive_factorize(rows)
    assert found.codes.tolist() == codes
    assert found.keys.encoded() == [naive_encode(unique) for unique in uniques]


@given(tables(nulls=False), st.binary(max_size=9))
def test_records_are_the_encoded_keys_behind_a_prefix(table: tuple[KeySpec, list[Row]], prefix: bytes) -> None:
    spec, rows = table

    keys = lined_up(spec, rows)

    assert keys.records(prefix) == [prefix + key for key in keys.encoded()]


def lined_up(spec: KeySpec, rows: list[Row]) -> Keys:
    columns = [pa.array([row[place] for row in rows], dtype.arrow) for place, dtype in enumerate(spec.dtypes)]
    return line_up(spec, columns, len(rows)).keys


PLAIN = whole_numbers(64, signed=True)
ODD = st.sampled_from([None, True, 1.0, "1", np.int64(1), HIGH + 1, LOW - 1, 2**200])


@given(st.lists(PLAIN | ODD, max_size=20))
def test_a_list_is_read_as_integers_if_it_holds_nothing_else(values: list[object]) -> None:
    ints = ints_of_list(values)

    assert (ints is not None) == all(type(value) is int and LOW <= value <= HIGH for value in values)
    assert ints is None or ints.tolist() == values


@given(st.binary(max_size=9), PLAIN | ODD, st.sampled_from([8, 16, 32, 64]))
def test_the_record_of_an_integer_is_its_key_behind_the_prefix_or_none(prefix: bytes, value: object, bits: int) -> None:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    record = record_of_int(prefix, value, low, high)

    if type(value) is int and low <= value <= high:
        assert record == prefix + naive_encode([value])
    else:
        assert record is None

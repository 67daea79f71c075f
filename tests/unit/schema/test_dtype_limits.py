"""Types without an end: refused, whoever asks for them, a caller or a file."""

from __future__ import annotations

import pytest

import mlstore as ml
from mlstore.schema.dtypes import MAX_DEPTH, MAX_VECTOR, parse_dtype


def test_types_are_nested_so_deep_and_no_deeper():
    dtype = ml.int64
    for _ in range(MAX_DEPTH - 1):
        dtype = ml.list_(dtype)

    assert parse_dtype(dtype.spec) == dtype
    with pytest.raises(ml.DefinitionError, match="deep"):
        ml.list_(dtype)


@pytest.mark.parametrize("spec", ["list<" * 5000, "list<" * 40 + "int64" + ">" * 40, "struct<a: " * 5000, "map<int64, " * 5000])
def test_a_text_that_nests_without_an_end_is_refused(spec: str):
    with pytest.raises(ml.DefinitionError, match=r"is not a type|deep"):
        parse_dtype(spec)


def test_a_vector_has_a_greatest_length():
    assert ml.vector(MAX_VECTOR)
    with pytest.raises(ml.DefinitionError, match="longer than"):
        parse_dtype(f"vector<float32, {MAX_VECTOR + 1}>")

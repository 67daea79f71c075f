"""Record batches of rows: whose memory they are, under which names they come, and what is refused."""

from __future__ import annotations

import gc

import numpy as np
import pyarrow as pa
import pytest

from mlstore._core.batches import read_batch
from mlstore.errors import CorruptionError
from mlstore.format.batches import BatchReader
from mlstore.format.rows import HEAD, RowPlan, RowReader, compile_plan, peek_many
from mlstore.schema import dtypes as dt

FIELDS = [("amount", dt.float64), ("shop", dt.string), ("ok", dt.bool_), ("embedding", dt.vector(2)), ("tags", dt.list_(dt.string))]
COLUMNS = [
    pa.array([1.5, None, 2.5]),
    pa.array(["a", "é", None]),
    pa.array([True, None, False]),
    pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
    pa.array([["x"], [], None], pa.list_(pa.string())),
]
TIMES = np.arange(3)


def plan() -> RowPlan:
    return compile_plan(1, FIELDS)


def rows() -> list[bytes]:
    return plan().encode(TIMES, TIMES, TIMES, COLUMNS)


def test_columns_come_under_the_names_asked_for_and_keep_their_types():
    batch = RowReader({}, plan()).batches([4, 0, 3], ["labels", "spent", "vector"]).read(peek_many([rows()[2], None, rows()[0]]))

    assert batch.schema == pa.schema([("labels", COLUMNS[4].type), ("spent", pa.float64()), ("vector", COLUMNS[3].type)])
    assert batch.to_pydict() == {"labels": [None, None, ["x"]], "spent": [2.5, None, 1.5], "vector": [[3.0, 4.0], None, [1.0, 2.0]]}
    batch.validate(full=True)


def test_rows_of_an_older_revision_stand_among_the_others():
    older = compile_plan(0, FIELDS[:1])
    kept = older.encode(TIMES[:1], TIMES[:1], TIMES[:1], [pa.array([7.0])])

    batch = RowReader({0: older}, plan()).batches([0, 1], ["amount", "shop"]).read(peek_many([rows()[0], *kept, None, rows()[1]]))

    assert batch.to_pydict() == {"amount": [1.5, 7.0, None, None], "shop": ["a", None, None, "é"]}


def test_a_column_outlives_its_batch_and_the_rows():
    held = rows()
    heads = peek_many(held)
    batch = plan().batches(range(5), "abcde").read(heads.address, heads.size)
    column = batch.column(3).flatten()
    text = batch.column(1)

    del batch, heads, held
    gc.collect()
    np.ones(100_000).sum()

    assert column.to_pylist() == [1.0, 2.0, 3.0, 4.0]
    assert text.to_pylist() == ["a", "é", None]


def test_all_memory_is_given_back_whether_a_batch_is_taken_or_not():
    heads = peek_many(
        plan().encode(*(np.arange(20_000),) * 3, [pa.array(np.ones(20_000)), *(pa.nulls(20_000, c.type) for c in COLUMNS[1:])])
    )
    reader = plan().batches(range(5), "abcde")

    def use(times: int) -> int:
        for _ in range(times):
            read_batch(plan().layout, heads.address, heads.size, (0, 1, 2, 3, 4), (0, 0, 0, 2, 0))
            read_batch(plan().layout, heads.address, heads.size, (0, 1), (0, 0)).capsule()
            reader.read(heads.address, heads.size)
        return resident_bytes()

    before = use(20)

    assert use(100) - before < 20_000_000  # 100 times are more than 100 MB


def resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as sizes:
            return int(sizes.read().split()[1]) * 4096
    except FileNotFoundError:
        pytest.skip("only Linux tells what is resident")


def test_a_batch_is_given_away_once():
    heads = peek_many(rows())
    batch = read_batch(plan().layout, heads.address, heads.size, (0,), (0,))
    batch.capsule()

    with pytest.raises(ValueError, match="given away"):
        batch.capsule()


@pytest.mark.parametrize(("wanted", "items"), [((0,), (3,)), ((1,), (2,)), ((2,), (1,)), ((3,), (-1,))])
def test_what_is_no_vector_of_so_many_items_is_refused(wanted, items):
    heads = peek_many(rows())

    with pytest.raises(ValueError, match="no vector"):
        read_batch(plan().layout, heads.address, heads.size, wanted, items)


def test_a_feature_that_is_not_there_is_refused():
    heads = peek_many(rows())

    with pytest.raises(IndexError, match="feature 5 of 5"):
        read_batch(plan().layout, heads.address, heads.size, (5,), (0,))


def test_bytes_that_are_no_text_are_told_by_the_name_of_the_feature():
    narrow = compile_plan(1, [("shop", dt.binary)])
    heads = peek_many(narrow.encode(TIMES, TIMES, TIMES, [pa.array([b"fine", b"\xff", None])]))
    as_text = BatchReader(compile_plan(1, [("shop", dt.string)]).layout, [("shop", dt.string)], [0], ["renamed"])

    with pytest.raises(CorruptionError, match="shop is not UTF-8"):
        as_text.read(heads.address, heads.size)


def test_a_row_that_is_cut_off_is_named():
    damaged = [rows()[0], rows()[1][: HEAD.size]]
    heads = peek_many(damaged)

    with pytest.raises(CorruptionError, match="stored row 1 of the batch: cut off at byte 26"):
        plan().batches([0], ["amount"]).read(heads.address, heads.size)


def test_no_rows_and_no_features_are_batches_too():
    heads = peek_many([])

    assert plan().batches([0, 1, 3], "abc").read(heads.address, heads.size).num_rows == 0
    assert compile_plan(1, []).batches([], []).read(peek_many([]).address, peek_many([]).size).num_columns == 0

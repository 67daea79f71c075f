"""Files in and out of the command line: every format, every type, and each way a file can be wrong."""

from __future__ import annotations

import gzip
import io
import math
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mlstore as ml
from mlstore.cli.formats import Format, find_format
from mlstore.cli.incoming import load_rows, open_rows
from mlstore.cli.outgoing import write_rows

INSTANT = pa.timestamp("us", "UTC")
TYPES = {
    "count": pa.int64(),
    "ratio": pa.float64(),
    "name": pa.string(),
    "flag": pa.bool_(),
    "day": pa.date32(),
    "at": INSTANT,
    "fine": pa.timestamp("ns", "UTC"),
    "price": pa.decimal128(9, 2),
    "blob": pa.binary(),
    "parts": pa.list_(pa.int32()),
    "vector": pa.list_(pa.float32(), 2),
    "pair": pa.struct({"x": pa.float64(), "when": INSTANT}),
    "map": pa.map_(pa.string(), pa.int64()),
}
MOMENT = datetime(1969, 12, 31, 23, 59, 59, 500_000, UTC)


@pytest.fixture
def every_type() -> pa.Table:
    """A row of plain values, a row of odd ones, a row of nulls."""
    columns = {
        "count": [2**53 + 1, -1, None],
        "ratio": [0.1, math.inf, None],
        "name": ['é,"quoted"', "", None],
        "flag": [True, False, None],
        "day": [date(2013, 1, 1), date(1950, 5, 5), None],
        "at": [MOMENT, datetime(2013, 1, 1, tzinfo=UTC), None],
        "fine": pa.array([1_000_000_001, 0, None], pa.timestamp("ns", "UTC")),
        "price": [Decimal("9.99"), Decimal("-0.01"), None],
        "blob": [b"\x00\xff", b"", None],
        "parts": [[1, None, 3], [], None],
        "vector": [[1.5, 2.5], [0.0, -1.0], None],
        "pair": [{"x": 1.5, "when": MOMENT}, {"x": None, "when": None}, None],
        "map": [[("a", 1), ("b", None)], [], None],
    }
    return pa.table({name: pa.array(values, TYPES[name]) for name, values in columns.items()})


def write_text(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow", "rows.csv", "rows.csv.gz", "rows.jsonl", "rows.ndjson.zst"])
def test_every_type_survives_the_way_out_and_back_in(tmp_path: Path, every_type: pa.Table, name: str) -> None:
    path = str(tmp_path / name)

    written = write_rows(every_type.to_batches(), every_type.schema, path=path)
    back = load_rows(path, types=TYPES)

    assert written == 3
    assert back.equals(every_type)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_nan_is_a_value_and_not_a_null(tmp_path: Path, suffix: str) -> None:
    path = str(tmp_path / f"rows.{suffix}")
    table = pa.table({"ratio": pa.array([math.nan, None], pa.float64())})
    if suffix == "csv":  # a line of one empty field is a blank line to CSV
        table = table.append_column("count", pa.array([1, 2], pa.int64()))

    write_rows(table.to_batches(), table.schema, path=path)
    back = load_rows(path, types=TYPES)["ratio"]

    assert math.isnan(back[0].as_py())
    assert back[1].as_py() is None


def test_integers_with_blanks_stay_integers(tmp_path: Path) -> None:
    path = write_text(tmp_path / "rows.csv", "count,name\n1,a\n,b\n")

    assert load_rows(path, types=TYPES)["count"].to_pylist() == [1, None]
    assert load_rows(path, types=TYPES).schema.field("count").type == pa.int64()


def test_a_declared_text_keeps_its_leading_zeros(tmp_path: Path) -> None:
    path = write_text(tmp_path / "rows.csv", "name,count\n007,1\n")

    assert load_rows(path, types=TYPES)["name"].to_pylist() == ["007"]


def test_na_is_a_text_until_it_is_said_to_mean_null(tmp_path: Path) -> None:
    path = write_text(tmp_path / "rows.csv", "name,count\nNA,1\n")

    assert load_rows(path, types=TYPES)["name"].to_pylist() == ["NA"]
    assert load_rows(path, types=TYPES, nulls=["NA"])["name"].to_pylist() == [None]


def test_naive_and_zoned_times_of_one_column_are_read_as_utc(tmp_path: Path) -> None:
    texts = ["2013-01-01", "2013-01-01 00:00", "2013-01-01T00:00:00Z", "2013-01-01T01:00:00+01:00", "2012-12-31T19:00:00-0500"]
    path = write_text(tmp_path / "rows.csv", "at,count\n" + "".join(f"{text},1\n" for text in texts))

    assert set(load_rows(path, types=TYPES)["at"].to_pylist()) == {datetime(2013, 1, 1, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("rows.csv", "count,name\n1,a\nx,b\n", "rows.csv: row 2, column 'count': 'x' is no int64"),
        ("rows.csv", "count,at\n1,2013-01-01\n1,soon\n", "rows.csv: row 2, column 'at': 'soon' is no timestamp"),
        ("rows.csv", "at,count\n2013-01-01T00:00:00.1234567,1\n", "row 1, column 'at'"),
        ("rows.csv", 'parts,count\n"[1,",1\n', "row 1, column 'parts'"),
        ("rows.csv", "count,count\n1,2\n", "two columns are called 'count'"),
        ("rows.csv", "count,name\n1,a,b\n", "rows.csv: not readable as csv"),
        ("rows.csv", "", "rows.csv: empty"),
        ("rows.jsonl", '{"count": 1}\n\n{"count": 1.5}\n', "rows.jsonl: line 3, column 'count': 1.5 is no int64"),
        ("rows.jsonl", '{"count": true}\n', "line 1, column 'count': True is no int64"),
        ("rows.jsonl", '{"count": 99999999999999999999}\n', "line 1, column 'count'"),
        ("rows.jsonl", '{"at": 5}\n', "line 1, column 'at': 5 is no timestamp"),
        ("rows.jsonl", '{"vector": [1]}\n', "line 1, column 'vector': [1] is no fixed_size_list"),
        ("rows.jsonl", '{"pair": {"z": 1}}\n', "line 1, column 'pair'"),
        ("rows.jsonl", '{"count": 1}\n{"count": 1,\n', "line 2 is no JSON"),
        ("rows.jsonl", "[1]\n", "line 1 is no object"),
        ("rows.jsonl", '{"count": 1}\n' * 70_000 + '{"late": 1}\n', "line 70001 has a new field 'late'"),
        ("rows.parquet", "not parquet at all", "rows.parquet: not readable as parquet"),
        ("rows.arrow", "not arrow at all", "rows.arrow: not readable as arrow"),
    ],
)
def test_a_broken_file_is_refused_with_place_and_cure(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = write_text(tmp_path / name, text)

    with pytest.raises(ml.InvalidDataError) as refusal:
        load_rows(path, types=TYPES)

    assert told in refusal.value.message
    assert refusal.value.hint


def test_a_parquet_file_streams_in_batches_and_knows_its_rows(tmp_path: Path) -> None:
    path = str(tmp_path / "rows.parquet")
    pq.write_table(pa.table({"count": range(200_000)}), path)

    with open_rows(path, types={}) as incoming:
        sizes = [batch.num_rows for batch in incoming.reader]

    assert incoming.total == sum(sizes) == 200_000
    assert max(sizes) <= 1 << 16


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak of a process: ru_maxrss starts at the parent's")
def test_a_parquet_file_is_never_held_whole(tmp_path: Path) -> None:
    """`mlstore write` of a long file took as much memory as the file: with pre_buffer, pyarrow's reader lets go of nothing it has read."""
    path, group_rows = tmp_path / "long.parquet", 200_000
    random = np.random.default_rng(1)
    with pq.ParquetWriter(path, pa.schema({"a": pa.float64(), "b": pa.float64()})) as writer:
        for _ in range(40):
            writer.write_table(pa.table({"a": random.random(group_rows), "b": random.random(group_rows)}))
    code = (
        "import sys\n"
        "from mlstore.cli.incoming import open_rows\n"
        "def peak(): return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')) * 1024\n"
        "before = peak()\n"
        "with open_rows(sys.argv[1], types={}) as incoming: rows = sum(batch.num_rows for batch in incoming.reader)\n"
        "print(rows, peak() - before)\n"
    )

    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=120)

    rows, grown_bytes = map(int, told.stdout.split())
    assert rows == 40 * group_rows
    assert grown_bytes < 0.7 * path.stat().st_size


def test_columns_nobody_declared_keep_the_type_the_file_gives_them(tmp_path: Path) -> None:
    path = write_text(tmp_path / "labels.jsonl", '{"count": 1, "target": 0.5}\n{"count": 2, "target": null}\n')

    assert load_rows(path, types=TYPES)["target"].to_pylist() == [0.5, None]


@pytest.mark.parametrize("written", list(Format))
def test_a_pipe_carries_every_format(monkeypatch: pytest.MonkeyPatch, every_type: pa.Table, written: Format) -> None:
    out, source = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out))
    write_rows(every_type.to_batches(), every_type.schema, path="-", chosen=written)
    source.write(out.getvalue())
    source.seek(0)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(source))
    told = Format.CSV if written is Format.CSV else None  # the others tell by their first bytes

    back = load_rows("-", chosen=told, types=TYPES)

    assert back.equals(every_type)


def test_a_pipe_that_does_not_tell_asks_for_its_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"count,name\n1,a\n")))

    with pytest.raises(ml.UsageError, match="cannot tell the format") as refusal:
        load_rows("-", types=TYPES)

    assert "--format" in refusal.value.hint


def test_a_job_that_fails_leaves_no_file_behind(tmp_path: Path) -> None:
    table = pa.table({"count": [1]})

    def breaking() -> object:
        yield from table.to_batches()
        raise ml.CorruptionError("a checksum does not match")

    with pytest.raises(ml.CorruptionError):
        write_rows(breaking(), table.schema, path=str(tmp_path / "rows.parquet"))

    assert list(tmp_path.iterdir()) == []


def test_a_file_is_known_by_its_name_whatever_its_case(tmp_path: Path) -> None:
    assert find_format("ROWS.PARQUET") is Format.PARQUET
    assert find_format("rows.csv.gz") is Format.CSV
    assert find_format("rows.bin", head=b"PAR1..") is Format.PARQUET
    assert find_format("rows.csv", Format.JSONL) is Format.JSONL


def test_a_gzipped_parquet_file_is_refused() -> None:
    with pytest.raises(ml.UsageError, match="compressed inside"):
        find_format("rows.parquet.gz")


def test_gzip_is_undone_by_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"count,name\n5,a\n"))

    assert load_rows(str(path), types=TYPES)["count"].to_pylist() == [5]

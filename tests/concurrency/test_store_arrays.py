"""Zero-copy arrays stay what they were, whatever becomes of the store, its segments, and the processes that look at them."""

from __future__ import annotations

import gc
import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

import mlstore as ml
from tests.support.processes import Child, Parent

KEYS = 4000
METER = ml.Entity("meter", keys={"meter_id": ml.int64})
POWER = ml.FeatureView("power", entity=METER, schema={"watts": ml.float64, "note": ml.string, "shape": ml.vector(4)})


def readings(generation: int) -> pa.Table:
    count = range(KEYS)
    return pa.table(
        {
            "meter_id": list(count),
            "event_timestamp": ["2024-05-01"] * KEYS,
            "watts": [meter + generation / 10 for meter in count],
            "note": [f"{generation} of {meter}" for meter in count],
            "shape": [[generation, meter, 0, 1] for meter in count],
        }
    )


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Meters, each read once, in segments."""
    monkeypatch.setattr("mlstore.engine.limits.DIRECT_ROWS", 1000)
    monkeypatch.setattr("mlstore.engine.limits.SEGMENT_ROWS", 1500)
    path = tmp_path / "meters.mls"
    with ml.open(path) as store:
        store.apply(METER, POWER)
        store.write("power", readings(0))
    return path


def churn(store: ml.Store, generations: int = 4) -> None:
    """Replace everything again and again, so that every page that is free is used anew."""
    for generation in range(1, 1 + generations):
        store.write("power", readings(generation), mode="upsert")
        store.optimize(tier="cold" if generation % 2 else "hot")


def digest(table: pa.Table) -> str:
    return hashlib.blake2b(repr(table.to_pydict()).encode()).hexdigest()


def is_lent(table: pa.Table, path: Path | str) -> bool:
    """True if the values of a column lie in the file's map."""
    address = table["watts"].chunk(0).buffers()[1].address
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        start, stop = (int(bound, 16) for bound in line.split()[0].split("-"))
        if start <= address < stop:
            return line.endswith(str(path))
    return False


def trash(store: ml.Store) -> int:
    """Segments that nobody needs but a holder of arrays."""
    return int(store.info()["environment"]["keyspaces"]["trash"])


def test_arrays_outlive_the_store_and_all_that_is_done_to_it(path: Path):
    store = ml.open(path)
    table = store.read("power").table()
    expected = digest(table)

    store.close()
    del store
    gc.collect()
    with ml.open(path) as again:
        churn(again)
        again.verify()

    assert is_lent(table, path)
    assert digest(table) == expected


def test_arrays_outlive_the_deletion_of_the_file(path: Path):
    with ml.open(path) as store:
        table = store.read("power").table()
    expected = digest(table)

    path.unlink()
    Path(f"{path}-lock").unlink()
    with ml.open(path) as another:
        another.apply(METER, POWER)
        another.write("power", readings(9))

    assert digest(table) == expected


def hold(parent: Parent, path: Path) -> list[object]:
    """Look at the same arrays before and after; then let go of them."""
    with ml.open(path, read_only=True) as store:
        table = store.read("power").table()
        looks: list[object] = [is_lent(table, path), digest(table)]
        parent.tell("holding")
        parent.hear()
        looks.append(digest(table))
        del table
        gc.collect()
        parent.tell(looks)
        parent.hear()
        return looks


def test_arrays_of_another_process_survive_the_dropping_of_their_segments(path: Path):
    with Child(hold, path) as reader, ml.open(path) as store:
        reader.hear()
        churn(store)
        kept = trash(store)
        reader.say("look again")
        was_lent, before, after = reader.hear()
        store.optimize()

        assert was_lent
        assert before == after
        assert kept > 0
        assert trash(store) == 0
        store.verify()
        reader.say("that is all")
        reader.result()


def test_what_a_killed_reader_held_is_collected(path: Path):
    with Child(hold, path) as reader, ml.open(path) as store:
        reader.hear()
        churn(store)
        kept = trash(store)

        reader.kill()
        store.optimize()

        assert kept > 0
        assert trash(store) == 0
        store.verify()


def read_while_churning(parent: Parent, path: Path) -> tuple[int, int]:
    """Read again and again, and keep the last few tables to look at once more; how many, and how many of them were lent."""
    held: list[tuple[pa.Table, str]] = []
    reads, lent = 0, 0
    with ml.open(path, read_only=True) as store:
        while not parent.has_called() or not reads:
            table = store.read("power").table()
            generations = set(table["shape"].combine_chunks().flatten()[::4].to_pylist())
            assert table.num_rows == KEYS, table.num_rows
            assert len(generations) == 1, f"rows of several commits: {generations}"
            held.append((table, digest(table)))
            reads, lent = reads + 1, lent + is_lent(table, path)
            if reads == 1:
                parent.tell("reading")
            for old, expected in held[-3:]:
                assert digest(old) == expected, "a table has changed"
            held = held[-3:]
    return reads, lent


@pytest.mark.slow
def test_tables_read_while_segments_come_and_go_are_whole_and_stay_so(path: Path):
    with Child(read_while_churning, path) as reader, ml.open(path, durability="normal") as store:
        reader.hear()

        churn(store, 6)
        reader.say("stop")
        reads, lent = reader.result()

        assert reads >= 1
        assert lent >= 1
        store.verify()

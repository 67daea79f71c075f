"""A scripted life of a store and its mirror, to be run as `python -m tests.support.crash_script FOLDER LOG DURABILITY` under the disk shim.

After each deed that returned, what the store then holds is marked in the log between the writes and syncs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import mlstore as ml
from tests.support.crash_check import MIRROR, STORE, digest_state
from tests.support.crash_images import encode_mark
from tests.support.crash_limits import FEW, shrink_limits

SHOP = ml.Entity("shop", keys={"shop_id": ml.int64})
SALES = ml.FeatureView("sales", entity=SHOP, schema={"amount": ml.int64, "note": ml.string})
SPEND = ml.WindowView("spend", entity=SHOP, source=SALES, aggregations=[ml.agg("amount", ["count", "sum"], windows=["6h", "7d"])])
PRICES = ml.Table("prices", schema={"item": ml.string, "price": ml.float64}, key="item")


def perform(store: ml.Store) -> Iterator[str]:
    """Do one thing after the other, of every kind; what was done. Each is seen at one stroke or not at all."""
    store.apply(SHOP, SALES)
    yield "apply"
    for number in range(2):
        store.write("sales", sales(range(5), number))
        yield "small write"
    store.write("sales", sales(range(40), 10))
    yield "bulk write"
    store.apply(PRICES)
    yield "apply more"
    store.write("prices", prices(range(20), 1.0), mode="upsert")
    yield "small upsert"
    store.write("sales", sales(range(15, 20), 10, note="replaced"), mode="upsert")
    yield "upsert"
    store.snapshot("early")
    yield "snapshot"
    store.delete("sales", keys={"shop_id": list(range(8, 12))})
    yield "delete"
    yield from stream(store)
    store.write("prices", prices(range(10, 45), 2.0), mode="upsert")
    yield "bulk upsert"
    store.optimize()
    yield "optimize"
    with store.transaction(message="two at once") as both:
        both.write("sales", sales(range(3), 30))
        both.write("prices", prices([7], 9.0), mode="upsert")
    yield "transaction"
    yield from branch_out(store)
    store.forget("shop", {"shop_id": [4, 17, 36]})
    yield "forget"
    store.optimize(tier="cold")
    yield "optimize, cold"
    store.compact()
    yield "compact"
    yield from mirror(store)
    store.snapshot("late")
    yield "snapshot again"
    store.write("sales", sales(range(33), 40))
    yield "bulk write again"
    store.rollback("late")
    yield "rollback"
    store.retain(last=3)
    yield "retain"
    store.write("sales", sales(range(2), 41))
    store.push(Path(store.path).with_name(MIRROR))
    yield "small write and push after all"
    store.compact()
    yield "compact after all"
    store.write("sales", sales(range(1), 42))
    yield "small write on the new file"


def stream(store: ml.Store) -> Iterator[str]:
    with store.stream("sales", max_rows=10_000, max_seconds=600) as rows:
        for number in range(3):
            rows.append_many(sales(range(6), 20 + number))
            rows.flush()
            yield "stream"


def branch_out(store: ml.Store) -> Iterator[str]:
    fork = store.branch("try", message="an experiment")
    yield "branch"
    fork.write("sales", sales(range(8), 33))
    yield "write on the branch"
    fork.delete("sales", keys={"shop_id": [30, 31]})
    yield "delete on the branch"
    store.write("prices", prices(range(3), 5.0), mode="upsert")
    yield "write beside the branch"
    store.merge("try")
    yield "merge"


def mirror(store: ml.Store) -> Iterator[str]:
    path = Path(store.path).with_name(MIRROR)
    store.clone(path)
    yield "clone"
    store.apply(SPEND)
    yield "apply a window"
    store.backfill("spend")
    yield "backfill"
    store.write("sales", sales(range(35), 36))
    yield "bulk write beside the mirror"
    store.push(path)
    yield "push"


def sales(shops: Iterable[int], hour: int, *, note: str = "sold") -> dict[str, list[object]]:
    time = f"2024-05-{1 + hour // 24:02}T{hour % 24:02}:00:00"
    shops = list(shops)
    return {
        "shop_id": shops,
        "event_timestamp": [time] * len(shops),
        "amount": [shop * 1000 + hour for shop in shops],
        "note": [f"{note} by {shop}" for shop in shops],
    }


def prices(items: Iterable[int], price: float) -> dict[str, list[object]]:
    return {"item": [f"item {item}" for item in items], "price": [price + item for item in items]}


def split_writes(store_class: type[ml.Store]) -> None:
    """A planted bug: what should be one commit is two."""
    write = store_class.write

    def write_twice(store: ml.Store, name: str, data: dict[str, list[object]], **options: Any) -> object:
        half = len(next(iter(data.values()))) // 2
        write(store, name, {column: values[:half] for column, values in data.items()}, **options)
        return write(store, name, {column: values[half:] for column, values in data.items()}, **options)

    store_class.write = write_twice  # type: ignore[method-assign,assignment]


def main(folder: str, log_path: str, durability: str) -> None:
    shrink_limits(FEW)
    if "CRASH_SCRIPT_SPLIT" in os.environ:
        split_writes(ml.Store)
    path, mirrored = Path(folder) / STORE, Path(folder) / MIRROR
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def promise(did: str) -> None:
        states = {STORE: digest_state(store)}
        if mirrored.exists():
            with ml.open(mirrored, read_only=True) as copy:
                states[MIRROR] = digest_state(copy)
        os.write(log, encode_mark(json.dumps({"did": did, "states": states})))

    with ml.open(path, durability=durability) as store:
        promise("open")
        for did in perform(store):
            promise(did)


if __name__ == "__main__":
    main(*sys.argv[1:])

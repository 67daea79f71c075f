"""A scripted life of a store, to be run as `python -m tests.support.crash_script FILE LOG DURABILITY` under the disk shim.

Each promise (a commit that returned, a snapshot that was named) is marked in the log between the writes and syncs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import mlstore as ml
from tests.support.crash_images import encode_mark
from tests.support.crash_limits import shrink_limits

SHOP = ml.Entity("shop", keys={"shop_id": ml.int64})
SALES = ml.FeatureView("sales", entity=SHOP, schema={"amount": ml.int64, "note": ml.string})
PRICES = ml.Table("prices", schema={"item": ml.string, "price": ml.float64}, key="item")


def perform(store: ml.Store) -> Iterator[dict[str, str]]:
    """Do one thing after the other; what was promised by each."""
    store.apply(SHOP, SALES)
    yield {"commit": store.history(limit=1)[0].id}
    for number in range(3):
        yield {"commit": store.write("sales", sales(range(5), number)).id}
    yield {"commit": store.write("sales", sales(range(700), 10)).id}
    store.apply(PRICES)
    yield {"commit": store.history(limit=1)[0].id}
    yield {"commit": store.write("prices", prices(range(20), 1.0), mode="upsert").id}
    yield {"commit": store.write("sales", sales(range(100, 160), 10, note="replaced"), mode="upsert").id}
    store.snapshot("early")
    yield {"snapshot": "early"}
    yield {"commit": store.delete("sales", keys={"shop_id": list(range(50, 120))}).id}
    for number in range(2):
        yield {"commit": store.write("sales", sales(range(150), 20 + number)).id}
    yield {"commit": store.write("prices", prices(range(10, 300), 2.0), mode="upsert").id}
    yield {"commit": store.write("sales", sales(range(300, 700), 10, note="replaced in bulk"), mode="upsert").id}
    yield {"optimized": json.dumps(store.optimize())}
    yield {"commit": store.delete("prices", keys={"item": ["item 3", "item 250"]}).id}
    yield {"commit": store.write("sales", sales(range(3), 30)).id}
    store.snapshot("late")
    yield {"snapshot": "late"}
    yield {"optimized": json.dumps(store.optimize(tier="cold"))}
    yield {"commit": store.write("sales", sales(range(400), 40)).id}


def sales(shops: range, hour: int, *, note: str = "sold") -> dict[str, list[object]]:
    time = f"2024-05-{1 + hour // 24:02}T{hour % 24:02}:00:00"
    return {
        "shop_id": list(shops),
        "event_timestamp": [time] * len(shops),
        "amount": [shop * 1000 + hour for shop in shops],
        "note": [f"{note} by {shop}" for shop in shops],
    }


def prices(items: range, price: float) -> dict[str, list[object]]:
    return {"item": [f"item {item}" for item in items], "price": [price + item for item in items]}


def main(path: str, log_path: str, durability: str) -> None:
    shrink_limits()
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with ml.open(path, durability=durability) as store:
        for promise in perform(store):
            os.write(log, encode_mark(json.dumps(promise)))


if __name__ == "__main__":
    main(*sys.argv[1:])

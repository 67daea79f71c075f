"""A small store that has one of everything the format knows: what is damaged on purpose, and what old files are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

import mlstore as ml

START = datetime(2024, 5, 1, tzinfo=UTC)
LATE = datetime(2030, 1, 1, tzinfo=UTC)

SHOP = ml.Entity("shop", keys={"shop_id": ml.int64}, description="a place that sells")
ROUTE = ml.Entity("route", keys={"carrier": ml.string, "number": ml.int32})
SALES = ml.FeatureView(
    "sales",
    entity=SHOP,
    schema={"amount": ml.int64, "ratio": ml.float64, "note": ml.string, "is_open": ml.bool_, "place": ml.vector(4)},
    ttl="400d",
    tags={"tier": "gold"},
)
DELAYS = ml.FeatureView(
    "delays",
    entity=ROUTE,
    schema={
        "delay": ml.float32,
        "price": ml.decimal(12, 2),
        "day": ml.date,
        "stops": ml.list_(ml.string),
        "crew": ml.struct({"name": ml.string, "age": ml.int8}),
        "extras": ml.map_(ml.string, ml.int64),
        "raw": ml.binary,
    },
)
PRICES = ml.Table("prices", schema={"item": ml.string, "price": ml.float64}, key="item")
MODEL = ml.FeatureService("model", features=["sales:amount", "delays:delay"])
WIDER = ml.FeatureView(
    "sales",
    entity=SHOP,
    schema={
        "amount": ml.int64,
        "ratio": ml.float64,
        "note": ml.string,
        "is_open": ml.bool_,
        "place": ml.vector(4),
        "added": ml.int32,
    },
    ttl="400d",
    tags={"tier": "gold"},
)

TABLES = {"sales": (SHOP, SALES), "delays": (ROUTE, DELAYS), "prices": (PRICES,)}

SHOPS = range(16)
ROUTES = [("AA", 1), ("AA", 22), ("Ba\0c", 1), ("", 7), ("ZZ", -3)]


def create(path: Path) -> None:
    """Make it; the limits of this process should be small, see crash_limits."""
    with ml.open(path) as store:
        store.apply(SHOP, ROUTE, SALES, DELAYS, PRICES, MODEL)
        store.write("sales", sales(SHOPS, range(14), SALES))
        store.write("delays", delays(range(210)))
        store.snapshot("early", message="the first")
        store.write("prices", prices(range(30), 1.0))
        store.optimize(table="sales", tier="cold")
        store.write("sales", sales(SHOPS, range(20, 26), SALES))
        store.delete("sales", keys={"shop_id": [3, 5]})
        store.write("prices", prices(range(10, 14), 2.0), mode="upsert")
        store.apply(WIDER)
        fork = store.branch("try", message="an experiment")
        fork.write("sales", sales([1, 2, 99], range(30, 32)))
        fork.delete("sales", keys={"shop_id": [7]})
        fork.write("delays", delays(range(300, 304)))
        store.write("sales", sales(range(6), range(40, 42)))
        store.delete("delays", keys={"carrier": ["ZZ"], "number": [-3]})
        side = store.branch("merged")
        side.write("sales", sales([12, 13], [60]))
        store.write("sales", sales([14], [61]))
        store.merge("merged")
        store.seal("early")
        store.write("delays", delays(range(400, 403)))
        store.write("prices", prices(range(3), 3.0), mode="upsert")
        store.delete("prices", keys={"item": ["item 1"]})
        store.snapshot("late")
        store.write("sales", sales([0, 1], [50]))


def create_small(path: Path, table: str) -> None:
    """Make one with a single table and with little in it: soon looked through, so that a soak can damage it very often."""
    batches: dict[str, Callable[[int, int], object]] = {
        "sales": lambda number, size: sales(range(size), [number], SALES),
        "delays": lambda number, size: delays(range(number, number + size)),
        "prices": lambda number, size: prices(range(size), number / 4),
    }
    batch = batches[table]
    with ml.open(path) as store:
        store.apply(*TABLES[table])
        store.write(table, batch(1, 32))
        store.snapshot("early", message="the first")
        store.optimize(tier="cold")
        store.write(table, batch(40, 30))
        store.write(table, batch(80, 4), mode="upsert")
        store.delete(table, start=START + timedelta(hours=2)) if table == "sales" else None
        store.branch("try", message="an experiment").write(table, batch(90, 3))
        store.seal("early")
        store.write(table, batch(100, 5))
        store.snapshot("late")
        store.write(table, batch(110, 2))


def sales(shops: Iterable[int], hours: Iterable[int], view: ml.FeatureView = WIDER) -> pa.Table:
    rows = [
        {
            "shop_id": shop,
            "event_timestamp": START + timedelta(hours=hour),
            "amount": None if (shop + hour) % 7 == 0 else shop * 1000 + hour,
            "ratio": float("nan") if hour % 5 == 0 else shop / (hour + 1),
            "note": None if hour % 4 == 0 else f"sold by {shop} at {hour}",
            "is_open": hour % 2 == 0,
            "place": [float(shop), float(hour), -0.0, 1e30],
            "added": hour,
        }
        for hour in hours
        for shop in shops
    ]
    return _table(rows, SHOP, view)


def delays(numbers: Iterable[int]) -> pa.Table:
    rows = [
        {
            "carrier": ROUTES[number % 5][0],
            "number": ROUTES[number % 5][1],
            "event_timestamp": START + timedelta(minutes=number),
            "delay": number / 4,
            "price": Decimal(number) / 100,
            "day": (START + timedelta(days=number)).date(),
            "stops": None if number % 3 == 0 else [f"stop {stop}" for stop in range(number % 4)],
            "crew": {"name": f"captain {number}", "age": number % 100},
            "extras": [("bags", number), ("meals", 2)],
            "raw": bytes(range(number % 9)),
        }
        for number in numbers
    ]
    return _table(rows, ROUTE, DELAYS)


def prices(items: Iterable[int], price: float) -> dict[str, list[object]]:
    listed = list(items)
    return {"item": [f"item {item}" for item in listed], "price": [price + item for item in listed]}


def _table(rows: list[dict[str, object]], entity: ml.Entity, view: ml.FeatureView) -> pa.Table:
    columns = [(name, dtype.arrow) for name, dtype in (*entity.keys.items(), *view.schema.items())]
    return pa.Table.from_pylist(rows, pa.schema([("event_timestamp", pa.timestamp("us", "UTC")), *columns]))


LABELS = {
    "shop_id": [0, 1, 3, 7, 15, 1234],
    "carrier": ["AA", "AA", "Ba\0c", "", "ZZ", "no"],
    "number": [1, 22, 1, 7, -3, 0],
    "event_timestamp": [START + timedelta(hours=hour) for hour in (1, 11, 22, 41, 60, 2)],
}

Question = Callable[[ml.Store], object]

# Each is asked of a store by itself: what one finds damaged, another may not even look at.
QUESTIONS: dict[str, Question] = {
    "catalog": lambda store: [repr(entry) for entry in store.catalog()],
    "history": lambda store: [(commit.id, commit.message, commit.time_us) for commit in store.history()],
    "audit": lambda store: store.audit().to_pylist(),
    "snapshots": lambda store: sorted(store.info()["snapshots"].items()),
    "branches": lambda store: [repr(branch) for branch in store.branches()],
    "tables": lambda store: [(table["name"], table["rows"]) for table in store.info()["tables"]],
    "read sales": lambda store: rows(store.read("sales").table()),
    "read delays": lambda store: rows(store.read("delays").table()),
    "read prices": lambda store: rows(store.read("prices").table()),
    "read some": lambda store: rows(store.read("sales", columns=["shop_id", "note"], start=START + timedelta(hours=5)).table()),
    "read as of": lambda store: rows(store.read("sales", as_of=LATE).table()),
    "online sales": lambda store: online(store, "sales", {"shop_id": [*SHOPS, 1234]}),
    "online one": lambda store: [repr(store.online_features(["sales"], {"shop_id": shop}, now=START)) for shop in (0, 3, 15)],
    "online delays": lambda store: online(store, "delays", {"carrier": [r[0] for r in ROUTES], "number": [r[1] for r in ROUTES]}),
    "training set": lambda store: rows(store.training_set(LABELS, held(store, "sales", "delays"))),
    "training set then": lambda store: rows(
        store.training_set(LABELS, held(store, "sales:note", "delays:stops"), known_at=LATE, status=True)
    ),
    "explain": lambda store: str(store.explain({name: values[1] for name, values in LABELS.items()}, "sales:amount")),
    "at early": lambda store: [rows(store.at("early").read(name).table()) for name in held(store, "sales", "delays")],
    "at late": lambda store: [rows(store.at("late").read(name).table()) for name in held(store, "sales", "delays", "prices")],
    "online at late": lambda store: online(store.at("late"), "sales", {"shop_id": list(SHOPS)}),
    "branch": lambda store: [rows(store.checkout("try").read(name).table()) for name in held(store, "sales", "delays", "prices")],
    "online on branch": lambda store: online(store.checkout("try"), "sales", {"shop_id": [*SHOPS, 99]}),
    "diff": lambda store: str(store.diff("early", "late")),
    "diff of branches": lambda store: str(store.diff("try", "main")),
}


def held(store: ml.Store, *names: str) -> list[str]:
    """Those of the names that the store has: small ones have one table only."""
    known = {entry.label for entry in store.catalog()}
    return [name for name in names if name.partition(":")[0] in known]


def online(store: ml.Store, view: str, keys: dict[str, list[object]]) -> str:
    return rows(store.online_features([view], keys, now=START + timedelta(days=30), status=True))


def rows(table: pa.Table) -> str:
    """All rows, in the order they come in. Times as numbers: not every time that can be stored is one of Python."""
    numbers = [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in table.columns]
    numbers = [column.cast(pa.int32()) if pa.types.is_date(column.type) else column for column in numbers]
    try:
        return repr(pa.table(numbers, table.column_names).to_pylist())
    except UnicodeDecodeError:
        # Text is not looked at when it is read, only when the file is verified.
        return "text that is not UTF-8"


def digest(answer: object) -> str:
    return hashlib.blake2b(repr(answer).encode(), digest_size=8).hexdigest()


def answers(store: ml.Store) -> dict[str, str]:
    """The digest of the answer to each question that a sound store of such tables answers."""
    found = {}
    for name, question in QUESTIONS.items():
        with suppress(ml.UnknownNameError, ml.UsageError):
            found[name] = digest(question(store))
    return found

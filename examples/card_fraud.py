"""Is this payment fraud? Windows over a stream of events, one definition for training and for serving, on generated data.

    python examples/card_fraud.py [--store fraud.mls] [--cards 500]

What a card did in the last hour, day and week before a payment tells most about it. The same definitions give these features at the time
of each past payment (training) and at the moment of the next one (serving); at the end the store proves that both agree, bit for bit.
Needs scikit-learn besides mlstore.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

import mlstore as ml

# ---------------------------------------------------------------- what we want to know, and about what

CARD = ml.Entity("card", keys={"card": ml.int64})
PAYMENTS = ml.Table(
    "payments",
    schema={"card": ml.int64, "payment": ml.int64, "amount": ml.float64, "merchant": ml.int32, "country": ml.string},
    key=["card", "payment"],  # a payment that comes twice counts once
    timestamp="at",
)
HOLDER = ml.FeatureView("holder", entity=CARD, schema={"home": ml.string})
HABITS = ml.WindowView(
    "habits",
    entity=CARD,
    source=PAYMENTS,
    aggregations=[
        ml.agg("amount", ["count", "sum", "mean", "max"], windows=["1h", "1d", "7d"]),
        ml.agg("merchant", "distinct", windows="1d"),
    ],
    boundary="strict",  # what the card did before this payment, not with it
)
UNUSUAL = ml.OnDemandView(
    "unusual",
    inputs=["habits:amount_mean_7d", "holder:home"],
    request={"amount": ml.float64, "country": ml.string},
    features={"times_usual": ml.col("amount") / ml.col("amount_mean_7d"), "is_abroad": ml.col("country") != ml.col("home")},
)
FRAUD_MODEL = ml.FeatureService("fraud_model", features=["habits", "unusual"])

DAYS, SHARE_STOLEN = 30, 0.15
COUNTRIES = np.array(["NO", "SE", "DK", "DE", "FR"])


def make_payments(cards: int, random: np.random.Generator) -> pa.Table:
    """Payments of a month, in the order of time: some cards are stolen for an hour, in which somebody else shops with them."""
    count = cards * DAYS * 2
    card = random.integers(cards, size=count)
    second = np.sort(random.integers(DAYS * 86_400, size=count))
    amount = random.lognormal(3 + card % 3, 0.6)
    country = COUNTRIES[np.where(random.random(count) < 0.03, random.integers(5, size=count), card % 5)]
    stolen = random.choice(cards, int(cards * SHARE_STOLEN), replace=False)
    begin = np.full(cards, DAYS * 86_400)
    begin[stolen] = random.integers(DAYS * 86_400 - 3_600, size=len(stolen))
    thefts = np.repeat(stolen, 6)
    when = begin[thefts] + random.integers(3_600, size=len(thefts))
    columns = {
        "card": np.append(card, thefts),
        "second": np.append(second, when),
        "amount": np.append(amount, random.lognormal(4.2, 0.6, len(thefts))),
        "country": np.append(country, COUNTRIES[random.integers(5, size=len(thefts))]),
        "is_fraud": np.append(np.zeros(count, bool), np.ones(len(thefts), bool)),
    }
    order = np.argsort(columns["second"], kind="stable")
    table = pa.table({name: values[order] for name, values in columns.items()})
    start = np.datetime64("2026-05-01", "us")
    at = pa.array(start + columns["second"][order].astype("timedelta64[s]"))
    merchant = pa.array(random.integers(200, size=len(order)), pa.int32())
    return table.add_column(0, "at", at).append_column("payment", pa.array(np.arange(len(order)))).append_column("merchant", merchant)


def split(table: pa.Table, inputs: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The inputs of a model, and whether it was fraud."""
    columns = [pc.cast(table[name], pa.float64()).to_numpy(zero_copy_only=False) for name in inputs]
    return np.column_stack(columns), table["is_fraud"].to_numpy(zero_copy_only=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, help="keep the store here")
    parser.add_argument("--cards", type=int, default=500)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ml.open(asked.store or Path(folder) / "fraud.mls") as store:
        run(store, make_payments(asked.cards, np.random.default_rng(7)), asked.cards)


def run(store: ml.Store, payments: pa.Table, cards: int) -> None:
    """Define, write, train, serve, prove."""
    store.apply(CARD, PAYMENTS, HOLDER, HABITS, UNUSUAL, FRAUD_MODEL)
    store.write("holder", {"card": range(cards), "event_timestamp": ["2026-01-01"] * cards, "home": COUNTRIES[np.arange(cards) % 5]})
    store.write("payments", payments.drop_columns("is_fraud").drop_columns("second"))
    store.backfill("habits")
    print(f"{payments.num_rows:,} payments of {cards} cards, {pc.sum(payments['is_fraud']).as_py()} of them fraud")

    # Then: each payment is a label; what was known of its card just before it?
    labels = payments.select(["card", "at", "amount", "country", "is_fraud"])
    training = store.training_set(labels, "fraud_model", timestamp="at")
    store.snapshot("fraud-model-1")
    month = training.num_rows * 2 // 3
    of_windows = [name for name in training.column_names if name.startswith(("amount_", "merchant_"))]
    for title, inputs in (
        ("the payment alone", ["amount"]),
        ("with its card's habits", ["amount", "times_usual", "is_abroad", *of_windows]),
    ):
        past, future = (split(part, inputs) for part in (training.slice(0, month), training.slice(month)))
        model = HistGradientBoostingClassifier(max_iter=60, random_state=0).fit(*past)
        print(f"{title:>24}: AUC {roc_auc_score(future[1], model.predict_proba(future[0])[:, 1]):.3f}")

    # Now: somebody shops with card 3, again and again. Each payment is in what the next one is judged by.
    for number in range(4):
        at = f"2026-06-01T12:0{number}:00"
        payment = {"card": 3, "amount": 250.0, "country": "FR"}
        found = store.online_features("fraud_model", payment, now=at)
        row = [
            [
                float(payment["amount"]),
                float(found["times_usual"] or np.nan),
                float(found["is_abroad"]),
                *(_float(found[name]) for name in of_windows),
            ]
        ]
        print(f"payment {number + 1}: {found['amount_count_1h']} in the last hour, fraud {model.predict_proba(row)[0, 1]:.0%}")
        store.write("payments", {**payment, "payment": payments.num_rows + number, "merchant": 1, "at": at})

    reads = {"card": range(100), "amount": [10.0] * 100, "country": ["NO"] * 100}
    print(store.verify_skew("fraud_model", sample=reads, now="2026-06-01T12:10"))


def _float(value: float | None) -> float:
    return np.nan if value is None else float(value)


if __name__ == "__main__":
    main()

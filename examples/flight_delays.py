"""Will this flight leave late? The main job of a feature store, from raw files to a model, on real data.

    python examples/flight_delays.py DATA_DIR [--store flights.mls] [--quick]

The question is asked two hours before each scheduled departure from New York in 2013. What may the model know by then? The
weather of the hours that are over, and the delays of flights that have landed. The example builds the training set with that
rule and without it, and shows what the difference does to a model.

DATA_DIR holds weather.parquet, flight_events.parquet, labels.parquet and expected_sample.parquet. Needs scikit-learn besides mlstore.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

import mlstore as ml

# ---------------------------------------------------------------- what we want to know, and about what

AIRPORT = ml.Entity("airport", keys={"origin": ml.string}, description="an airport of departure")
CARRIER = ml.Entity("carrier", keys={"carrier": ml.string}, description="an airline")
AIRCRAFT = ml.Entity("aircraft", keys={"tailnum": ml.string}, description="one aeroplane")

WEATHER = ml.FeatureView(
    "weather",
    entity=AIRPORT,
    schema={"temp": ml.float64, "wind_speed": ml.float64, "wind_gust": ml.float64, "pressure": ml.float64, "visib": ml.float64},
    timestamp="event_time",  # the hour the weather is about
    created_timestamp="available_at",  # when it was published: an hour later
    ttl="6h",
    description="hourly weather at the airport",
)
LAST_FLIGHT = ml.FeatureView(
    "last_flight",
    entity=AIRCRAFT,
    schema={"flight_id": ml.int64, "dest": ml.string, "dep_delay": ml.int32, "arr_delay": ml.int32},
    timestamp="event_time",  # when it left
    created_timestamp="known_time",  # when it had landed, and its arrival delay was known
    ttl="7d",
    description="the latest flight of this aeroplane",
)
DELAYS = {"dep_delay": ml.int32, "arr_delay": ml.int32}
CARRIER_DELAYS = ml.FeatureView(
    "carrier_delays", entity=CARRIER, schema=DELAYS, timestamp="event_time", created_timestamp="known_time", ttl="1d"
)
AIRPORT_DELAYS = ml.FeatureView(
    "airport_delays", entity=AIRPORT, schema=DELAYS, timestamp="event_time", created_timestamp="known_time", ttl="1d"
)
VIEWS = [WEATHER, LAST_FLIGHT, CARRIER_DELAYS, AIRPORT_DELAYS]
DELAY_MODEL = ml.FeatureService("delay_model", features=[view.name for view in VIEWS], description="what the delay model asks for")

MODEL_INPUTS = [
    "weather__temp",
    "weather__wind_speed",
    "weather__pressure",
    "weather__visib",
    "last_flight__dep_delay",
    "last_flight__arr_delay",
    "carrier_delays__dep_delay",
    "carrier_delays__arr_delay",
    "airport_delays__dep_delay",
    "airport_delays__arr_delay",
]
LATE_MINUTES = 15

FILES = ["weather.parquet", "flight_events.parquet", "labels.parquet", "expected_sample.parquet"]


# ---------------------------------------------------------------- the steps


def load(store: ml.Store, data_dir: Path) -> None:
    """Register the definitions and write every row once: history and online values come from the same commit."""
    with step("register 3 entities, 4 views and 1 service"):
        store.apply(AIRPORT, CARRIER, AIRCRAFT, *VIEWS, DELAY_MODEL)
    weather = pq.read_table(data_dir / "weather.parquet")
    flights = pq.read_table(data_dir / "flight_events.parquet")
    for view, rows in [(WEATHER, weather), (LAST_FLIGHT, flights), (CARRIER_DELAYS, flights), (AIRPORT_DELAYS, flights)]:
        columns = [*view_keys(view), "event_time", view.created_timestamp, *view.schema]
        with step(f"load {rows.num_rows:,} rows into {view.name}"):
            store.write(view.name, rows.select(columns), message="the year 2013")


def build_training_sets(store: ml.Store, labels: pa.Table) -> tuple[pa.Table, pa.Table]:
    """One row per flight, twice: knowing only what was known at label time, and knowing everything."""
    with step(f'training set of {labels.num_rows:,} flights, known_at="label"'):
        known = store.training_set(labels, DELAY_MODEL, timestamp="label_time", known_at="label", full_names=True, status=True)
    with step(f"training set of {labels.num_rows:,} flights, known_at=None"):
        leaky = store.training_set(labels, DELAY_MODEL, timestamp="label_time", known_at=None, full_names=True, status=True)
    return known, leaky


def check_sample(known: pa.Table, leaky: pa.Table, sample: pa.Table) -> bool:
    """Compare the training sets with the expected answers, cell by cell."""
    checked, agreeing = 0, 0
    for prefix, view, answers in [("wx_", "weather", leaky), ("wxk_", "weather", known), ("tail_", "last_flight", known)]:
        rows = answers.take(pc.index_in(sample["flight_id"], answers["flight_id"]))
        for name in [name for name in sample.column_names if name.startswith(prefix)]:
            feature = name.removeprefix(prefix).replace("event_time", "event_timestamp")
            checked += sample.num_rows
            agreeing += sample.num_rows - count_different(sample[name], rows[f"{view}__{feature}"])
    later = [name for name in sample.column_names if name.startswith(("org3h_", "oc24h_", "tail7d_"))]
    print(f"\nexpected sample: {agreeing:,} of {checked:,} cells agree, {checked - agreeing:,} differ")
    print(f"  not checked: {len(later)} columns org3h_*, oc24h_*, tail7d_*: aggregates over windows, which are not part of this example\n")
    return checked == agreeing and checked > 0


def show_leaks(known: pa.Table, leaky: pa.Table) -> None:
    """Count the flights whose features came from the future."""
    print('what known_at=None leaks, against known_at="label"')
    for view in VIEWS:
        from_future = differs(known[f"{view.name}__event_timestamp"], leaky[f"{view.name}__event_timestamp"])
        names = [f"{view.name}__{feature}" for feature in view.schema]
        changed = reduce(pc.or_, [differs(known[name], leaky[name]) for name in names])
        print(f"  {view.name:15} {percent(from_future)} of the flights get a row not yet known, {percent(changed)} another value")
    print()


def compare_models(known: pa.Table, leaky: pa.Table, *, every: int) -> None:
    """Train on the first 80% of the year, score on the rest: what leaks promises more than it keeps."""
    known, leaky = (table.sort_by("label_time").take(list(range(0, table.num_rows, every))) for table in (known, leaky))
    split = int(known.num_rows * 0.8)
    late = pc.greater(known["target_dep_delay"], LATE_MINUTES).to_numpy()
    with step(f"train two models on {split:,} flights"):
        honest = small_model().fit(model_inputs(known)[:split], late[:split])
        fooled = small_model().fit(model_inputs(leaky)[:split], late[:split])
    scores = {
        "known features": (honest, known),
        "leaked features, as promised in the notebook": (fooled, leaky),
        "leaked features, as kept in service": (fooled, known),
    }
    print(f"will it leave more than {LATE_MINUTES} minutes late? area under the ROC curve, last fifth of the year")
    for title, (model, table) in scores.items():
        chance = model.predict_proba(model_inputs(table)[split:])[:, 1]
        print(f"  {title:45} {roc_auc_score(late[split:], chance):.4f}")
    print()


def ask_online(store: ml.Store, labels: pa.Table, now: pa.Scalar) -> bool:
    """The features of the next departures, as a service would ask for them; and the same question asked of history."""
    departures = labels.sort_by("label_time").slice(labels.num_rows - 5).select(["origin", "carrier", "tailnum"])
    moment = now.as_py()
    with step(f"online features of {departures.num_rows} departures"):
        online = store.online_features(DELAY_MODEL, departures, now=moment, full_names=True, status=True)
    asked = departures.append_column("event_timestamp", pa.repeat(now, departures.num_rows))
    history = store.training_set(asked, DELAY_MODEL, full_names=True)
    features = [f"{view.name}__{feature}" for view in VIEWS for feature in view.schema]
    agree = all(count_different(online[name], history[name]) == 0 for name in features)
    print(f"\nthe next departures, at {moment:%Y-%m-%d %H:%M} UTC")
    for row in online.to_pylist():
        weather = f"{row['weather__temp']} F" if row["weather__temp"] is not None else row["weather__status"]
        flight = f"{row['carrier']} {row['tailnum']} from {row['origin']}"
        print(f"  {flight}: last arrival delay {row['last_flight__arr_delay']}, weather {weather}")
    print(f"  online and as-of answers {'are equal' if agree else 'DIFFER'}\n")
    return agree


# ---------------------------------------------------------------- small tools


def view_keys(view: ml.FeatureView) -> list[str]:
    return list(next(entity.keys for entity in (AIRPORT, CARRIER, AIRCRAFT) if view.entity in (entity, entity.name)))


def differs(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    """True where the values differ; null equals null."""
    one_is_null = pc.xor(pc.is_null(left), pc.is_null(right))
    return pc.coalesce(pc.not_equal(left, right), one_is_null)


def count_different(left: pa.ChunkedArray, right: pa.ChunkedArray) -> int:
    return pc.sum(differs(left, right)).as_py()


def percent(flags: pa.ChunkedArray) -> str:
    return f"{100 * pc.mean(flags).as_py():5.1f}%"


def small_model() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=8, min_samples_leaf=200, random_state=0)


def model_inputs(table: pa.Table) -> np.ndarray:
    """The features as a matrix of floats; nulls become NaN, which the model understands."""
    return np.column_stack([table[name].cast(pa.float64()).to_numpy() for name in MODEL_INPUTS])


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print what a step took: time, and the most memory the process has held so far."""
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    print(f"{title:58} {seconds:7.2f} s   peak memory {peak_mb:6.0f} MB", flush=True)


# ---------------------------------------------------------------- the whole job


def run(data_dir: Path, store_path: Path, *, quick: bool) -> bool:
    """The job from start to end; True when every checked answer was right."""
    labels = pq.read_table(data_dir / "labels.parquet")
    with ml.open(store_path) as store:
        load(store, data_dir)
        known, leaky = build_training_sets(store, labels)
        sample_agrees = check_sample(known, leaky, pq.read_table(data_dir / "expected_sample.parquet"))
        show_leaks(known, leaky)
        compare_models(known, leaky, every=10 if quick else 1)
        with step("snapshot year-2013"):
            commit = store.snapshot("year-2013", message="everything of 2013")
        print(f"  version {commit.id[:12]}: store.at('year-2013') reads it for ever")
        last_departure = pc.max(pq.read_table(data_dir / "flight_events.parquet", columns=["event_time"])["event_time"])
        online_agrees = ask_online(store, labels, last_departure)
        print(f"one file: {store_path}, {store.info()['size_bytes'] / 1e6:.0f} MB")
    return sample_agrees and online_agrees


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data_dir", type=Path, metavar="DATA_DIR", help="folder with " + ", ".join(FILES))
    parser.add_argument("--store", type=Path, help="keep the store in this new file (default: a temporary one)")
    parser.add_argument("--quick", action="store_true", help="train the models on every tenth flight only")
    options = parser.parse_args(arguments)
    missing = [name for name in FILES if not (options.data_dir / name).is_file()]
    if missing:
        parser.error(f"{options.data_dir} has no {', '.join(missing)}")
    if options.store is not None and options.store.exists():
        parser.error(f"{options.store} exists already; name a new file")
    with tempfile.TemporaryDirectory() as folder:
        right = run(options.data_dir, options.store or Path(folder) / "flights.mls", quick=options.quick)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

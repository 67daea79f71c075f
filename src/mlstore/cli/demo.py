"""The demo: the main story on a world it makes itself. It needs nothing, leaves nothing behind unless told to, and ends in seconds."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.text import Text

import mlstore as ml
from mlstore.cli.console import answers_console, print_json, print_line, print_table, show_size
from mlstore.cli.demo_data import Size, World, make_world
from mlstore.cli.demo_definitions import DEFINITIONS
from mlstore.cli.options import AsJson
from mlstore.cli.plain import plain_rows, plain_value

FEATURES = ("wind_speed", "rain", "departure_delay", "arrival_delay")
SERVICE = "delay_model"
EXPLAINED = "last_leg:arrival_delay"
SNAPSHOT = "before-correction"
TRAINED_SHARE = 0.7


@dataclass(slots=True)
class Teller:
    """Tells the story as it happens, and keeps its figures for a program."""

    is_quiet: bool
    steps: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """One timed step; what the block puts into the dict are its figures, "told" is the sentence for people."""
        facts: dict[str, Any] = {}
        started = time.perf_counter()
        yield facts
        seconds = time.perf_counter() - started
        told = facts.pop("told")
        self.steps.append({"step": name, "seconds": round(seconds, 4), **facts})
        if not self.is_quiet:
            print_line((f"{name:13}", "bold cyan"), f"{told}  ", (f"{seconds * 1000:,.0f} ms", "dim"))

    def say(self, *parts: str | tuple[str, str]) -> None:
        if not self.is_quiet:
            print_line(*parts)

    def show(self, text: object) -> None:
        if not self.is_quiet:
            answers_console().print(Text("\n".join(f"    {line}" for line in str(text).splitlines()), style="dim"), soft_wrap=True)


def demo(
    path: Annotated[Path | None, typer.Option("--path", help="Keep the store in this file.", show_default=False)] = None,
    rows: Annotated[Size, typer.Option("--rows", help="How large a world.")] = Size.SMALL,
    as_json: AsJson = False,
) -> None:
    """The main story in seconds: write once, ask now, then, and as it was."""
    if path is not None and path.exists():
        raise ml.AlreadyExistsError(f"{path} exists already", hint="name a new file, or remove that one")
    teller = Teller(is_quiet=as_json)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mlstore-demo-") as folder:
        place = path or Path(folder) / "demo.mls"
        with ml.open(place) as store:
            world = make_world(rows)
            tell_story(store, world, teller)
            size_bytes = store.info()["size_bytes"]
    seconds = time.perf_counter() - started
    if as_json:
        kept = None if path is None else str(path)
        print_json({"path": kept, "seconds": round(seconds, 3), "size_bytes": size_bytes, "steps": teller.steps})
    else:
        print_line(f"\none file, {show_size(size_bytes)}, {seconds:.1f} s in all")
        _print_next(path, now=str(world.end)[:10])


def tell_story(store: ml.Store, world: World, teller: Teller) -> None:
    """The chapters, in order."""
    teller.say(("How late will a flight leave? Asked two hours ahead, from the weather and from the aircraft's last leg.\n", "bold"))
    _load(store, world, teller)
    leaky, honest = _train(store, world, teller)
    _explain(store, leaky, honest, teller)
    _correct(store, world, leaky, teller)
    _serve(store, world, teller)
    with teller.step("verify") as facts:
        report = store.verify()
        checked = sum(report.checks.values())
        facts |= {"told": f"{checked:,} checks passed", "checks": checked}


def _load(store: ml.Store, world: World, teller: Teller) -> None:
    with teller.step("apply") as facts:
        plan = store.apply(*DEFINITIONS)
        facts |= {"told": "defined 2 entities, 2 views and 1 service", "definitions": len(plan.changes)}
    for name, table, told in (
        ("weather", world.weather, "hours of weather: each is known once the hour is over"),
        ("last_leg", world.legs, "legs: how late each arrived is known once it has landed"),
    ):
        with teller.step("write") as facts:
            store.write(name, table, message=f"load {name}")
            facts |= {"told": f"{table.num_rows:,} {told}", "table": name, "rows": table.num_rows}


def _train(store: ml.Store, world: World, teller: Teller) -> tuple[pa.Table, pa.Table]:
    """The training set with and without knowledge of the future, and what that does to a model."""
    with teller.step("training set") as facts:
        leaky = store.training_set(world.labels, SERVICE)
        facts |= {"told": f"{leaky.num_rows:,} labels joined by event time alone", "known_at": None, "rows": leaky.num_rows}
    with teller.step("training set") as facts:
        honest = store.training_set(world.labels, SERVICE, known_at="label")
        facts |= {"told": 'the same with known_at="label": only what was known then', "known_at": "label", "rows": honest.num_rows}
    with teller.step("leak") as facts:
        leaks = {name: count_changes(leaky, honest, name) for name in FEATURES}
        cells = sum(leaks.values())
        share = cells / (len(FEATURES) * leaky.num_rows)
        facts |= {"told": f"{cells:,} cells ({share:.0%}) of the first came from the future", "leaked_cells": cells, "by_feature": leaks}
    with teller.step("model") as facts:
        scores = score_models(leaky, honest)
        facts |= {"told": "a linear model on each, tested on the last 30 % of flights (R2)", **scores}
    teller.show(
        f"trained on the leak: promises {scores['promised']:.2f}, keeps {scores['kept']:.2f} when it meets live features\n"
        f"trained honestly:    promises {scores['honest']:.2f}, and keeps it"
    )
    return leaky, honest


def _explain(store: ml.Store, leaky: pa.Table, honest: pa.Table, teller: Teller) -> None:
    """One leaked cell: the row that won, and the ones around it that lost."""
    is_told = _changed(leaky, honest, "arrival_delay") & pc.is_valid(honest["arrival_delay"]).to_numpy()
    places = np.flatnonzero(is_told)
    label = leaky.select(["event_timestamp", "tail"]).slice(int(places[len(places) // 2]), 1).to_pylist()[0]
    with teller.step("explain") as facts:
        explanation = store.explain(label, EXPLAINED, known_at="label")
        facts |= {"told": f"{EXPLAINED} of {label['tail']} at {label['event_timestamp']:%Y-%m-%d %H:%M}", "status": str(explanation.status)}
        facts |= {"value": plain_value(explanation.value), "verdicts": _count(row["verdict"] for row in explanation.rows)}
    won = next(place for place, row in enumerate(explanation.rows) if row["verdict"] == "won")
    for row in explanation.rows[max(won - 2, 0) : won + 2]:
        times = (f"{row[name]:%m-%d %H:%M}" for name in ("event_timestamp", "created"))
        teller.show("took off {}, landed {}, {:4.0f} min late: {}".format(*times, row["value"], row["verdict"]))


def _correct(store: ml.Store, world: World, before: pa.Table, teller: Teller) -> None:
    """A correction arrives late: the present changes, the snapshot does not."""
    with teller.step("snapshot") as facts:
        commit = store.snapshot(SNAPSHOT, message="what the model was trained on")
        facts |= {"told": f"{SNAPSHOT} is commit {commit.id[:12]}", "commit": commit.id}
    with teller.step("correct") as facts:
        store.write("weather", world.correction, message="JFK measured 5 mph too little for a day")
        facts |= {"told": f"{world.correction.num_rows} hours of wind at JFK, weeks late", "rows": world.correction.num_rows}
    with teller.step("time travel") as facts:
        now, then = store.training_set(world.labels, SERVICE), store.at(SNAPSHOT).training_set(world.labels, SERVICE)
        changed = sum(count_changes(before, now, name) for name in FEATURES)
        kept = sum(count_changes(before, then, name) for name in FEATURES)
        facts |= {"told": f"cells changed now: {changed}; at the snapshot: {kept}", "changed_now": changed, "changed_at_snapshot": kept}


def _serve(store: ml.Store, world: World, teller: Teller) -> None:
    """The same features online, for the next departures."""
    keys = {"origin": ["JFK", "SEA", "ORD"], "tail": ["N100", "N107", "N999"]}
    now = datetime.fromisoformat(str(world.end)).replace(tzinfo=UTC)
    with teller.step("online") as facts:
        online = store.online_features(SERVICE, keys, now=now, status=True)
        facts |= {"told": "the same features now, for three departures; N999 has never flown", "rows": list(plain_rows(online))}
    if not teller.is_quiet:
        shown = online.select([*keys, *FEATURES, "last_leg__status"])
        print_table(shown.schema.names, [list(row.values()) for row in plain_rows(shown)], numeric=FEATURES)


def count_changes(left: pa.Table, right: pa.Table, name: str) -> int:
    """How many cells of a column differ; null differs from every value."""
    return int(_changed(left, right, name).sum())


def score_models(leaky: pa.Table, honest: pa.Table) -> dict[str, float]:
    """R2 on the last flights: of a model that saw the future as it promises, as it keeps in service, and of one that did not."""
    target = honest["target_delay"].to_numpy()
    cut = int(len(target) * TRAINED_SHARE)
    seen, live = _design(leaky), _design(honest)
    spoiled, sound = (np.linalg.lstsq(matrix[:cut], target[:cut], rcond=None)[0] for matrix in (seen, live))
    tests = {"promised": (seen, spoiled), "kept": (live, spoiled), "honest": (live, sound)}
    return {name: round(_r2(target[cut:], matrix[cut:] @ weights), 4) for name, (matrix, weights) in tests.items()}


def _count(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words))


def _design(table: pa.Table) -> npt.NDArray[np.float64]:
    """The features as a matrix: nulls as zero, with a column that says where they were, and a constant."""
    columns = [pc.fill_null(table[name], 0.0).to_numpy() for name in FEATURES]
    is_missing = pc.is_null(table["arrival_delay"]).to_numpy().astype(float)
    return np.column_stack([*columns, is_missing, np.ones(table.num_rows)])


def _r2(truth: npt.NDArray[np.float64], guess: npt.NDArray[np.float64]) -> float:
    return float(1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def _changed(left: pa.Table, right: pa.Table, name: str) -> npt.NDArray[np.bool_]:
    both_null = pc.and_(pc.is_null(left[name]), pc.is_null(right[name]))
    is_equal = pc.fill_null(pc.equal(left[name], right[name]), False)  # noqa: FBT003  pyarrow's own signature
    changed: npt.NDArray[np.bool_] = pc.invert(pc.or_(both_null, is_equal)).to_numpy()
    return changed


def _print_next(path: Path | None, *, now: str) -> None:
    name = path or Path("demo.mls")
    print_line("\nTry next:")
    if path is None:
        print_line(f"    mlstore demo --path {name}")
    for words in (
        f"catalog {name}",
        f"log {name}",
        f"online {name} {SERVICE} --key origin=JFK --key tail=N107 --now {now} --status",
        f"read {name} weather --start 2026-01-11 --where \"wind_speed > 30 and origin = 'JFK'\"",
        f"read {name} weather --as-of 2026-02-01 --at {SNAPSHOT} -o weather.csv",
        f"info {name}",
    ):
        print_line(f"    mlstore {words}")

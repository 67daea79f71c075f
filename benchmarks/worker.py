"""One run of one engine: `python -m benchmarks.worker WORKLOAD ENGINE INPUTS FOLDER` prints what the meter saw, as JSON."""

from __future__ import annotations

import gc
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from benchmarks.meter import Meter
from benchmarks.workload import load_engine, load_workload


def main(workload_name: str, engine_name: str, inputs: str, folder: str) -> None:
    engine = load_engine(engine_name, Path(folder))
    warm_up()
    meter = Meter()
    load_workload(workload_name).run(engine, Path(inputs), meter)
    gc.unfreeze()
    print(json.dumps({"engine": engine_name, "version": engine.version, "process": os.getpid(), **asdict(meter)}))


def warm_up() -> None:
    """Load what pyarrow loads at the first conversion only, lest one step of one engine pays for it."""
    pa.table({"value": [1.0]})["value"].chunk(0).to_numpy()
    # The modules loaded by now live for ever; the collections between the steps need not walk them.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""One engine at work: `python -m benchmarks.worker run WORKLOAD ENGINE INPUTS FOLDER` prints what the meter saw, as JSON.

`build` in place of `run` lets it build what all its runs use, and prints nothing.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from benchmarks.meter import Meter
from benchmarks.workload import NOT_HERE, Built, NotHere, load_engine, load_workload


def main(verb: str, workload_name: str, engine_name: str, inputs: str, folder: str) -> None:
    workload = load_workload(workload_name)
    try:
        engine = load_engine(engine_name, Path(folder))
        if verb == "build" and isinstance(workload, Built):
            workload.build(engine, Path(inputs))
            return
        warm_up()
        meter = Meter()
        workload.run(engine, Path(inputs), meter)
    except NotHere as error:
        print(f"{engine_name}: {error}", file=sys.stderr)
        sys.exit(NOT_HERE)
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

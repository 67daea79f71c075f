"""Sketches: approximate answers in small memory, by Apache DataSketches, which is imported only when asked for.

Only sketches that give the same bits for the same values in the same order: HyperLogLog and t-digest. KLL and REQ throw coins.
Each question is a sketch of its own, fed with the values of its window in their order: what tiles are kept makes no difference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from mlstore.engine.windows.measures import words_of
from mlstore.engine.windows.values import Runs
from mlstore.errors import UsageError
from mlstore.schema.outputs import Output

LG_REGISTERS = 12  # 4096 registers: within 1.6 % in two answers of three
COMPRESSION = 200  # of the t-digest, its library's own choice


def estimate_distinct(output: Output, runs: Runs) -> pa.Array:
    """About how many distinct values each run holds."""
    library = _library(output)
    values = _hashable(runs.column.values)
    counts = np.empty(len(runs.begin), np.int64)
    for ask, (begin, end) in enumerate(zip(runs.begin.tolist(), runs.end.tolist(), strict=True)):
        sketch = library.hll_sketch(LG_REGISTERS, library.tgt_hll_type.HLL_8)
        for value in values[begin:end]:
            sketch.update(value)
        counts[ask] = round(sketch.get_estimate())
    return pa.array(counts)


def estimate_quantiles(output: Output, runs: Runs) -> pa.Array:
    """About where the quantile of each run lies; over a NaN it is NaN."""
    library = _library(output)
    numbers = runs.column.numbers()
    found: list[float | None] = []
    for begin, end in zip(runs.begin.tolist(), runs.end.tolist(), strict=True):
        held = numbers[begin:end].copy()  # the library takes only what it could write to
        if not len(held):
            found.append(None)
        elif np.isnan(held).any():
            found.append(float("nan"))
        else:
            sketch = library.tdigest_double(COMPRESSION)
            sketch.update(held)
            found.append(sketch.get_quantile(output.q))
    return pa.array(found, pa.float64())


def _hashable(values: pa.Array) -> list[Any]:
    """The values as the library hashes them: what equals must be the same."""
    kind = values.type
    # The library passes over empty texts.
    if pa.types.is_string(kind):
        return [f"={value}" for value in values.to_pylist()]
    if pa.types.is_binary(kind):
        return [f"={value.decode('latin-1')}" for value in values.to_pylist()]
    if pa.types.is_decimal(kind):
        return [str(value) for value in values.to_pylist()]
    words = words_of(values)
    return list((words.view(np.float64) + 0.0).tolist() if pa.types.is_floating(kind) else words.tolist())


def _library(output: Output) -> Any:
    try:
        import datasketches
    except ImportError as cause:
        hint = "pip install 'mlstore[sketches]', or ask for the exact function"
        raise UsageError(f"{output.name}: {output.function} needs the package datasketches", hint=hint) from cause
    return datasketches

"""Finishing: what makes Python values of the states of one key: the same operations as on columns, on one number instead of many."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from mlstore._core.finishes import FUNCTIONS, Finisher
from mlstore.engine.windows.measures import SECOND_NS, Asked, Layout
from mlstore.schema.outputs import Output
from mlstore.schema.window import Window

Told = tuple[str, int, int, int, int, int, float, Callable[[int], Any] | None]

_READS = {"sum": "sum", "mean": "sum", "min": "least", "max": "greatest"} | dict.fromkeys(("var", "std", "skew", "kurtosis"), "spread")


def finisher_of(layout: Layout, outputs: Sequence[Output], names: Sequence[str], windows: Sequence[Window]) -> Finisher:
    """What finishes these outputs, which tiles must keep, under these names, from the states of the windows."""
    return Finisher([_output(layout, output, name, windows.index(output.window)) for output, name in zip(outputs, names, strict=True)])


def _output(layout: Layout, output: Output, name: str, window: int) -> Told:
    number = layout.reads[output.name]
    asked = layout.asked[number]
    read = _READS.get(output.function)
    at = 0 if read is None else asked.place(read)
    seconds = output.window.length_ns / SECOND_NS
    return name, FUNCTIONS[output.function], asked.kind, window, layout.places[number], at, seconds, _converter(output, asked)


def _converter(output: Output, asked: Asked) -> Callable[[int], Any] | None:
    """What a least or greatest word stands for, where that is no number."""
    dtype = output.dtype.arrow
    if output.function not in ("min", "max") or asked.form != "number" or pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
        return None
    return bool if pa.types.is_boolean(dtype) else lambda word: pa.scalar(word, dtype).as_py()

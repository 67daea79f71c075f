"""Arrow values as JSON can hold them: times ISO 8601, binary base64, decimals texts, NaN and infinities the texts of that name."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def plain_rows(batch: pa.RecordBatch | pa.Table) -> Iterable[dict[str, Any]]:
    """The rows, each a dict that json.dumps takes."""
    names = batch.schema.names
    columns = [plain_column(batch.column(place)) for place in range(len(names))]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def plain_column(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The values of one column."""
    dtype = column.type
    if pa.types.is_timestamp(dtype):
        # Through text, not datetime: a nanosecond column keeps its nanoseconds.
        return plain_times(column).to_pylist()  # type: ignore[no-any-return]
    values: list[Any] = column.to_pylist()
    if pa.types.is_integer(dtype) or pa.types.is_string(dtype) or pa.types.is_boolean(dtype):
        return values
    return [plain_value(value) for value in values]


def plain_times(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Timestamps as ISO 8601 texts, without the zeros that say nothing."""
    texts = pc.replace_substring(pc.cast(column, pa.string()), " ", "T")
    shorter = pc.replace_substring_regex(texts, r"(\.\d*?)0+(Z|[+-]\d{4})?$", r"\1\2")
    return pc.replace_substring_regex(shorter, r"\.(Z|[+-]\d{4})?$", r"\1")


def plain_value(value: Any) -> Any:
    """One value of any type, nested ones too."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {str(name): plain_value(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(part) for part in value]
    return value

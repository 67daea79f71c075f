"""Key groups: the records of one key under which several views of one entity are found, from the values given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mlstore.engine.asking.selection import Selected
from mlstore.errors import UsageError
from mlstore.format.keys import MAX_KEY, KeySpec
from mlstore.format.keyscalar import ScalarEncoder
from mlstore.format.keyvector import encode_int, record_of_int

GLOBAL_KEY = encode_int(0)


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """Views of one entity: the key columns, and what the views' records begin with."""

    columns: tuple[tuple[str, ScalarEncoder], ...]
    prefixes: tuple[bytes, ...]
    integers: tuple[int, int] | None  # the range of the key, if it is one signed integer

    def records(self, keys: Mapping[str, Any]) -> list[bytes] | None:
        if self.integers is not None and len(self.prefixes) == 1:
            low, high = self.integers
            record = record_of_int(self.prefixes[0], keys[self.columns[0][0]], low, high)
            if record is not None:
                return [record]
        code = self.encode(keys)
        return None if code is None else [prefix + code for prefix in self.prefixes]

    def encode(self, keys: Mapping[str, Any]) -> bytes | None:
        code = b"" if self.columns else GLOBAL_KEY
        try:
            for name, encode in self.columns:
                value = keys[name]
                if type(value) is list:  # many keys: the refusal would be a long one
                    return None
                part = encode(value)
                if part is None:
                    return None
                code = code + part if code else part
        except UsageError:
            return None
        return code if len(code) <= MAX_KEY else None


def records_of(groups: Sequence[KeyGroup], keys: Mapping[str, Any]) -> list[bytes] | None:
    """The records of all groups; None: see `PointPlan.records`."""
    records: list[bytes] = []
    for group in groups:
        more = group.records(keys)
        if more is None:
            return None
        records += more
    return records


def grouped(selection: Sequence[Selected]) -> list[list[Selected]]:
    """The views by what their keys are: columns and types."""
    groups: dict[tuple[str, ...], list[Selected]] = {}
    for selected in selection:
        key = (*selected.key_columns, *map(str, selected.relation.key_spec.dtypes))
        groups.setdefault(key, []).append(selected)
    return list(groups.values())


def key_group(group: Sequence[Selected], prefixes: Sequence[bytes]) -> KeyGroup:
    """What finds the records of views that share their keys."""
    spec = group[0].relation.key_spec
    return KeyGroup(tuple(zip(group[0].key_columns, spec.encoders, strict=True)), tuple(prefixes), _signed_range(spec))


def _signed_range(spec: KeySpec) -> tuple[int, int] | None:
    arrow = spec.dtypes[0].arrow if len(spec.dtypes) == 1 else None
    if arrow is None or not pa.types.is_signed_integer(arrow):
        return None
    return -(1 << (arrow.bit_width - 1)), (1 << (arrow.bit_width - 1)) - 1

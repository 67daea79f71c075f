"""Mapped values: where a value lies in the map, for those who look at it there instead of copying it."""

from dataclasses import dataclass, field

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class MappedValue:
    """Where a value lies in the map: good as long as its key lives, and under a lease also after that.

    `copy` is set for a value that has no place in the map yet: then the address is the copy's, and lives as long as this object.
    """

    address: int
    size: int
    copy: bytes | None = field(default=None, repr=False)

    @property
    def is_stable(self) -> bool:
        """True if the address is one of the map, which a lease can keep."""
        return self.copy is None


def mapped_value(value: memoryview | None) -> MappedValue | None:
    return None if value is None else MappedValue(pa.py_buffer(value).address, len(value))


def copied_value(value: bytes) -> MappedValue:
    return MappedValue(pa.py_buffer(value).address, len(value), value)

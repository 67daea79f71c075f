"""Meters: what the online reads of a process have come to: how many, how long they took, how old and how often missing the values were.

Costs the hot path one counter: single reads are timed one in `SAMPLED`. Counters are `itertools.count`, which threads share without a
lock that a fork could inherit held. Nothing of it is kept in the file.
"""

import math
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLED: Final = 64

_STEPS = 16  # buckets of one power of two: a quantile is at most 1/16 too high
_BUCKETS = 64 * _STEPS


class Tally:
    """A number that only grows, counted by several threads at once."""

    def __init__(self) -> None:
        self._numbers = count()
        self._looks = 0
        self._bulk = 0
        self.add_one = self._numbers.__next__  # gives how many were counted before, looks included

    def add(self, many: int) -> None:
        """Count several at once."""
        self._bulk += many

    @property
    def total(self) -> int:
        seen = next(self._numbers) - self._looks
        self._looks += 1
        return seen + self._bulk


class Histogram:
    """How often lengths of time (ns) occurred, in buckets whose width grows with the length, as HdrHistogram's do."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS

    def record(self, length_ns: int) -> None:
        self._counts[_bucket(max(length_ns, 1))] += 1

    def quantiles(self, *shares: float) -> tuple[int | None, ...]:
        """The length that each share of those recorded does not exceed, at most 1/16 too high; None if there are none."""
        sums: NDArray[np.int64] = np.cumsum(np.array(self._counts, np.int64))
        total = int(sums[-1])
        if not total:
            return (None,) * len(shares)
        return tuple(_upper_end(int(np.searchsorted(sums, max(1, math.ceil(share * total))))) for share in shares)


def _bucket(length: int) -> int:
    fraction, power = math.frexp(float(length))
    return (power - 1) * _STEPS + int((fraction * 2 - 1) * _STEPS)


def _upper_end(bucket: int) -> int:
    power, step = divmod(bucket, _STEPS)
    return int(2**power * (1 + (step + 1) / _STEPS))


@dataclass(slots=True)
class ViewMeter:
    """The reads of one view."""

    outside_ttl: Tally = field(default_factory=Tally)
    not_found: Tally = field(default_factory=Tally)
    ages: Histogram = field(default_factory=Histogram)


class Meter:
    """The online reads of one handle."""

    def __init__(self) -> None:
        self.singles = Tally()
        self.batches = Tally()
        self.single_latency = Histogram()
        self.batch_latency = Histogram()
        self._views: dict[int, ViewMeter] = {}

    def view(self, table: int) -> ViewMeter:
        found = self._views.get(table)
        return self._views.setdefault(table, ViewMeter()) if found is None else found

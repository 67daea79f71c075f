"""Windows: states of the events in intervals, merged in the canonical order, from events alone; from trees of tiles: see walks.

Intervals are inclusive; the least tick as `low` and the greatest as `high` mean no bound. A measure and a record: see tiles.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlstore._core.tiles import Measure

Int64 = NDArray[np.int64]

def find_events(event_offsets: Int64, time: Int64, moment_offsets: Int64, low: Int64, high: Int64, begin: Int64, end: Int64) -> None:
    """The events [begin, end) with low <= time <= high of each moment's key; [windows, moments]. begin == end where there are none."""

def fold(
    event_offsets: Int64,
    time: Int64,
    measures: Sequence[Measure],
    widths: Int64,
    moment_offsets: Int64,
    low: Int64,
    high: Int64,
    begin: Int64,
    end: Int64,
    wanted: NDArray[np.uint8],
    states: Int64,
) -> None:
    """The states [windows, words, moments] of the events [begin, end) of intervals. wanted: [windows, measures], 0: left out.

    The events may end before those of the interval do: it is as if later ones were not there. A window of rows says low = the greatest and
    high = the least tick: then no tile lies in it, and its events are added one by one.
    """

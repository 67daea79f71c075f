"""Windows: states of the events in intervals, merged in the canonical order, from events alone or from tiles that are kept.

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

    A window of rows says low = the greatest and high = the least tick: then no tile lies in it, and its events are added one by one.
    """

def fold_stored(
    measures: Sequence[Measure],
    widths: Int64,
    tile_offsets: Int64,
    tile_start: Int64,
    records: Int64,
    event_offsets: Int64,
    time: Int64,
    asked: Int64,
    low: Int64,
    high: Int64,
    wanted: NDArray[np.uint8],
    states: Int64,
) -> None:
    """As fold, from tiles as build_tiles gives them; asked: the key of each question.

    Of each level every tile that holds an event, lies in the interval and in no wider tile that does must be there, and every event that
    lies in none; it does no harm if more are.
    """
